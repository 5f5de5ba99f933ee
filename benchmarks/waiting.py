"""Measure how long 1,000 waits block a triggerer's event loop, compared with the waits of Airbyte's provider.

    make benchmark-waiting            three rounds, about five minutes, in an environment of its own
    python benchmarks/waiting.py --rounds 1 --no-airbyte

Each API is a separate process and needs 200 ms for each answer. As in a triggerer, one event loop runs all triggers. A
heartbeat measures how long the loop is blocked. This provider waits for 1,000 jobs, Airbyte's for 100: its trigger
blocks the loop during each of its requests.
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

from benchmarks.stalls import GOAL, Stalls, measure_stalls  # noqa: E402 - it is run as a script, too

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LATENCY = 0.2
POLL_INTERVAL = 5.0


@dataclass
class Api:
    """A running API, with jobs that run until `end` is called."""

    trigger: str
    arguments: list[dict[str, Any]]
    connection: tuple[str, dict[str, Any] | str]
    end: Callable[[], object]
    requests: Callable[[], int]


@dataclass
class Round:
    """The measurements of one round."""

    waits: int
    idle: Stalls
    """The loop before the waits begin."""
    stalls: Stalls
    requests: int

    @property
    def each(self) -> float:
        """The number of requests for each wait."""
        return self.requests / self.waits


@contextmanager
def banksync(waits: int, latency: float = LATENCY) -> Iterator[Api]:
    """Run the sandbox, with one job for each wait."""
    import requests

    portals = waits // 2 + 20
    command = [sys.executable, "-m", "airflow_provider_banksync.sandbox", "--time-scale", "0"]
    with (
        process([*command, "--portals", str(portals), "--row-errors", "0"], until="Ctrl-C") as output,
        requests.Session() as session,
    ):
        printed = dict(line.strip().partition("  ")[::2] for line in output)
        url, key = printed["URL"].strip(), printed["API key"].strip()
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
    """Run a stand-in for Airbyte's API."""
    import requests

    command = [sys.executable, str(ROOT / "benchmarks" / "airbyte_stand_in.py"), str(latency)]
    with process(command, until="http") as output:
        url = output[-1].strip()
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
    """Run a server. Yield the lines that it printed until it was ready."""
    output: list[str] = []
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as server:
        try:
            for line in server.stdout or ():
                output.append(line)
                if until in line:
                    break
            else:
                raise SystemExit(f"{command[1]} did not start")
            yield output
        finally:
            server.terminate()
            server.communicate(timeout=20)


def run_round(api: Api, *, lasts: float, together: bool = False) -> Round:
    """Wait for all jobs in a separate process. The jobs end after `lasts` seconds.

    :param together: start all triggers in one step of the loop. Otherwise one after another, like a triggerer.
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
    unexpected = {text for text in result["endings"] if text not in ("ended", "success")}
    if unexpected or len(result["endings"]) != len(api.arguments):
        raise SystemExit(f"{len(result['endings'])} waits of {len(api.arguments)} ended, with {unexpected}")
    return Round(
        len(api.arguments), Stalls(**result["idle"]), Stalls(**result["stalls"]), int(api.requests())
    )


def run_worker(log: str) -> None:
    """Run the event loop. Logs go to a file, results to standard output."""
    results = os.fdopen(os.dup(1), "w")
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    task = json.load(sys.stdin)
    import_module("airflow.jobs.triggerer_job_runner")  # a triggerer has loaded this too
    module, _, name = task["trigger"].rpartition(".")
    kind = getattr(import_module(module), name)

    def send(line: str) -> None:
        results.write(f"{line}\n")
        results.flush()

    async def wait(arguments: dict[str, Any]) -> str:
        async for event in kind(**arguments).run():
            return str(event.payload["status"])
        return "nothing"

    async def main() -> None:
        async with measure_stalls() as idle:
            await asyncio.sleep(1)
        async with measure_stalls() as stalls:
            send("waiting")
            waits = []
            for arguments in task["arguments"]:
                waits.append(asyncio.create_task(wait(arguments)))
                if not task["together"]:
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
            endings = await asyncio.gather(*waits)
        send(json.dumps({"endings": endings, "idle": asdict(idle), "stalls": asdict(stalls)}))

    asyncio.run(main())


# --- requests for a job of a given length ---


def polls(
    intervals: Callable[[], Iterator[float]], lasts: float, answer: float = LATENCY
) -> tuple[int, float]:
    """Return the number of polls until one sees the end of the job, and its delay in seconds."""
    now = 0.0
    for number, interval in enumerate(intervals(), start=1):
        now += answer
        if now >= lasts:
            return number, now - lasts
        now += interval
    raise AssertionError("the intervals never end")


def growing() -> Iterator[float]:
    """Yield this provider's intervals: 5 s at first, each 1.5 times the last, up to 60 s."""
    from airflow_provider_banksync.api.flows.polling import PollPolicy

    return PollPolicy(POLL_INTERVAL, 60.0, float("inf"), time.time, random.random).intervals()


def fixed(seconds: float) -> Callable[[], Iterator[float]]:
    """Return a function that yields the same interval again and again."""

    def intervals() -> Iterator[float]:
        while True:
            yield seconds

    return intervals


def print_requests() -> None:
    """Print the number of requests and the delay for jobs of several lengths, as means of many jobs."""
    print(
        "\nrequests for one job, and the delay until its end is seen (means of 2,000 jobs of similar length)"
    )
    ways = {
        "every 5 s": fixed(5),
        "5 s growing to 60 s (this provider)": growing,
        "every 60 s (Airbyte's operator)": fixed(60),
    }
    for name, lasts in (("30 s", 30), ("5 min", 300), ("30 min", 1800)):
        for way, intervals in ways.items():
            jobs = [polls(intervals, lasts * random.uniform(0.8, 1.2)) for _ in range(2_000)]
            number, late = (statistics.mean(column) for column in zip(*jobs, strict=True))
            print(f"  a job of {name:<7} {way:<33} {number:6.1f} requests   {late:5.1f} s late")


# --- the benchmark ---


def spread(values: list[float], form: str = ",.0f", unit: str = "") -> str:
    """Format the median, the lowest and the highest value."""
    return f"{statistics.median(values):{form}}{unit} ({min(values):{form}} to {max(values):{form}})"


def print_rounds(name: str, rounds: list[Round]) -> None:
    def ms(pick: Callable[[Round], float]) -> str:
        return spread([pick(each) * 1000 for each in rounds], ",.1f", " ms")

    print(f"{name}: {rounds[0].waits:,} waits")
    print(f"  longest stall of the loop     {ms(lambda each: each.stalls.longest)}")
    print(f"    the same loop, idle         {ms(lambda each: each.idle.longest)}")
    print(f"    uncorrected                 {ms(lambda each: each.stalls.raw)}")
    print(f"    longest full collection     {ms(lambda each: each.stalls.collecting)}, ", end="")
    print(f"{sum(each.stalls.collections for each in rounds)} in all rounds")
    shares = [100 * each.stalls.total / each.stalls.measured_for for each in rounds]
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
    parser.add_argument("--waits", type=int, default=1000, metavar="N", help="waits of this provider (1000)")
    parser.add_argument(
        "--airbyte-waits", type=int, default=100, metavar="N", help="waits of Airbyte's (100)"
    )
    parser.add_argument(
        "--lasts", type=float, default=20.0, metavar="S", help="seconds that a job lasts (20)"
    )
    parser.add_argument(
        "--together",
        action="store_true",
        help="start all triggers in one step of the loop, instead of one after another",
    )
    parser.add_argument("--no-airbyte", action="store_true", help="measure only this provider")
    options = parser.parse_args()
    if options.worker:
        run_worker(options.worker)
        return
    print(f"{versions()}\n")
    print(
        f"Answers take {LATENCY * 1000:.0f} ms, jobs take {options.lasts:g} s, polls begin at an interval of 5 s."
    )
    order = "all in one step of the loop" if options.together else "one after another, like a triggerer"
    print(f"Triggers start {order}. {options.rounds} rounds of each; median (lowest to highest).\n")
    banksync_rounds: list[Round] = []
    airbyte_rounds: list[Round] = []
    for _ in range(options.rounds):
        with banksync(options.waits) as api:
            banksync_rounds.append(run_round(api, lasts=options.lasts, together=options.together))
        if not options.no_airbyte:
            with airbyte(options.airbyte_waits) as api:
                airbyte_rounds.append(run_round(api, lasts=options.lasts, together=options.together))
    print_rounds("BankSyncJobTrigger", banksync_rounds)
    if airbyte_rounds:
        print_rounds("AirbyteSyncTrigger", airbyte_rounds)
        ratios = [
            b.stalls.longest / a.stalls.longest for a, b in zip(banksync_rounds, airbyte_rounds, strict=True)
        ]
        print(f"longest stall, Airbyte's : BankSync's   {spread(ratios)}")
        print(f"  although BankSync's waits for {options.waits / options.airbyte_waits:g} times as many jobs")
    met = max(each.stalls.longest for each in banksync_rounds) <= GOAL
    print(f"goal, no stall over {GOAL * 1000:.0f} ms: {'met' if met else 'MISSED'}")
    print_requests()


if __name__ == "__main__":
    main()
