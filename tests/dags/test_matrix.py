"""Mode by ending, on whatever Airflow this is: what becomes of the task, its XComs, the job and the log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.api.jobs import seconds_run
from airflow_provider_banksync.sandbox import BankSyncSandbox
from tests.conftest import ROOT
from tests.dags.conftest import run_dag_file
from tests.hooks.test_hook import truth

if TYPE_CHECKING:
    from collections.abc import Iterator


DAG_FILE = ROOT / "tests" / "dags" / "matrix" / "banksync_matrix.py"


@dataclass(frozen=True)
class Cell:
    """What is to come of an ending: the task's state, the job's at the end of all, and what the log says."""

    state: str
    job: str
    says: tuple[str, ...]


CELLS = {
    "completed": Cell(
        "success", "completed", ("job {job} of feed {feed} completed: ", " written in {ran:.0f} s")
    ),
    "errors": Cell("success", "completed", ("[warning/validation] Row 7 was not written",)),
    "strict": Cell("failed", "completed", ("BankSyncJobFailedError", "- [warning/validation] Row 7")),
    "failed": Cell("failed", "failed", ("BankSyncJobFailedError", "(authentication)", " failed: 0 read, 0 ")),
    "cancelled": Cell("failed", "cancelled", ("BankSyncJobCancelledError", "Somebody cancelled it")),
    "unknown": Cell("success", "completed", ("has a status that is new to us, 'paused': waiting on",)),
    "unknown_end": Cell(
        "failed", "completed", ("BankSyncJobFailedError", "This status is new to this version")
    ),
    "timeout": Cell(
        "failed", "cancelled", ("BankSyncJobTimeoutError", "Cancelled job {job}", "took too long")
    ),
    "too_long": Cell("failed", "cancelled", ("AirflowTaskTimeout", "Cancelled job {job}", "took too long")),
    "killed": Cell("failed", "cancelled", ("Cancelled job {job}", "the task was killed")),
    "missing": Cell("failed", "completed", ("AirflowFailException: BankSyncNotFoundError", "404, not found")),
    "outage": Cell("success", "completed", ("Could not look at job {job}", "502", "Waiting on")),
    "refused": Cell("success", "completed", ("Could not look at job {job}", "Waiting on")),
}
#: A deferred task is killed in the triggerer, which `dag.test` has none of: tests/kill does that.
NOT_DEFERRED = {"killed"}
#: A task that ends so takes all of `dag.test` with it on Airflow 2.
ALONE = ("killed", "too_long")
MODES = {"sync": False, "deferrable": True}


@dataclass(frozen=True)
class Outcome:
    tasks: dict[str, dict[str, Any]]
    feeds: dict[str, dict[str, Any]]
    jobs: dict[str, dict[str, Any]]
    requests: list[Any]
    log: str


def feeds_for(sandbox: BankSyncSandbox, endings: list[str]) -> dict[str, dict[str, Any]]:
    """Choose a feed for each ending: one of a broken bank for the job that fails, sound ones for the others."""
    broken = {
        bank["id"]
        for bank in truth(sandbox, "/v1/banks?scope=family")
        if bank["connectionStatus"]["status"] != "connected"
    }
    feeds = [feed for feed in truth(sandbox, "/v1/feeds?scope=family") if feed["dataType"] != "trades"]
    doomed = [
        feed for feed in feeds if broken & {account["bankId"] for account in feed["sourceConfig"]["accounts"]}
    ]
    sound = iter([feed for feed in feeds if feed not in doomed])
    return {ending: doomed[0] if ending == "failed" else next(sound) for ending in endings}


@pytest.fixture(scope="module", params=MODES)
def outcome(request: pytest.FixtureRequest, airflow_db: None) -> Iterator[tuple[str, Outcome]]:
    mode: str = request.param
    settings: dict[str, Any] = {"time_scale": 0, "job_seconds": (600, 600), "row_error_share": 0}
    tasks: dict[str, dict[str, Any]] = {}
    log = ""
    with BankSyncSandbox(portals=8, broken_banks=1, **settings) as sandbox:
        feeds = feeds_for(sandbox, list(CELLS))
        wanted = [name for name in CELLS if not (MODES[mode] and name in NOT_DEFERRED)]
        alone = [name for name in wanted if name in ALONE]
        for endings in [[name for name in wanted if name not in ALONE], *([name] for name in alone)]:
            told = {
                "url": sandbox.url,
                "key": sandbox.api_key,
                "deferrable": MODES[mode],
                "feeds": {
                    name: {field: feeds[name][field] for field in ("id", "workspaceId")} for name in endings
                },
            }
            env = {
                "AIRFLOW_CONN_BANKSYNC_DEFAULT": sandbox.connection_uri,
                "AIRFLOW__CORE__DAGS_FOLDER": str(DAG_FILE.parent),
                "BANKSYNC_MATRIX": json.dumps(told),
                "COLUMNS": "1000",  # Airflow 3.0 would break lines
            }
            run = run_dag_file(DAG_FILE, env=env, timeout=300)
            tasks |= {task["task_id"]: task for task in run["tasks"]}
            log += run["log"]
        sandbox.clock.advance(600)  # what was not cancelled comes to its end
        jobs = {job["feedId"]: job for job in sandbox.jobs}
        assert len(jobs) == len(sandbox.jobs) == len(tasks), "one job for each feed"
        yield mode, Outcome(tasks, feeds, jobs, sandbox.requests, log)


@pytest.mark.parametrize("ending", CELLS)
def test_it_ends_as_it_should(outcome: tuple[str, Outcome], ending: str) -> None:
    _, told = outcome
    if ending not in told.tasks:
        assert ending in NOT_DEFERRED
        pytest.skip("tests/kill kills deferred tasks, in a real triggerer")
    cell, task, feed = CELLS[ending], told.tasks[ending], told.feeds[ending]
    job = told.jobs[feed["id"]]
    assert (task["state"], job["status"]) == (cell.state, cell.job), told.log[-6000:]
    assert task["job_id"] == job["id"]
    if ending == "completed":
        assert job["startDate"] <= job["endDate"], "of the run's data interval"
    if ending == "errors":
        assert job["startDate"] == "2026-01-01"
    if cell.state != "success":
        assert task["result"] is None
    elif ending == "errors":
        assert task["result"]["errors"][0]["message"] == "Row 7 was not written"
    else:
        assert task["result"] == job, "the job as the API gives it, in either mode"
    started = f"Started job {job['id']} of feed {feed['id']}, workspace {feed['workspaceId']}."
    assert started in told.log
    lines = [
        line
        for line in told.log.splitlines()
        if any(
            word in line
            for word in (job["id"], feed["id"], "Row 7", "status is new", "Somebody", "TaskTimeout")
        )
    ]
    for words in cell.says:
        wanted = words.format(job=job["id"], feed=feed["id"], ran=seconds_run(job) or 0)
        assert any(wanted in line for line in lines), (wanted, lines)


@pytest.mark.parametrize("ending", ["outage", "refused"])
def test_the_outage_was_one(outcome: tuple[str, Outcome], ending: str) -> None:
    """Five minutes of the sandbox's time, of looks that failed, with fewer and fewer requests."""
    _, told = outcome
    path = f"/v1/feeds/{told.feeds[ending]['id']}/jobs/"
    hit = [record for record in told.requests if record.path.startswith(path) and record.fault]
    assert 5 <= len(hit) <= 60, len(hit)
    lasted = (hit[-1].time - hit[0].time).total_seconds()
    assert 240 <= lasted <= 300
