"""The rate budget: never more than the limit in any window, none left over, shared by all."""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_banksync.api import budget, endpoints
from airflow_provider_banksync.api.aio import AsyncClient
from airflow_provider_banksync.api.budget import MARGIN, RateBudget, budget_for
from airflow_provider_banksync.api.client import Client
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.sandbox import BankSyncSandbox
from airflow_provider_banksync.sandbox.ratelimit import RateLimit
from tests.api.conftest import Clock

if TYPE_CHECKING:
    from tests.api.conftest import Face, ScriptedServer


#: Requests that have their moment; one that is given up would give it back.
_taken: list[Any] = []


def take(of: RateBudget, clock: Clock) -> float:
    """Take one request without letting time pass; the moment that it is sent at."""
    waits = of.waits()
    _taken.append(waits)
    return clock.now + next(waits)


@given(
    limit=st.integers(1, 12),
    gaps=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.7, 3.0, 20.0]), min_size=1, max_size=80),
)
def test_never_more_than_the_limit_and_never_later_than_needed(limit: int, gaps: list[float]) -> None:
    clock = Clock()
    window = 5.0
    of = RateBudget(limit, window, clock=clock)
    sent: list[float] = []
    for gap in gaps:
        clock.now += gap
        moment = take(of, clock)
        assert moment >= (sent[-1] - 0.002 if sent else clock.now), "first come, first served"
        earliest = max(clock.now, sent[-limit] + window + MARGIN if len(sent) >= limit else 0.0)
        assert moment <= earliest + 0.005
        sent.append(moment)
    for first, moment in enumerate(sent):
        assert bisect_right(sent, moment + window) - first <= limit


def test_a_refusal_pauses_all_slows_down_and_recovers() -> None:
    clock = Clock()
    of = RateBudget(10, 60.0, clock=clock, rng=lambda: 0.5)
    assert take(of, clock) == pytest.approx(1000.0)
    of.refused(7.0)
    waits = of.waits()
    assert next(waits) == pytest.approx(7.0, abs=0.01), "what is asked for now comes after the pause"
    clock.now += 7.001
    assert list(waits) == []
    # One in ten counts as spent by others, and two are taken: of 10, 7 are left.
    moments = [take(of, clock) for _ in range(9)]
    assert sum(moment < clock.now + 1 for moment in moments) == 7
    clock.now += 200
    assert [round(take(of, clock) - clock.now, 1) for _ in range(10)] == [0.0] * 10


def test_those_who_slept_through_a_refusal_do_not_come_back_in_step() -> None:
    clock = Clock()
    numbers = iter([0.1, 0.9])
    of = RateBudget(10, 60.0, clock=clock, rng=lambda: next(numbers))
    sleepers = [of.waits(), of.waits()]
    for sleeper in sleepers:
        assert next(sleeper) == 0.0
    of.refused(5.0)
    one, other = (next(sleeper) for sleeper in sleepers)
    assert one >= 5.0
    assert other - one == pytest.approx(0.8 * budget.SPREAD * 60)


def test_many_refusals_of_one_moment_count_once() -> None:
    clock = Clock()
    of = RateBudget(10, 60.0, clock=clock)
    for _ in range(100):
        of.refused(5.0)
        clock.now += 0.001
    clock.now += 5.001
    assert sum(take(of, clock) < clock.now + 1 for _ in range(12)) == 9


@pytest.mark.parametrize("asked", [86_400.0, 10.0**300, float("inf")])
def test_a_server_cannot_stop_everything(asked: float) -> None:
    clock = Clock()
    of = RateBudget(10, 60.0, clock=clock)
    of.refused(asked)
    assert take(of, clock) - clock.now <= 121


def test_what_nobody_waits_for_any_more_is_given_back() -> None:
    clock = Clock()
    of = RateBudget(10, 60.0, clock=clock)
    for _ in range(10):
        take(of, clock)
    waiting = [of.waits() for _ in range(100)]
    assert [next(waits) for waits in waiting][-1] == pytest.approx(10 * (60 + MARGIN), abs=0.1)
    for waits in waiting:
        waits.close()
    assert take(of, clock) - clock.now == pytest.approx(60.25, abs=0.01)


def test_a_forked_process_begins_anew() -> None:
    import os

    config = ClientConfig(secret="bsk_fork")
    of = budget_for(config)
    with budget._budgets_lock, of._lock:  # as if a thread of the parent were in the middle of it
        child = os.fork()
        if child == 0:
            fresh = budget_for(config)
            os._exit(0 if fresh is not of and next(fresh.waits()) == 0.0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_one_budget_for_a_key_in_a_process() -> None:
    one = ClientConfig(secret="bsk_one", workspace_id="a")
    assert budget_for(one) is budget_for(ClientConfig(secret="bsk_one", workspace_id="b"))
    assert budget_for(one) is not budget_for(ClientConfig(secret="bsk_two"))
    assert budget_for(one) is not budget_for(ClientConfig(secret="bsk_one", rate_limit=500))


def test_a_refusal_that_happens_all_the_same_is_told_to_the_budget(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    from tests.api.conftest import ok, reply

    server.script = [reply(429, {"success": False, "error": "no"}, Retry_After="3"), ok([])]
    assert face.run(config, endpoints.list_feeds()) == []
    assert face.budget._paused_until == pytest.approx(1003.0)
    assert face.waits[0] >= 3


def test_the_budget_is_spent_to_the_last_request_and_not_exceeded() -> None:
    """Threads and an event loop together, against a server that refuses what is too much."""
    limit, window, rounds = 40, 3.0, 3
    with BankSyncSandbox(portals=1, rate_limit=RateLimit(limit, window)) as sandbox:
        config = ClientConfig(
            secret=sandbox.api_key, base_url=sandbox.url, rate_limit=limit, rate_window=window
        )
        began = time.monotonic()
        loop = threading.Thread(target=lambda: asyncio.run(by_loop(config, limit * rounds // 2)))
        threads = [loop, *by_threads(config, limit * rounds // 2, workers=4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.monotonic() - began
        statuses = [record.status for record in sandbox.requests]
    assert statuses.count(429) == 0
    assert len(statuses) == limit * rounds
    allowed = limit * (1 + int(elapsed / window))
    assert len(statuses) / allowed >= 0.95, f"{len(statuses)} of {allowed} in {elapsed:.2f} s"


def by_threads(config: ClientConfig, calls: int, workers: int) -> list[threading.Thread]:
    def work() -> None:
        with Client(config) as client:
            for _ in range(calls // workers):
                client.send(endpoints.whoami())

    return [threading.Thread(target=work) for _ in range(workers)]


async def by_loop(config: ClientConfig, calls: int) -> None:
    async with AsyncClient(config) as client:
        tasks: list[Any] = [client.send(endpoints.whoami()) for _ in range(calls)]
        await asyncio.gather(*tasks)
