"""The rate limiter: it never exceeds the limit in any window, and leaves nothing unused."""

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

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.api.http.async_client import AsyncClient
from airflow_provider_banksync.api.http.client import Client
from airflow_provider_banksync.api.rate_limit import limiter, registry
from airflow_provider_banksync.api.rate_limit.limiter import WINDOW_MARGIN, RateLimiter
from airflow_provider_banksync.api.rate_limit.registry import limiter_for
from airflow_provider_banksync.exceptions import BankSyncBudgetError, BankSyncError, BankSyncRateLimitError
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.sandbox.http.rate_limit import RateLimit
from tests.support.manual_clock import ManualClock
from tests.support.scripted_server import RESET, SILENCE, ok, reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.http.rate_limit import Traffic
    from tests.support.client_driver import ClientDriver
from tests.support.scripted_server import ScriptedServer


class Simulation:
    """Requests that wait for their turn, by a clock that jumps from one wake-up to the next."""

    def __init__(self, of: RateLimiter, clock: ManualClock) -> None:
        self.of = of
        self.clock = clock
        self.sent: list[tuple[float, object]] = []
        self.counted: list[float] = []
        self._asleep: list[tuple[float, int, object, Iterator[float]]] = []
        self._numbers = itertools.count()

    def ask(self, name: object = None, **how: Any) -> None:
        self._step(name, self.of.acquire(**how))

    def send(self, name: int, *, late: float = 0.0, transit: float = 0.0, answer: float = 0.0) -> None:
        """Ask, leave late, be counted by the server later still, and have the answer at last."""

        def steps() -> Iterator[float]:
            queue_number = limiter.next_queue_number()
            yield from self.of.acquire(queue_number=queue_number)
            yield late
            sent = self.clock.now
            yield transit
            self.counted.append(self.clock.now)
            yield answer
            began = time.monotonic()
            self.of.record_answer(queue_number, began - (self.clock.now - sent), began)

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
def test_the_limit_is_never_exceeded_and_no_request_waits_too_long(limit: int, gaps: list[float]) -> None:
    clock = ManualClock()
    window = 5.0
    of = RateLimiter(limit, window, clock=clock, rng=lambda: 0.5)
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
        free = moments[number - limit] + window * (1 + WINDOW_MARGIN) if number >= limit else 0.0
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
def test_with_any_delays_the_limit_holds_and_is_nearly_used_up(
    limit: int, each: list[dict[str, float]]
) -> None:
    """Every window of the length counts, so the windows of a server that counts by the minute do too."""
    clock = ManualClock()
    simulation = Simulation(RateLimiter(limit, 60.0, clock=clock), clock)
    for number, delay in enumerate(each):
        simulation.send(number, **delay)
    simulation.run()
    assert len(simulation.counted) == 60
    assert simulation.most_in_a_window() <= limit
    late = 0.4 + 0.9
    assert max(simulation.counted) - 1000.0 <= 59 / limit * 60 / 0.95 + limiter.LATENCY_ALLOWANCE + late
    assert not simulation.of._in_flight


def test_a_stuck_server_has_not_counted_unanswered_requests() -> None:
    clock = ManualClock()
    simulation = Simulation(RateLimiter(40, 60.0, clock=clock), clock)
    for number in range(160):
        simulation.send(number, transit=9.5 if number < 40 else 0.1)
    simulation.run()
    assert len(simulation.counted) == 160
    assert simulation.most_in_a_window() == 40


@pytest.mark.parametrize(("took", "costs"), [(9.5, 9.5), (50.0, limiter.MAX_COUNT_DELAY)])
def test_a_slow_answer_costs_little_of_the_limit(took: float, costs: float) -> None:
    clock = ManualClock()
    of = RateLimiter(1, 60.0, clock=clock)
    queue_number = limiter.next_queue_number()
    assert next(of.acquire(queue_number=queue_number), None) is None
    clock.now += took
    now = time.monotonic()
    of.record_answer(queue_number, now - took, now)
    of.record_answer(queue_number, now, now)  # said once
    clock.now = 1000 + 60 * (1 + WINDOW_MARGIN) + costs - 0.01
    assert next(of.acquire()) <= 0.05
    clock.now += 0.05
    assert next(of.acquire(), None) is None


def test_a_request_counts_from_its_answer(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    driver.limiter._clock = time.monotonic
    began = time.monotonic()

    def late(_: Any) -> bytes:
        time.sleep(0.2)
        return ok([])

    server.script = [late]
    assert driver.run(config, endpoints.list_feeds()) == []
    assert began + 0.19 <= driver.limiter._bucket.peek(0).timestamp / 1000 <= time.monotonic()
    assert not driver.limiter._in_flight


@pytest.mark.parametrize("fault", [RESET, SILENCE])
def test_a_request_without_an_answer_counts_from_when_that_is_clear(
    fault: str, driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    driver.limiter._clock = time.monotonic
    server.script = [fault, reply(404, {"success": False, "error": "no"})]
    began = time.monotonic()
    with pytest.raises(BankSyncError):
        driver.run(replace(config, max_retries=1, timeout=0.3), endpoints.list_feeds())
    first = driver.limiter._bucket.peek(1).timestamp / 1000
    assert first >= began + (0.29 if fault == SILENCE else -0.001)
    assert driver.limiter._bucket.peek(0).timestamp / 1000 >= first
    assert not driver.limiter._in_flight


def test_a_long_body_costs_nothing(driver: ClientDriver) -> None:
    driver.limiter._clock = time.monotonic
    with BankSyncSandbox(portals=1) as sandbox:
        sandbox.faults.add(Fault.dripping(1.5))
        driver.run(ClientConfig(secret=sandbox.api_key, base_url=sandbox.url), endpoints.whoami())
        ended = time.monotonic()
    assert driver.limiter._bucket.peek(0).timestamp / 1000 < ended - 1.0, "counted when its answer began"


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
    of = limiter_for(config)
    assert of._bucket.peek(0).timestamp / 1000 >= began + 0.29
    assert not of._in_flight


@settings(deadline=None)  # of the machine, not of what it shows
@given(
    refusals=st.lists(
        st.tuples(st.floats(0.0, 300.0), st.sampled_from([None, 0.0, 1.0, 30.0, 60.0, 90.0, 120.0])),
        max_size=8,
    )
)
def test_the_limit_holds_after_429s(refusals: list[tuple[float, float | None]]) -> None:
    clock = ManualClock()
    simulation = Simulation(RateLimiter(20, 60.0, clock=clock), clock)
    for number in range(120):
        simulation.ask(number)
    for moment, retry_after in sorted(refusals, key=lambda refusal: refusal[0]):
        simulation.run(until=1000.0 + moment)
        simulation.of.record_429(retry_after)
    simulation.run()
    assert len(simulation.sent) == 120
    assert simulation.most_in_a_window() <= 20


def test_a_429_pauses_all_lowers_the_rate_and_recovers() -> None:
    clock = ManualClock()
    simulation = Simulation(RateLimiter(10, 60.0, clock=clock, rng=lambda: 0.5), clock)
    simulation.ask("first")
    simulation.of.record_429(7.0)
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


def test_requests_resume_at_different_times_after_a_pause() -> None:
    clock = ManualClock()
    numbers = iter([0.1, 0.9])
    of = RateLimiter(10, 60.0, clock=clock, rng=lambda: next(numbers))
    of.record_429(5.0)
    one, other = (next(of.acquire()) for _ in range(2))
    assert one >= 5.0
    assert other - one == pytest.approx(0.8 * limiter.WAKE_UP_JITTER * 60)


@pytest.mark.parametrize("retry_after", [None, 0.0, 5.0])
def test_many_429s_at_once_count_once(retry_after: float | None) -> None:
    clock = ManualClock()
    simulation = Simulation(RateLimiter(10, 60.0, clock=clock), clock)
    for _ in range(100):
        simulation.of.record_429(retry_after)
        clock.now += 0.001
    simulation.run(until=clock.now + 6.0)
    for number in range(12):
        simulation.ask(number)
    assert len(simulation.sent) == 9


@pytest.mark.parametrize("asked", [86_400.0, 10.0**300, float("inf")])
def test_a_server_cannot_stop_everything(asked: float) -> None:
    clock = ManualClock()
    simulation = Simulation(RateLimiter(10, 60.0, clock=clock), clock)
    simulation.of.record_429(asked)
    simulation.ask()
    simulation.run()
    assert clock.now - 1000 <= 125


def test_a_request_moves_up_when_others_leave_the_queue() -> None:
    clock = ManualClock()
    simulation = Simulation(RateLimiter(10, 60.0, clock=clock), clock)
    for number in range(1000):
        simulation.ask(number)
    for number in range(10, 999):
        simulation.leave(number)
    simulation.ask("new")
    simulation.run()
    late = {name: moment for moment, name in simulation.sent[10:]}
    assert list(late) == [999, "new"]
    assert max(late.values()) < 1000 + 60 * (1 + WINDOW_MARGIN + limiter.RECHECK_SHARE)


def test_a_retried_request_keeps_its_position() -> None:
    clock = ManualClock()
    simulation = Simulation(RateLimiter(10, 60.0, clock=clock), clock)
    queue_number = limiter.next_queue_number()
    simulation.ask("first", queue_number=queue_number)
    for number in range(600):
        simulation.ask(number)
    simulation.run(until=1030.0)
    simulation.ask("first again", queue_number=queue_number)
    simulation.run()
    again = next(moment for moment, name in simulation.sent if name == "first again")
    assert again < 1000 + 2 * 60 * (1 + WINDOW_MARGIN)


def test_a_request_that_would_be_too_late_is_refused_and_costs_nothing() -> None:
    clock = ManualClock()
    simulation = Simulation(RateLimiter(1, 60.0, clock=clock), clock)
    simulation.ask("spent")
    with pytest.raises(BankSyncBudgetError, match="used up for the next 60 s"):
        simulation.ask("in a hurry", max_wait=30.0)
    simulation.ask("patient", max_wait=61.0)
    simulation.run()
    assert [name for _, name in simulation.sent] == ["spent", "patient"]


def test_a_forked_process_has_new_limiters() -> None:
    import os

    config = ClientConfig(secret="bsk_fork")
    of = limiter_for(config)
    with registry._limiters_lock, of._lock:  # as if a thread of the parent were in the middle of it
        child = os.fork()
        if child == 0:
            fresh = limiter_for(config)
            os._exit(0 if fresh is not of and next(fresh.acquire(), None) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_one_limiter_for_each_key_and_process() -> None:
    one = ClientConfig(secret="bsk_one", workspace_id="a")
    assert limiter_for(one) is limiter_for(ClientConfig(secret="bsk_one", workspace_id="b"))
    assert limiter_for(one) is not limiter_for(ClientConfig(secret="bsk_two"))


def test_of_two_limits_for_one_key_the_lower_counts() -> None:
    of = limiter_for(ClientConfig(secret="bsk_both", rate_limit=6))
    assert limiter_for(ClientConfig(secret="bsk_both", rate_limit=5)) is of
    assert limiter_for(ClientConfig(secret="bsk_both", rate_limit=6)) is of
    clock = ManualClock()
    of._clock = clock
    simulation = Simulation(of, clock)
    for number in range(7):
        simulation.ask(number)
    assert len(simulation.sent) == 5


def test_a_429_is_recorded_by_the_limiter(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [reply(429, {"success": False, "error": "no"}, Retry_After="3"), ok([])]
    assert driver.run(config, endpoints.list_feeds()) == []
    assert driver.limiter._paused_until == pytest.approx(1003.0)
    assert driver.sleeps[0] >= 3


@pytest.mark.parametrize(("window", "least"), [(3.0, 0.7), pytest.param(12.0, 0.95, marks=pytest.mark.slow)])
def test_the_limit_is_used_up_and_not_exceeded(window: float, least: float) -> None:
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
def test_a_late_event_loop_uses_the_limit_up_and_does_not_exceed_it(window: float, least: float) -> None:
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
    """Tell which share of the limit was used, from how long a window took in which all of it was used."""
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


# --- a 429 that does not concern the key ---

ACCOUNT, OF_SAME_BANK, OTHER = (
    f"/v1/banks/{ids}/transactions" for ids in ("b/accounts/a", "b/accounts/c", "d/accounts/e")
)
HOURS = 43_200.0


@pytest.fixture
def limited() -> tuple[RateLimiter, ManualClock]:
    clock = ManualClock()
    return RateLimiter(100, 60.0, clock=clock, rng=lambda: 0.0), clock


def pause(of: RateLimiter) -> float:
    """How long the next request waits."""
    wait = next(of.acquire(), None)
    return wait or 0.0


def accept(of: RateLimiter, path: str) -> None:
    of.record_answer(-1, 0.0, 0.0, path)


def test_a_429_for_hours_pauses_nobody_else(limited: tuple[RateLimiter, ManualClock]) -> None:
    of, clock = limited
    for path in (ACCOUNT, OF_SAME_BANK, ACCOUNT):
        of.record_429(HOURS, path)
        clock.now += 1
    assert pause(of) == 0


def test_a_429_that_another_bank_confirms_pauses_all(limited: tuple[RateLimiter, ManualClock]) -> None:
    of, clock = limited
    of.record_429(HOURS, ACCOUNT)
    clock.now += 1
    of.record_429(HOURS, OTHER)
    assert pause(of) == 120


def test_a_429_is_not_confirmed_if_others_get_answers_in_between(
    limited: tuple[RateLimiter, ManualClock],
) -> None:
    of, clock = limited
    of.record_429(HOURS, ACCOUNT)
    clock.now += 1
    accept(of, "/v1/feeds")
    clock.now += 1
    of.record_429(HOURS, OTHER)
    assert pause(of) == 0


def test_an_account_that_is_refused_again_and_again_pauses_all_only_once(
    limited: tuple[RateLimiter, ManualClock],
) -> None:
    of, clock = limited
    of.record_429(10.0, ACCOUNT)
    assert pause(of) == 10
    for _ in range(3):
        clock.now += 11
        accept(of, OTHER)
        clock.now += 1
        of.record_429(10.0, ACCOUNT)
        assert pause(of) == 0
    of.record_429(10.0, OTHER)
    assert pause(of) == 10, "another bank confirms it"


def test_an_account_that_was_accepted_may_report_the_keys_limit_again(
    limited: tuple[RateLimiter, ManualClock],
) -> None:
    of, clock = limited
    of.record_429(10.0, ACCOUNT)
    clock.now += 70
    accept(of, ACCOUNT)
    clock.now += 1
    of.record_429(10.0, ACCOUNT)
    assert pause(of) == 10


def test_a_wait_of_hours_is_not_retried_and_pauses_nobody(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    refused = {"success": False, "error": "no more today"}
    server.script = [reply(429, refused, Retry_After="43200"), ok([])]
    with pytest.raises(BankSyncRateLimitError, match="no more today"):
        driver.run(config, endpoints.list_holdings("b", "a"))
    assert driver.run(config, endpoints.list_feeds()) == []
    assert driver.sleeps == []
