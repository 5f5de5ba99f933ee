"""Every ending of a sync in both modes, on the installed Airflow: the task, its XComs, the job and the log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.api.jobs import duration_seconds
from airflow_provider_banksync.sandbox import BankSyncSandbox
from tests.support.paths import ROOT
from tests.support.sandbox_data import truth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.dag_runner import DagRunner

DAG_FILE = ROOT / "tests" / "dags" / "matrix" / "banksync_matrix.py"


@dataclass(frozen=True)
class Cell:
    """What an ending leads to: the state of the task, the last status of the job, and words in the log."""

    state: str
    job: str
    logged: tuple[str, ...]


CELLS = {
    "completed": Cell(
        "success", "completed", ("job {job} of feed {feed} completed: ", " written in {ran:.0f} s")
    ),
    "errors": Cell("success", "completed", ("[warning/validation] Row 7 was not written",)),
    "strict": Cell("failed", "completed", ("BankSyncJobFailedError", "- [warning/validation] Row 7")),
    "failed": Cell("failed", "failed", ("BankSyncJobFailedError", "(authentication)", " failed: 0 read, 0 ")),
    "cancelled": Cell("failed", "cancelled", ("BankSyncJobCancelledError", "Somebody cancelled it")),
    "unknown": Cell("success", "completed", ("has the unknown status 'paused'",)),
    "unknown_end": Cell("failed", "completed", ("BankSyncJobFailedError", "does not know this status")),
    "timeout": Cell(
        "failed", "cancelled", ("BankSyncJobTimeoutError", "Cancelled job {job}", "the task timed out")
    ),
    "too_long": Cell(
        "failed", "cancelled", ("AirflowTaskTimeout", "Cancelled job {job}", "the task timed out")
    ),
    "killed": Cell("failed", "cancelled", ("Cancelled job {job}", "the task was killed")),
    "missing": Cell("failed", "completed", ("AirflowFailException: BankSyncNotFoundError", "404, not found")),
    "outage": Cell("success", "completed", ("Could not poll job {job}", "502", "Polling again")),
    "refused": Cell("success", "completed", ("Could not poll job {job}", "Polling again")),
}
#: `dag.test` has no triggerer, in which a deferred task could be killed. tests/kill has one.
NOT_DEFERRED = {"killed"}
#: On Airflow 2, a task that ends in this way also ends `dag.test`.
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
    """Choose a feed for each ending: one with a broken bank for the job that fails, others for the rest."""
    broken = {
        bank["id"]
        for bank in truth(sandbox, "/v1/banks?scope=family")
        if bank["connectionStatus"]["status"] != "connected"
    }
    feeds = [feed for feed in truth(sandbox, "/v1/feeds?scope=family") if feed["dataType"] != "trades"]
    failing = [
        feed for feed in feeds if broken & {account["bankId"] for account in feed["sourceConfig"]["accounts"]}
    ]
    working = iter([feed for feed in feeds if feed not in failing])
    return {ending: failing[0] if ending == "failed" else next(working) for ending in endings}


@pytest.fixture(scope="module", params=MODES)
def outcome(request: pytest.FixtureRequest, dag_runner: DagRunner) -> Iterator[tuple[str, Outcome]]:
    mode: str = request.param
    settings: dict[str, Any] = {"time_scale": 0, "job_seconds": (600, 600), "row_error_share": 0}
    tasks: dict[str, dict[str, Any]] = {}
    log = ""
    with BankSyncSandbox(portals=8, broken_banks=1, **settings) as sandbox:
        feeds = feeds_for(sandbox, list(CELLS))
        expected = [name for name in CELLS if not (MODES[mode] and name in NOT_DEFERRED)]
        alone = [name for name in expected if name in ALONE]
        for endings in [[name for name in expected if name not in ALONE], *([name] for name in alone)]:
            config = {
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
                "BANKSYNC_MATRIX": json.dumps(config),
            }
            run = dag_runner.run(DAG_FILE, env=env, timeout=300)
            tasks |= {task["task_id"]: task for task in run["tasks"]}
            log += run["log"]
        sandbox.clock.advance(600)  # jobs that were not cancelled end
        jobs = {job["feedId"]: job for job in sandbox.jobs}
        assert len(jobs) == len(sandbox.jobs) == len(tasks), "one job for each feed"
        yield mode, Outcome(tasks, feeds, jobs, sandbox.requests, log)


@pytest.mark.parametrize("ending", CELLS)
def test_each_ending(outcome: tuple[str, Outcome], ending: str) -> None:
    _, result = outcome
    if ending not in result.tasks:
        assert ending in NOT_DEFERRED
        pytest.skip("tests/kill kills deferred tasks, in a real triggerer")
    cell, task, feed = CELLS[ending], result.tasks[ending], result.feeds[ending]
    job = result.jobs[feed["id"]]
    assert (task["state"], job["status"]) == (cell.state, cell.job), result.log[-6000:]
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
    started = f"Started sync of feed {feed['id']} in workspace {feed['workspaceId']}: job {job['id']}."
    assert started in result.log
    lines = [
        line
        for line in result.log.splitlines()
        if any(
            word in line
            for word in (job["id"], feed["id"], "Row 7", "this status", "Somebody", "TaskTimeout")
        )
    ]
    for words in cell.logged:
        expected = words.format(job=job["id"], feed=feed["id"], ran=duration_seconds(job) or 0)
        assert any(expected in line for line in lines), (expected, lines)


@pytest.mark.parametrize("ending", ["outage", "refused"])
def test_polls_become_rarer_during_an_outage(outcome: tuple[str, Outcome], ending: str) -> None:
    """Polls fail for five minutes of the sandbox's time. The backoff grows, so they are not many."""
    _, result = outcome
    path = f"/v1/feeds/{result.feeds[ending]['id']}/jobs/"
    hit = [record for record in result.requests if record.path.startswith(path) and record.fault]
    assert 5 <= len(hit) <= 60, len(hit)
    lasted = (hit[-1].time - hit[0].time).total_seconds()
    assert 240 <= lasted <= 300
