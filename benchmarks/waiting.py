"""Measure what a thousand waits do to a triggerer's event loop, beside the waits of Airbyte's provider.

    make benchmark-waiting            three rounds, about five minutes, in an environment of its own
    python benchmarks/waiting.py --rounds 1 --no-airbyte

Both triggers wait for jobs of APIs that are processes of their own and take 200 ms for each answer. As in a triggerer,
one event loop runs them all; a heartbeat says how long it stood still. Ours waits for 1,000 jobs, Airbyte's for 100:
its loop stands still for as long as all of its requests take together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.stalls import GOAL, Stalls, watched  # noqa: E402 - it is run as a script, too

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LATENCY = 0.2
POLL_INTERVAL = 5.0


@dataclass
class Api:
    """An API that is up, with jobs that run until `end`."""

    trigger: str
    arguments: list[dict[str, Any]]
    connection: tuple[str, dict[str, Any] | str]
    end: Callable[[], object]
    requests: Callable[[], int]


@dataclass
class Round:
    """What one round saw."""

    waits: int
    idle: Stalls
    """The loop before anybody waited."""
    stalls: Stalls
    requests: int

    @property
    def each(self) -> float:
        """Requests for each wait."""
        return self.requests / self.waits


@contextmanager
def banksync(waits: int, latency: float = LATENCY) -> Iterator[Api]:
    """The sandbox, with a job of its own for each wait."""
    import requests

    portals = waits // 2 + 20
    command = [sys.executable, "-m", "airflow_provider_banksync.sandbox", "--time-scale", "0"]
    with (
        process([*command, "--portals", str(portals), "--row-errors", "0"], until="Ctrl-C") as told,
        requests.Session() as session,
    ):
        words = dict(line.strip().partition("  ")[::2] for line in told)
        url, key = words["URL"].strip(), words["API key"].strip()
        session.headers.update({"X-API-Key": key, "User-Agent": "waiting-benchmark/1.0"})
        arguments: list[dict[str, Any]] = []
        for feed in session.get(f"{url}/v1/feeds?scope=family", timeout=60).json()["data"]:
            where = {"X-Workspace-Id": feed["workspaceId"]}
            reply = session.post(f"{url}/v1/feeds/{feed['id']}/sync", headers=where, timeout=60)
            if not reply.ok:  # a feed that cannot be synced without dates
                continue
            arguments.append(
                {
                    "feed_id": feed["id"],
                    "job_id": reply.json()["data"]["id"],
                    "workspace_id": feed["workspaceId"],
                    "deadline": time.time() + 3600,
                    "poll_interval": POLL_INTERVAL,
                }
            )
            if len(arguments) == waits:
                break
        slow = {"fault": "latency", "with": {"seconds": latency}, "path": "/v1/**"}
        session.post(f"{url}/_sandbox/faults", json=slow, timeout=60).raise_for_status()
        extra = {"rate_limit_per_minute": 100_000}
        yield Api(
            "airflow_provider_banksync.triggers.job.BankSyncJobTrigger",
            arguments,
            ("BANKSYNC_DEFAULT", {"conn_type": "banksync", "host": url, "password": key, "extra": extra}),
            lambda: session.put(f"{url}/_sandbox/clock", json={"advance": 3600}, timeout=60),
            lambda: sum(
                request["method"] == "GET" and "/jobs/" in request["path"]
                for request in session.get(f"{url}/_sandbox/requests", timeout=60).json()["requests"]
            ),
        )


@contextmanager
def airbyte(waits: int, latency: float = LATENCY) -> Iterator[Api]:
    """A stand-in of Airbyte's API."""
    import requests

    command = [sys.executable, str(ROOT / "benchmarks" / "airbyte_stand_in.py"), str(latency)]
    with process(command, until="http") as told:
        url = told[-1].strip()
        arguments = [
            {
                "job_id": number,
                "conn_id": "airbyte_default",
                "end_time": time.time() + 3600,
                "poll_interval": POLL_INTERVAL,
            }
            for number in range(1, waits + 1)
        ]
        yield Api(
            "airflow.providers.airbyte.triggers.airbyte.AirbyteSyncTrigger",
            arguments,
            ("AIRBYTE_DEFAULT", {"conn_type": "airbyte", "host": url}),
            lambda: requests.get(f"{url}/end", timeout=60),
            lambda: int(requests.get(f"{url}/count", timeout=60).json()["requests"]),
        )


@contextmanager
def process(command: list[str], *, until: str) -> Iterator[list[str]]:
    """Run a server; give what it said until it was up."""
    told: list[str] = []
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as server:
        try:
            for line in server.stdout or ():
                told.append(line)
                if until in line:
                    break
            else:
                raise SystemExit(f"{command[1]} did not start")
            yield told
        finally:
            server.terminate()
            server.communicate(timeout=20)


def play(api: Api, *, lasts: float, together: bool = False) -> Round:
    """Let a loop in a process of its own wait for all jobs, which end after so many seconds.

    :param together: start all triggers in one step of the loop; otherwise one after another, as a triggerer does.
    """
    name, connection = api.connection
    with tempfile.TemporaryDirectory(prefix="banksync-waiting-") as home:
        env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_")},
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            f"AIRFLOW_CONN_{name}": json.dumps(connection),
            "PYTHONPATH": str(ROOT),
        }
        task = {"trigger": api.trigger, "arguments": api.arguments, "together": together}
        worker = subprocess.Popen(
            [sys.executable, __file__, "--worker", str(Path(home, "worker.log"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        with worker:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(json.dumps(task))
            worker.stdin.close()
            if worker.stdout.readline().strip() != "waiting":
                raise SystemExit(f"the worker failed: {Path(home, 'worker.log').read_text()[-3000:]}")
            time.sleep(lasts)
            api.end()
            result = json.loads(worker.stdout.readline() or "null")
            if result is None:
                raise SystemExit(f"the worker failed: {Path(home, 'worker.log').read_text()[-3000:]}")
    strange = {text for text in result["endings"] if text not in ("ended", "success")}
    if strange or len(result["endings"]) != len(api.arguments):
        raise SystemExit(f"{len(result['endings'])} waits of {len(api.arguments)} ended, with {strange}")
    return Round(
        len(api.arguments), Stalls(**result["idle"]), Stalls(**result["stalls"]), int(api.requests())
    )


def work(log: str) -> None:
    """Be the process with the loop: what it logs goes to a file, what it finds to the standard output."""
    answers = os.fdopen(os.dup(1), "w")
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    task = json.load(sys.stdin)
    import_module("airflow.jobs.triggerer_job_runner")  # what a triggerer has loaded
    module, _, name = task["trigger"].rpartition(".")
    kind = getattr(import_module(module), name)

    def tell(line: str) -> None:
        answers.write(f"{line}\n")
        answers.flush()

    async def wait(arguments: dict[str, Any]) -> str:
        async for event in kind(**arguments).run():
            return str(event.payload["status"])
        return "nothing"

    async def main() -> None:
        async with watched() as idle:
            await asyncio.sleep(1)
        async with watched() as stalls:
            tell("waiting")
            waits = []
            for arguments in task["arguments"]:
                waits.append(asyncio.create_task(wait(arguments)))
                if not task["together"]:
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
            endings = await asyncio.gather(*waits)
        tell(json.dumps({"endings": endings, "idle": asdict(idle), "stalls": asdict(stalls)}))

    asyncio.run(main())


# --- requests that a job of a given length takes ---


def looks(
    intervals: Callable[[], Iterator[float]], lasts: float, answer: float = LATENCY
) -> tuple[int, float]:
    """Count the requests until one sees that the job has ended, and how late (seconds) that is."""
    now = 0.0
    for number, interval in enumerate(intervals(), start=1):
        now += answer
        if now >= lasts:
            return number, now - lasts
        now += interval
    raise AssertionError("the intervals never end")


def growing() -> Iterator[float]:
    """Our intervals: from 5 s on, longer by half each time, to 60 s."""
    from airflow_provider_banksync.api.conversations import Polling

    return Polling(POLL_INTERVAL, 60.0, float("inf"), time.time, random.random).intervals()


def fixed(seconds: float) -> Callable[[], Iterator[float]]:
    """An interval that stays as it is."""

    def intervals() -> Iterator[float]:
        while True:
            yield seconds

    return intervals


def print_requests() -> None:
    """Print how many requests jobs of several lengths take, and how late their end is seen: the means of many jobs."""
    print(
        "\nrequests for one job, and how late its end is seen (means of 2,000 jobs, each a little longer or shorter)"
    )
    ways = {
        "every 5 s": fixed(5),
        "5 s growing to 60 s (ours)": growing,
        "every 60 s (Airbyte's operator)": fixed(60),
    }
    for name, lasts in (("30 s", 30), ("5 min", 300), ("30 min", 1800)):
        for way, intervals in ways.items():
            jobs = [looks(intervals, lasts * random.uniform(0.8, 1.2)) for _ in range(2_000)]
            number, late = (statistics.mean(column) for column in zip(*jobs, strict=True))
            print(f"  a job of {name:<7} {way:<33} {number:6.1f} requests   {late:5.1f} s late")


# --- the benchmark ---


def spread(values: list[float], form: str = ",.0f", unit: str = "") -> str:
    """Write the median with the lowest and the highest."""
    return f"{statistics.median(values):{form}}{unit} ({min(values):{form}} to {max(values):{form}})"


def print_rounds(name: str, rounds: list[Round]) -> None:
    def ms(pick: Callable[[Round], float]) -> str:
        return spread([pick(each) * 1000 for each in rounds], ",.1f", " ms")

    print(f"{name}: {rounds[0].waits:,} waits")
    print(f"  longest stall of the loop     {ms(lambda each: each.stalls.longest)}")
    print(f"    the same loop, idle         {ms(lambda each: each.idle.longest)}")
    print(f"    nothing taken off           {ms(lambda each: each.stalls.raw)}")
    print(f"    longest full collection     {ms(lambda each: each.stalls.collecting)}, ", end="")
    print(f"{sum(each.stalls.collections for each in rounds)} in all rounds")
    shares = [100 * each.stalls.standing / each.stalls.watched for each in rounds]
    print(f"  time spent in stalls > {GOAL * 1000:.0f} ms  {spread(shares, '.0f', ' %')}")
    print(f"  requests for each wait        {spread([each.each for each in rounds], '.2f')}\n")


def versions() -> str:
    names = ("apache-airflow", "apache-airflow-providers-airbyte", "airflow-provider-banksync", "aiohttp")
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join([f"Python {platform.python_version()}", *found])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds (3)")
    parser.add_argument("--waits", type=int, default=1000, metavar="N", help="waits of ours (1000)")
    parser.add_argument(
        "--airbyte-waits", type=int, default=100, metavar="N", help="waits of Airbyte's (100)"
    )
    parser.add_argument(
        "--lasts", type=float, default=20.0, metavar="S", help="seconds that a job lasts (20)"
    )
    parser.add_argument(
        "--together",
        action="store_true",
        help="start all triggers in one step of the loop, not one after another as a triggerer does",
    )
    parser.add_argument("--no-airbyte", action="store_true", help="ours alone")
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return
    print(f"{versions()}\n")
    print(f"Answers take {LATENCY * 1000:.0f} ms, jobs {options.lasts:g} s, looks at them begin every 5 s.")
    how = "all in one step of the loop" if options.together else "one after another, as a triggerer does"
    print(f"Triggers start {how}. {options.rounds} rounds, each of both; median (lowest to highest).\n")
    ours: list[Round] = []
    theirs: list[Round] = []
    for _ in range(options.rounds):
        with banksync(options.waits) as api:
            ours.append(play(api, lasts=options.lasts, together=options.together))
        if not options.no_airbyte:
            with airbyte(options.airbyte_waits) as api:
                theirs.append(play(api, lasts=options.lasts, together=options.together))
    print_rounds("BankSyncJobTrigger", ours)
    if theirs:
        print_rounds("AirbyteSyncTrigger", theirs)
        ratios = [b.stalls.longest / a.stalls.longest for a, b in zip(ours, theirs, strict=True)]
        print(f"longest stall, Airbyte's : ours   {spread(ratios)}")
        print(f"  though ours waits for {options.waits / options.airbyte_waits:g} times as many jobs")
    met = max(each.stalls.longest for each in ours) <= GOAL
    print(f"goal, no stall over {GOAL * 1000:.0f} ms: {'met' if met else 'MISSED'}")
    print_requests()


if __name__ == "__main__":
    main()
