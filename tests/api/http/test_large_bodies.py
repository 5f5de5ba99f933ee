"""Large answers at once: the memory of the asynchronous client is bounded, and none waits for another for ever."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api.http import async_client
from airflow_provider_banksync.api.http.async_client import AsyncClient
from airflow_provider_banksync.api.messages import Call, Request
from tests.support.scripted_server import ScriptedServer, reply

if TYPE_CHECKING:
    from airflow_provider_banksync.api.config import ClientConfig

MIB = 2**20
SIZE = 12 * MIB
REQUEST = Request("listFeeds", "GET", "/v1/feeds")
#: The size of the body, without decoding it.
CALL = Call(REQUEST, parse=lambda _: 0, parse_bytes=len)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_client, "LARGE_BODY", MIB)


async def fetch(config: ClientConfig, count: int) -> list[int | BaseException]:
    async with AsyncClient(config) as client:
        sent = (client.send(CALL) for _ in range(count))
        return [
            each if isinstance(each, BaseException) else each.value
            for each in await asyncio.gather(*sent, return_exceptions=True)
        ]


def test_eight_large_answers_need_the_memory_of_about_one(
    server: ScriptedServer, config: ClientConfig, large: None
) -> None:
    answer = reply(200, b"x" * SIZE)  # the same object for all, so the server takes the memory of one
    server.script = [answer] * 8
    tracemalloc.start()
    try:
        assert asyncio.run(fetch(replace(config, timeout=30), 8)) == [SIZE] * 8
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * SIZE, f"{peak / MIB:.0f} MiB; all of them at once take {2 * 8 * SIZE / MIB:.0f}"


def test_an_answer_that_stops_does_not_stop_the_others(
    server: ScriptedServer, config: ClientConfig, large: None
) -> None:
    whole = reply(200, b"x" * 3 * MIB)
    cut = whole[: 2 * MIB]
    server.script = [cut, whole, whole, whole]
    got = asyncio.run(fetch(replace(config, timeout=5, max_retries=0), 4))
    assert [each for each in got if each == 3 * MIB] == [3 * MIB] * 3
    (failed,) = [each for each in got if each != 3 * MIB]
    assert isinstance(failed, x.BankSyncConnectionError)
