"""A worker may be killed at any moment, a triggerer too: each feed is synced once, and Airflow knows how it ended.

``make kills`` kills 50 times and waits 100 times; a plain run of the tests does a few of each.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from airflow import __version__

from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.sandbox.clock import parse_moment
from demo.airflow_run import COMPONENTS
from tests.support.real_airflow import RealAirflow, kill, wait_until
from tests.support.sandbox_data import truth

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

#: At least so many kills, and so many waits; each victim is killed EACH times.
KILLS = int(os.environ.get("BANKSYNC_KILLS", "4"))
WAITS = int(os.environ.get("BANKSYNC_WAITS", "6"))
EACH = 3
#: The answer to a sync's request takes this long after the job is there (seconds): a wide window to be killed in.
ANSWER = 0.4
#: So long for what takes seconds (seconds): a machine may stand still for a while.
MAX_WAIT = 300
ACTIVE = ("queued", "in_progress")
#: What a trigger logs when it leaves its job running. On a slow machine, some get no answer.
LEFT_RUNNING = (
    "Cancelled nothing: the task is still deferred",
    "Cancelled nothing: the state of the task is unknown",
)

NEWEST = tuple(map(int, __version__.split(".")[:2])) >= (3, 3)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not NEWEST, reason="Airflow 3.3 brings the task state store and the trigger's on_kill"
    ),
]


@dataclass
class World:
    """One Airflow, the sandbox whose syncs are killed, the one whose syncs are waited for, and one for each family."""

    airflow: RealAirflow
    kills: BankSyncSandbox
    waits: BankSyncSandbox
    families: dict[str, BankSyncSandbox]
    told: dict[str, Any]


@dataclass
class Victim:
    """A task that is to be killed: when, each time, and which process of it is there now."""

    feed_id: str
    moments: list[str]
    note: dict[str, Any] | None = None
    delay: float = 0.0
    hits: list[str] = field(default_factory=list)


def choose(sandbox: BankSyncSandbox, prefix: str, number: int) -> dict[str, Any]:
    feeds = [feed for feed in truth(sandbox, "/v1/feeds?scope=family") if feed["dataType"] != "trades"]
    assert len(feeds) >= number
    return {
        f"{prefix}_{index:03}": {
            "id": feed["id"],
            "workspaceId": feed["workspaceId"],
            "deferrable": bool(index % 2),
        }
        for index, feed in enumerate(feeds[:number])
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    few = {"row_error_share": 0}
    with (
        BankSyncSandbox(portals=25, job_seconds=(2, 15), **few) as kills,
        BankSyncSandbox(portals=60, job_seconds=(1800, 1800), **few) as waits,
        BankSyncSandbox(portals=6, job_seconds=(1800, 1800), **few) as killed,
        BankSyncSandbox(portals=6, job_seconds=(1800, 1800), **few) as moved,
    ):
        families = {"family_killed": killed, "family_moved": moved}
        told = {
            "kills": choose(kills, "sync", -(-KILLS // EACH) + 4),
            "waits": choose(waits, "wait", WAITS + 2),
        }
        connections = {"banksync_default": kills.connection_uri, "banksync_long": waits.connection_uri}
        connections |= {f"banksync_{name}": family.connection_uri for name, family in families.items()}
        with RealAirflow(tmp_path_factory.mktemp("kill"), told, connections) as airflow:
            yield World(airflow, kills, waits, families, told)


def test_killed_workers(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox, airflow = world.kills, world.airflow
    rng = random.Random(int(os.environ.get("BANKSYNC_SEED", "1")))
    path = "/v1/feeds/*/sync"
    sandbox.faults.add(Fault.latency(ANSWER), method="POST", path=path, when="after")
    sandbox.faults.add(
        Fault.latency(ANSWER), method="POST", path=path, when="before", probability=0.3, seed=3
    )
    begun = time.monotonic()
    run_id = airflow.api.start_run("kills")
    victims = {
        name: Victim(feed["id"], plan(rng, deferrable=feed["deferrable"]))
        for name, feed in world.told["kills"].items()
    }
    deadline = time.monotonic() + MAX_WAIT + 12 * KILLS
    state, looked = "", time.monotonic()
    while state not in ("success", "failed"):
        assert time.monotonic() < deadline, airflow.states("kills", run_id)
        follow(airflow, sandbox, victims, rng)
        time.sleep(0.01)
        if time.monotonic() - looked > 1:
            state, looked = airflow.api.run_state("kills", run_id), time.monotonic()
    sandbox.faults.clear()
    took = time.monotonic() - begun

    tasks = airflow.tasks("kills", run_id)
    hits = Counter(hit for victim in victims.values() for hit in victim.hits)
    retried = sum(task.try_number - 1 for task in tasks.values())
    with capsys.disabled():
        report(hits, retried, took, sandbox)
    assert {task.state for task in tasks.values()} == {"success"}
    assert retried >= KILLS, "each kill cost a try"
    born = Counter(job["feedId"] for job in sandbox.jobs)
    assert born == {feed["id"]: 1 for feed in world.told["kills"].values()}, (
        "one job for each feed, and no second"
    )
    assert {job["status"] for job in sandbox.jobs} == {"completed"}, (
        "none runs on unknown, none was cancelled"
    )
    jobs = {job["feedId"]: job["id"] for job in sandbox.jobs}
    for name, task in tasks.items():
        feed_id = world.told["kills"][name]["id"]
        assert airflow.api.xcom("kills", run_id, task)["id"] == jobs[feed_id]
        assert airflow.api.xcom("kills", run_id, task, "job_id") == jobs[feed_id]


def plan(rng: random.Random, *, deferrable: bool) -> list[str]:
    """Say when a task is to be killed, one try after the other."""
    first = ["begin", "asked"] if rng.random() < 0.5 else ["asked"]
    more = ["resume"] if deferrable else ["resume", "wait"]
    return (first + rng.choices(more, k=EACH))[:EACH]


def follow(
    airflow: RealAirflow, sandbox: BankSyncSandbox, victims: dict[str, Victim], rng: random.Random
) -> None:
    """Kill the victims whose time has come."""
    for name, note in airflow.started():
        victim = victims[name]
        victim.note = note
        if victim.moments:
            longest = {"begin": 0.9, "asked": 0.05, "resume": 0.5, "wait": 2.0}[victim.moments[0]]
            victim.delay = rng.uniform(0, longest)
    born = {job["feedId"]: parse_moment(job["createdAt"]).timestamp() for job in sandbox.jobs}
    now = time.time()
    for victim in victims.values():
        if victim.note is None or not victim.moments:
            continue
        moment, asked_at = victim.moments[0], born.get(victim.feed_id)
        since = victim.note["at"]
        if moment in ("asked", "wait"):
            if asked_at is None:
                continue
            since = max(since, asked_at)
        if now < since + victim.delay:
            continue
        if kill(victim.note, supervisor=rng.random() < 0.25):
            victim.moments.pop(0)
            victim.hits.append(describe(asked_at, now, victim.note))
        victim.note = None


def describe(asked_at: float | None, now: float, note: dict[str, Any]) -> str:
    if asked_at is None:
        return "before there was a job"
    if now - asked_at < ANSWER:
        return "between the request and its answer"
    return "while resuming" if note["try"] > 1 and now - note["at"] < 1 else "while waiting"


def report(hits: Counter[str], retried: int, took: float, sandbox: BankSyncSandbox) -> None:
    posts = Counter(record.status for record in sandbox.requests if record.method == "POST")
    sys.stdout.write(f"\n{sum(hits.values())} kills in {took:.0f} s, {retried} tries lost:\n")
    for moment, number in sorted(hits.items()):
        sys.stdout.write(f"  {number:4} {moment}\n")
    sys.stdout.write(f"  {len(sandbox.jobs)} jobs for {len({job['feedId'] for job in sandbox.jobs})} feeds;")
    sys.stdout.write(f" requests for a sync by their answer: {dict(sorted(posts.items()))}\n")


def test_restarted_triggerers(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox, airflow = world.waits, world.airflow
    begun = time.monotonic()
    run_id = airflow.api.start_run("waits")
    killed_family = Family.start(world, "family_killed")
    names = list(world.told["waits"])
    everybody = len(names)
    wait_until(
        lambda: airflow.states("waits", run_id).get("deferred") == everybody,
        MAX_WAIT + 5 * everybody,
        "all wait",
    )
    wait_until(lambda: len(killed_family.sandbox.jobs) == killed_family.size, MAX_WAIT, "all feeds started")
    time.sleep(3)  # so that the trigger has recorded its jobs
    airflow.restart("triggerer", signal.SIGKILL)
    looks = looked(sandbox)  # not before: the old one may look until it has ended
    wait_until(lambda: all_looked_again(sandbox, looks, everybody), MAX_WAIT, "all wait in the new triggerer")
    airflow.restart("triggerer", signal.SIGTERM)
    looks = looked(sandbox)
    wait_until(
        lambda: all_looked_again(sandbox, looks, everybody), MAX_WAIT, "all wait in the third triggerer"
    )
    assert {job["status"] for job in sandbox.jobs} <= set(ACTIVE), "a restart cancels nothing"

    # Another triggerer takes over the triggers of one that is paused, as by a virtual machine that moves. One family is
    # in the middle of its starts.
    moved_family = Family.start(world, "family_moved", answer=5)
    wait_until(
        lambda: len(moved_family.sandbox.jobs) > moved_family.size // 4, MAX_WAIT, "some feeds started"
    )
    assert len(moved_family.sandbox.jobs) < moved_family.size
    airflow.components.start("second triggerer", *COMPONENTS["triggerer"])
    with airflow.paused("triggerer"):
        looks = looked(sandbox)
        wait_until(
            lambda: all_looked_again(sandbox, looks, everybody), MAX_WAIT, "all wait in the second triggerer"
        )
    wait_until(
        lambda: (
            sum(map(airflow.task_logs().count, LEFT_RUNNING)) >= everybody
            or "cancelled" in {job["status"] for job in sandbox.jobs}
        ),
        MAX_WAIT,
        "the first triggerer gives up its triggers",
    )
    assert LEFT_RUNNING[0] in airflow.task_logs(), "Airflow answers what the state of a task is"
    assert {job["status"] for job in sandbox.jobs} <= set(ACTIVE), "a hand-over cancels nothing"
    killed_family.check(ACTIVE)
    wait_until(lambda: len(moved_family.sandbox.jobs) >= moved_family.size, MAX_WAIT, "all feeds started")
    moved_family.check(ACTIVE)
    airflow.stop("triggerer")
    looks = looked(sandbox)
    wait_until(
        lambda: all_looked_again(sandbox, looks, everybody), MAX_WAIT, "all wait in the second triggerer"
    )

    # Airflow 3.3 and later tell a trigger when its task is killed, or cleared.
    *rest, killed, cleared = names
    airflow.mark_failed("waits", run_id, killed)
    airflow.mark_failed("family_killed", killed_family.run_id, "sync")
    airflow.clear("waits", run_id, cleared)
    feeds = {name: feed["id"] for name, feed in world.told["waits"].items()}
    wait_until(
        lambda: statuses(sandbox, feeds[killed]) == ["cancelled"],
        MAX_WAIT,
        "the killed task's job is cancelled",
    )
    wait_until(
        lambda: {job["status"] for job in killed_family.sandbox.jobs} == {"cancelled"},
        MAX_WAIT,
        "the jobs of the killed family are cancelled, although another triggerer had started them",
    )
    wait_until(
        lambda: len(statuses(sandbox, feeds[cleared])) == 2, MAX_WAIT, "the cleared task starts another"
    )
    wait_until(
        lambda: airflow.tasks("waits", run_id)[cleared].state == "deferred",
        MAX_WAIT,
        "the cleared task waits",
    )
    assert statuses(sandbox, feeds[cleared])[0] == "cancelled"
    sandbox.clock.advance(1800)
    moved_family.sandbox.clock.advance(1800)
    wait_until(
        lambda: airflow.api.run_state("waits", run_id) in ("success", "failed"),
        MAX_WAIT + 5 * everybody,
        "the run ends",
    )
    wait_until(
        lambda: airflow.api.run_state("family_moved", moved_family.run_id) in ("success", "failed"),
        MAX_WAIT,
        "the family ends",
    )
    took = time.monotonic() - begun
    killed_family.check(["cancelled"])
    moved_family.check(["completed"])
    assert airflow.api.run_state("family_moved", moved_family.run_id) == "success"

    tasks = airflow.tasks("waits", run_id)
    slices = Counter(name for name, _ in airflow.started())
    with capsys.disabled():
        sys.stdout.write(
            f"\n{everybody} waits over two restarts of the triggerer and a hand-over, in {took:.0f} s\n"
        )
    assert {tasks[name].state for name in (*rest, cleared)} == {"success"}
    assert tasks[killed].state == "failed"
    assert {tasks[name].try_number for name in rest} == {1}
    assert {slices[name] for name in rest} == {2}, "each trigger fired once: begun, and come back"
    for name in rest:
        assert statuses(sandbox, feeds[name]) == ["completed"], "one job, and nobody cancelled it"
    assert statuses(sandbox, feeds[killed]) == ["cancelled"]
    assert statuses(sandbox, feeds[cleared]) == ["cancelled", "completed"]


@dataclass
class Family:
    """A family sync: its run, its sandbox, and how many feeds it has."""

    run_id: str
    sandbox: BankSyncSandbox
    size: int

    @classmethod
    def start(cls, world: World, dag_id: str, *, answer: float = 0) -> Family:
        """Start it. The answer to each request for a sync takes so many seconds after the job is there."""
        sandbox = world.families[dag_id]
        rows = truth(sandbox, "/v1/feeds?scope=family")
        size = sum(feed["dataType"] in ("transactions", "balances", "holdings", "loans") for feed in rows)
        if answer:
            late = Fault.latency(answer)
            sandbox.faults.add(late, method="POST", path="/v1/feeds/*/sync", when="after")
        return cls(world.airflow.api.start_run(dag_id), sandbox, size)

    def check(self, expected: Collection[str]) -> None:
        """Check that each feed has one job, with one of these statuses."""
        assert len({job["feedId"] for job in self.sandbox.jobs}) == len(self.sandbox.jobs) == self.size
        assert {job["status"] for job in self.sandbox.jobs} <= set(expected)


def statuses(sandbox: BankSyncSandbox, feed_id: str) -> list[str]:
    return [job["status"] for job in sandbox.jobs if job["feedId"] == feed_id]


def looked(sandbox: BankSyncSandbox) -> int:
    return len(sandbox.requests)


def all_looked_again(sandbox: BankSyncSandbox, since: int, everybody: int) -> bool:
    """Say whether every job has been looked at since."""
    return len({record.path for record in sandbox.requests[since:] if "/jobs/" in record.path}) == everybody
