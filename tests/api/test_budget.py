"""The rate budget: never more than the limit in any window, none left over, shared by all."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import threading
import time
from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_banksync.api import budget, endpoints
from airflow_provider_banksync.api.aio import AsyncClient
from airflow_provider_banksync.api.budget import MARGIN, RateBudget, budget_for
from airflow_provider_banksync.api.client import Client
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.exceptions import BankSyncBudgetError, BankSyncError
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.sandbox.ratelimit import RateLimit
from tests.api.conftest import RESET, SILENCE, Clock, ok, reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.ratelimit import Traffic
    from tests.api.conftest import Face, ScriptedServer


class Simulation:
    """Requests that wait for their turn, by a clock that jumps from one wake-up to the next."""

    def __init__(self, of: RateBudget, clock: Clock) -> None:
        self.of = of
        self.clock = clock
        self.sent: list[tuple[float, object]] = []
        self.counted: list[float] = []
        self._asleep: list[tuple[float, int, object, Iterator[float]]] = []
        self._numbers = itertools.count()

    def ask(self, name: object = None, **how: Any) -> None:
        self._step(name, self.of.waits(**how))

    def send(self, name: int, *, late: float = 0.0, transit: float = 0.0, answer: float = 0.0) -> None:
        """Ask, leave late, be counted by the server later still, and have the answer at last."""

        def steps() -> Iterator[float]:
            place = budget.ticket()
            yield from self.of.waits(place=place)
            yield late
            sent = self.clock.now
            yield transit
            self.counted.append(self.clock.now)
            yield answer
            began = time.monotonic()
            self.of.counted(place, began - (self.clock.now - sent), began)

        self._step(name, steps())

    def leave(self, name: object) -> None:
        for entry in [entry for entry in self._asleep if entry[2] == name]:
            self._asleep.remove(entry)
            entry[3].close()
        heapq.heapify(self._asleep)

    def run(self, until: float = float("inf")) -> None:
        while self._asleep and self._asleep[0][0] <= until:
            moment, _, name, waits = heapq.heappop(self._asleep)
            self.clock.now = max(self.clock.now, moment)
            self._step(name, waits)
        if until != float("inf"):
            self.clock.now = until

    def most_in_a_window(self) -> int:
        moments = sorted(self.counted or [moment for moment, _ in self.sent])
        return max(bisect_right(moments, at + self.of.window) - i for i, at in enumerate(moments))

    def _step(self, name: object, waits: Iterator[float]) -> None:
        wait = next(waits, None)
        if wait is None:
            self.sent.append((self.clock.now, name))
        else:
            heapq.heappush(self._asleep, (self.clock.now + wait, next(self._numbers), name, waits))


@settings(deadline=None)  # of the machine, not of what it shows
@given(
    limit=st.integers(1, 12),
    gaps=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.7, 3.0, 20.0]), min_size=1, max_size=80),
)
def test_never_more_than_the_limit_and_never_later_than_needed(limit: int, gaps: list[float]) -> None:
    clock = Clock()
    window = 5.0
    of = RateBudget(limit, window, clock=clock, rng=lambda: 0.5)
    simulation = Simulation(of, clock)
    asked = []
    for number, gap in enumerate(gaps):
        simulation.run(until=clock.now + gap)
        asked.append(clock.now)
        simulation.ask(number)
    simulation.run()
    sent_at = {name: moment for moment, name in simulation.sent}
    assert all(sent_at[n] <= sent_at[n + 1] + 0.01 for n in range(len(gaps) - 1)), "first come, first served"
    assert simulation.most_in_a_window() <= limit
    moments = [moment for moment, _ in simulation.sent]
    for number, moment in enumerate(moments):
        free = moments[number - limit] + window * (1 + MARGIN) if number >= limit else 0.0
        assert moment <= max(asked[number], free) + 0.005 * (1 + number)


delays = st.fixed_dictionaries(
    {
        "late": st.sampled_from([0.0, 0.0, 0.01, 0.2, 0.4]),
        "transit": st.sampled_from([0.0, 0.02, 0.3, 0.9]),
        "answer": st.sampled_from([0.0, 0.1, 1.0, 12.0]),
    }
)


@settings(deadline=None)  # of the machine, not of what it shows
@given(limit=st.integers(1, 20), each=st.lists(delays, min_size=60, max_size=60))
def test_whatever_the_delays_no_window_holds_too_many_and_hardly_one_is_left_over(
    limit: int, each: list[dict[str, float]]
) -> None:
    """Any stretch of a window, and so also those of a server that begins to count anew each minute."""
    clock = Clock()
    simulation = Simulation(RateBudget(limit, 60.0, clock=clock), clock)
    for number, delay in enumerate(each):
        simulation.send(number, **delay)
    simulation.run()
    assert len(simulation.counted) == 60
    assert simulation.most_in_a_window() <= limit
    late = 0.4 + 0.9
    assert max(simulation.counted) - 1000.0 <= 59 / limit * 60 / 0.95 + budget.SPARE + late
    assert not simulation.of._under_way


def test_a_server_that_is_stuck_has_not_counted_what_it_has_not_answered() -> None:
    clock = Clock()
    simulation = Simulation(RateBudget(40, 60.0, clock=clock), clock)
    for number in range(160):
        simulation.send(number, transit=9.5 if number < 40 else 0.1)
    simulation.run()
    assert len(simulation.counted) == 160
    assert simulation.most_in_a_window() == 40


@pytest.mark.parametrize(("took", "costs"), [(9.5, 9.5), (50.0, budget.LATEST_COUNT)])
def test_an_answer_that_takes_too_long_costs_little_of_the_budget(took: float, costs: float) -> None:
    clock = Clock()
    of = RateBudget(1, 60.0, clock=clock)
    place = budget.ticket()
    assert next(of.waits(place=place), None) is None
    clock.now += took
    now = time.monotonic()
    of.counted(place, now - took, now)
    of.counted(place, now, now)  # said once
    clock.now = 1000 + 60 * (1 + MARGIN) + costs - 0.01
    assert next(of.waits()) <= 0.05
    clock.now += 0.05
    assert next(of.waits(), None) is None


def test_a_request_counts_from_its_answer(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    face.budget._clock = time.monotonic
    began = time.monotonic()

    def late(_: Any) -> bytes:
        time.sleep(0.2)
        return ok([])

    server.script = [late]
    assert face.run(config, endpoints.list_feeds()) == []
    assert began + 0.19 <= face.budget._bucket.peek(0).timestamp / 1000 <= time.monotonic()
    assert not face.budget._under_way


@pytest.mark.parametrize("fault", [RESET, SILENCE])
def test_a_request_without_an_answer_counts_from_when_that_is_clear(
    fault: str, face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    face.budget._clock = time.monotonic
    server.script = [fault, reply(404, {"success": False, "error": "no"})]
    began = time.monotonic()
    with pytest.raises(BankSyncError):
        face.run(replace(config, max_retries=1, timeout=0.3), endpoints.list_feeds())
    first = face.budget._bucket.peek(1).timestamp / 1000
    assert first >= began + (0.29 if fault == SILENCE else -0.001)
    assert face.budget._bucket.peek(0).timestamp / 1000 >= first
    assert not face.budget._under_way


def test_a_long_body_costs_nothing(face: Face) -> None:
    face.budget._clock = time.monotonic
    with BankSyncSandbox(portals=1) as sandbox:
        sandbox.faults.add(Fault.dripping(1.5))
        face.run(ClientConfig(secret=sandbox.api_key, base_url=sandbox.url), endpoints.whoami())
        ended = time.monotonic()
    assert face.budget._bucket.peek(0).timestamp / 1000 < ended - 1.0, "counted when its answer began"


def test_a_request_that_is_cancelled_counts_all_the_same(
    server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [SILENCE]
    config = replace(config, secret="bsk_cancelled", timeout=5.0)

    async def main() -> None:
        async with AsyncClient(config) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.send(endpoints.list_feeds()), 0.3)

    began = time.monotonic()
    asyncio.run(main())
    of = budget_for(config)
    assert of._bucket.peek(0).timestamp / 1000 >= began + 0.29
    assert not of._under_way


@settings(deadline=None)  # of the machine, not of what it shows
@given(
    refusals=st.lists(
        st.tuples(st.floats(0.0, 300.0), st.sampled_from([None, 0.0, 1.0, 30.0, 60.0, 90.0, 120.0])),
        max_size=8,
    )
)
def test_refusals_never_let_more_than_the_limit_through(refusals: list[tuple[float, float | None]]) -> None:
    clock = Clock()
    simulation = Simulation(RateBudget(20, 60.0, clock=clock), clock)
    for number in range(120):
        simulation.ask(number)
    for moment, retry_after in sorted(refusals, key=lambda refusal: refusal[0]):
        simulation.run(until=1000.0 + moment)
        simulation.of.refused(retry_after)
    simulation.run()
    assert len(simulation.sent) == 120
    assert simulation.most_in_a_window() <= 20


def test_a_refusal_pauses_all_slows_down_and_recovers() -> None:
    clock = Clock()
    simulation = Simulation(RateBudget(10, 60.0, clock=clock, rng=lambda: 0.5), clock)
    simulation.ask("first")
    simulation.of.refused(7.0)
    for number in range(12):
        simulation.ask(number)
    simulation.run(until=1030.0)
    moments = [moment for moment, _ in simulation.sent]
    assert moments[1] >= 1007.0, "what is asked for now comes after the pause"
    # One in ten counts as spent by others, and one was sent before.
    assert len(moments) == 9
    simulation.run()
    simulation.run(until=clock.now + 200)
    before = len(simulation.sent)
    for number in range(10):
        simulation.ask(number)
    assert len(simulation.sent) - before == 10, "all of the limit is there again"


def test_those_who_slept_through_a_refusal_do_not_come_back_in_step() -> None:
    clock = Clock()
    numbers = iter([0.1, 0.9])
    of = RateBudget(10, 60.0, clock=clock, rng=lambda: next(numbers))
    of.refused(5.0)
    one, other = (next(of.waits()) for _ in range(2))
    assert one >= 5.0
    assert other - one == pytest.approx(0.8 * budget.SPREAD * 60)


@pytest.mark.parametrize("retry_after", [None, 0.0, 5.0])
def test_many_refusals_of_one_moment_count_once(retry_after: float | None) -> None:
    clock = Clock()
    simulation = Simulation(RateBudget(10, 60.0, clock=clock), clock)
    for _ in range(100):
        simulation.of.refused(retry_after)
        clock.now += 0.001
    simulation.run(until=clock.now + 6.0)
    for number in range(12):
        simulation.ask(number)
    assert len(simulation.sent) == 9


@pytest.mark.parametrize("asked", [86_400.0, 10.0**300, float("inf")])
def test_a_server_cannot_stop_everything(asked: float) -> None:
    clock = Clock()
    simulation = Simulation(RateBudget(10, 60.0, clock=clock), clock)
    simulation.of.refused(asked)
    simulation.ask()
    simulation.run()
    assert clock.now - 1000 <= 125


def test_whoever_comes_next_moves_up_when_others_leave_the_queue() -> None:
    clock = Clock()
    simulation = Simulation(RateBudget(10, 60.0, clock=clock), clock)
    for number in range(1000):
        simulation.ask(number)
    for number in range(10, 999):
        simulation.leave(number)
    simulation.ask("new")
    simulation.run()
    late = {name: moment for moment, name in simulation.sent[10:]}
    assert list(late) == [999, "new"]
    assert max(late.values()) < 1000 + 60 * (1 + MARGIN + budget.ASK_AGAIN)


def test_a_request_that_is_tried_again_keeps_its_place() -> None:
    clock = Clock()
    simulation = Simulation(RateBudget(10, 60.0, clock=clock), clock)
    place = budget.ticket()
    simulation.ask("first", place=place)
    for number in range(600):
        simulation.ask(number)
    simulation.run(until=1030.0)
    simulation.ask("first again", place=place)
    simulation.run()
    again = next(moment for moment, name in simulation.sent if name == "first again")
    assert again < 1000 + 2 * 60 * (1 + MARGIN)


def test_what_cannot_come_in_time_is_refused_and_costs_nothing() -> None:
    clock = Clock()
    simulation = Simulation(RateBudget(1, 60.0, clock=clock), clock)
    simulation.ask("spent")
    with pytest.raises(BankSyncBudgetError, match="spent for the next 60 s"):
        simulation.ask("in a hurry", patience=30.0)
    simulation.ask("patient", patience=61.0)
    simulation.run()
    assert [name for _, name in simulation.sent] == ["spent", "patient"]


def test_a_forked_process_begins_anew() -> None:
    import os

    config = ClientConfig(secret="bsk_fork")
    of = budget_for(config)
    with budget._budgets_lock, of._lock:  # as if a thread of the parent were in the middle of it
        child = os.fork()
        if child == 0:
            fresh = budget_for(config)
            os._exit(0 if fresh is not of and next(fresh.waits(), None) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_one_budget_for_a_key_in_a_process() -> None:
    one = ClientConfig(secret="bsk_one", workspace_id="a")
    assert budget_for(one) is budget_for(ClientConfig(secret="bsk_one", workspace_id="b"))
    assert budget_for(one) is not budget_for(ClientConfig(secret="bsk_two"))


def test_two_limits_for_one_key_are_one_budget_and_the_lower_counts() -> None:
    of = budget_for(ClientConfig(secret="bsk_both", rate_limit=6))
    assert budget_for(ClientConfig(secret="bsk_both", rate_limit=5)) is of
    assert budget_for(ClientConfig(secret="bsk_both", rate_limit=6)) is of
    clock = Clock()
    of._clock = clock
    simulation = Simulation(of, clock)
    for number in range(7):
        simulation.ask(number)
    assert len(simulation.sent) == 5


def test_a_refusal_that_happens_all_the_same_is_told_to_the_budget(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [reply(429, {"success": False, "error": "no"}, Retry_After="3"), ok([])]
    assert face.run(config, endpoints.list_feeds()) == []
    assert face.budget._paused_until == pytest.approx(1003.0)
    assert face.waits[0] >= 3


@pytest.mark.parametrize(("window", "least"), [(3.0, 0.7), pytest.param(12.0, 0.95, marks=pytest.mark.slow)])
def test_the_budget_is_spent_to_the_last_request_and_not_exceeded(window: float, least: float) -> None:
    """Threads and an event loop together, against a server that refuses what is too much."""
    limit, rounds = 40, 3
    with BankSyncSandbox(portals=1, rate_limit=RateLimit(limit, window)) as sandbox:
        config = ClientConfig(
            secret=sandbox.api_key, base_url=sandbox.url, rate_limit=limit, rate_window=window
        )
        loop = threading.Thread(target=lambda: asyncio.run(by_loop(config, limit * rounds // 2)))
        threads = [loop, *by_threads(config, limit * rounds // 2, workers=4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        traffic = sandbox.traffic()
    assert traffic.refused == 0
    assert traffic.requests == limit * rounds
    assert traffic.peak == limit
    assert used(traffic, limit, window) >= least


@pytest.mark.parametrize(("window", "least"), [(2.0, 0.7), pytest.param(12.0, 0.95, marks=pytest.mark.slow)])
def test_a_loop_that_is_late_exceeds_nothing_and_leaves_nothing_over(window: float, least: float) -> None:
    """It does something else for up to 0.4 s, again and again: requests leave late, and answers are read late."""
    limit, rounds = 40, 3
    with BankSyncSandbox(portals=1, rate_limit=RateLimit(limit, window)) as sandbox:
        config = ClientConfig(
            secret=sandbox.api_key, base_url=sandbox.url, rate_limit=limit, rate_window=window
        )
        asyncio.run(by_a_late_loop(config, limit * rounds, in_flight=16))
        traffic = sandbox.traffic()
    assert traffic.refused == 0
    assert traffic.requests == limit * rounds
    assert used(traffic, limit, window) >= least


def used(traffic: Traffic, limit: int, window: float) -> float:
    """Tell which share of the budget was used: how long a window took in which all of it was spent."""
    moments = sorted(record.time for record in traffic.records)
    windows = [
        (later - earlier).total_seconds() for earlier, later in zip(moments, moments[limit:], strict=False)
    ]
    return window / (sum(windows) / len(windows))


async def by_a_late_loop(config: ClientConfig, calls: int, in_flight: int) -> None:
    rng = random.Random(7)
    todo = iter(range(calls))

    async def work(client: AsyncClient) -> None:
        for _ in todo:
            await client.send(endpoints.whoami())

    async def be_late() -> None:
        while True:
            time.sleep(rng.uniform(0.0, 0.4))  # noqa: ASYNC251 - that is the point
            await asyncio.sleep(rng.uniform(0.0, 0.2))

    async with AsyncClient(config) as client:
        lateness = asyncio.create_task(be_late())
        await asyncio.gather(*(work(client) for _ in range(in_flight)))
        lateness.cancel()


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
