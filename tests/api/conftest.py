"""Fixtures for tests of the API client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.api.rate_limit.limiter import RateLimiter
from tests.support.client_driver import ClientDriver
from tests.support.manual_clock import ManualClock
from tests.support.scripted_server import KEY, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture(params=["requests", "aiohttp"])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ClientDriver:
    """Both clients, one after the other; they do not really wait, but remember how long they would have."""
    clock, sleeps = ManualClock(), []
    limiter = RateLimiter(100, clock=clock)

    def wait(seconds: float) -> None:
        sleeps.append(seconds)
        clock.now += seconds

    async def sleep_on_loop(seconds: float) -> None:
        wait(seconds)

    monkeypatch.setattr("airflow_provider_banksync.api.http.client.sleep", wait)
    monkeypatch.setattr("airflow_provider_banksync.api.http.async_client.sleep", sleep_on_loop)
    for client in ("client", "async_client"):
        monkeypatch.setattr(f"airflow_provider_banksync.api.http.{client}.limiter_for", lambda _: limiter)
    return ClientDriver(request.param, sleeps, limiter)


@pytest.fixture
def config(server: ScriptedServer) -> ClientConfig:
    return ClientConfig(secret=KEY, base_url=server.url, timeout=1.0, max_retries=3)
