"""What the headers of answers say about the rate limit, and a key with 30 requests a minute."""

from __future__ import annotations

import time

import pytest

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.api.http.client import Client
from airflow_provider_banksync.api.rate_limit.headers import LimitHeaders, read_limit_headers
from airflow_provider_banksync.api.rate_limit.limiter import RateLimiter
from airflow_provider_banksync.api.rate_limit.registry import limiter_for
from airflow_provider_banksync.sandbox import BankSyncSandbox, RateLimit
from tests.support.scripted_server import KEY, ScriptedServer, ok


@pytest.mark.parametrize(
    ("headers", "stated"),
    [
        ({}, None),
        ({"retry-after": "3"}, None),
        ({"x-ratelimit-limit": "many"}, None),
        ({"x-ratelimit-limit": "0"}, LimitHeaders()),
        ({"x-ratelimit-limit": "30"}, LimitHeaders(30)),
        ({"ratelimit-limit": "30, 30;w=60"}, LimitHeaders(30, 60)),
        ({"ratelimit-limit": "5", "ratelimit-policy": "5;w=1"}, LimitHeaders(5, 1)),
        ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": "12.5"}, LimitHeaders(None, None, 0, 12)),
    ],
)
def test_what_headers_say(headers: dict[str, str], stated: LimitHeaders | None) -> None:
    assert read_limit_headers(headers) == stated


def test_a_reset_may_be_a_moment() -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 30)}
    stated = read_limit_headers(headers)
    assert stated is not None
    assert stated.reset is not None
    assert 27 < stated.reset < 31


@pytest.mark.parametrize(
    ("stated", "limit"),
    [
        (LimitHeaders(30), 30),
        (LimitHeaders(30, 60), 30),
        (LimitHeaders(5, 1), 100),
        (LimitHeaders(500), 100),
        (LimitHeaders(), 100),
    ],
)
def test_a_lower_limit_counts(stated: LimitHeaders, limit: int) -> None:
    limiter = RateLimiter(100)
    limiter.obey_headers(stated)
    assert limiter.limit == limit


@pytest.mark.parametrize(("reset", "waits"), [(20.0, True), (10_000.0, False)])
def test_no_request_left_is_a_pause(reset: float, waits: bool) -> None:
    limiter = RateLimiter(100, clock=lambda: 0.0, rng=lambda: 0.0)
    limiter.obey_headers(LimitHeaders(remaining=0, reset=reset))
    delays = limiter.acquire()
    assert next(delays, 0.0) == (pytest.approx(reset) if waits else 0.0)
    delays.close()  # type: ignore[attr-defined]  # a generator


def test_a_client_uses_the_limit_that_an_answer_states() -> None:
    me = {"workspaceId": "w", "workspaceName": "W"}
    server = ScriptedServer([ok(me, X_RateLimit_Limit="30", X_RateLimit_Remaining="29")])
    config = ClientConfig(secret=KEY, base_url=server.url)
    with Client(config) as client:
        client.send(endpoints.whoami())
    assert limiter_for(config).limit == 30
    server.close()


def test_a_key_with_thirty_requests_a_window() -> None:
    """The connection says 100, the server allows 30. Nothing is lost, and requests pause after the first refusal."""
    with BankSyncSandbox(portals=1, rate_limit=RateLimit(30, window=1.5)) as sandbox:
        config = ClientConfig(secret=sandbox.api_key, base_url=sandbox.url, rate_limit=100, rate_window=1.5)
        with Client(config) as client:
            names = {client.send(endpoints.whoami()).value["workspaceId"] for _ in range(70)}
        assert names == {sandbox.workspace_id}
        traffic = sandbox.traffic(sandbox.api_key)
    assert traffic.peak <= 30
    assert traffic.refused <= 6


@pytest.mark.parametrize("states", [True, False], ids=["stated", "not stated"])
def test_a_client_adapts_to_the_limit_that_the_sandbox_states(states: bool) -> None:
    with BankSyncSandbox(portals=1, rate_limit=RateLimit(30, window=1.5, headers=states)) as sandbox:
        config = ClientConfig(secret=sandbox.api_key, base_url=sandbox.url, rate_limit=100, rate_window=1.5)
        with Client(config) as client:
            for _ in range(70):
                client.send(endpoints.whoami())
        traffic = sandbox.traffic(sandbox.api_key)
    assert limiter_for(config).limit == (30 if states else 100)
    assert (traffic.refused == 0) == states
