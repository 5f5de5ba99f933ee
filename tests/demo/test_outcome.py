"""What became of the syncs is judged by the sandbox's own jobs, not by what Airflow says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import requests

from demo.airflow_rest import TaskInstance
from demo.airflow_run import FinishedRun
from demo.outcome import SyncCheck, check_syncs
from demo.progress import EXPORT_OPERATOR, SYNC_OPERATOR, all_listed, count

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from demo.family import BankSync, Family


def task(
    task_id: str, operator: str, state: str | None, map_index: int = -1, *, started: bool = True
) -> TaskInstance:
    return TaskInstance(task_id, map_index, state, operator, 1, started)


class Run:
    """A run in which every feed was synced, as Airflow and the sandbox would show it."""

    def __init__(self, sandbox: BankSyncSandbox, bank_sync: BankSync, family: Family) -> None:
        self.bank_sync = bank_sync
        self.family = family
        self.xcoms: dict[tuple[str, int, str], Any] = {}
        self.tasks = [task(f"export_{name}", EXPORT_OPERATOR, "success") for name in family.rows]
        self.tasks.append(task("every_feed_synced", "@task", "upstream_failed"))
        self.state = "failed"
        for feed in family.feeds:
            self.post(sandbox, f"/v1/feeds/{feed.id}/sync", feed.workspace_id)
        sandbox.clock.advance(120)
        for index, feed in enumerate(family.feeds):
            job = bank_sync.newest_job(feed)
            assert job is not None
            self.xcoms["sync", index, "job_id"] = job["id"]
            if job["status"] == "completed":
                self.xcoms["sync", index, "return_value"] = job
            state = "success" if job["status"] == "completed" else "failed"
            self.tasks.append(task("sync", SYNC_OPERATOR, state, index))

    @staticmethod
    def post(sandbox: BankSyncSandbox, path: str, workspace_id: str) -> None:
        headers = {"X-API-Key": sandbox.api_key, "User-Agent": "tests", "X-Workspace-Id": workspace_id}
        body = {"startDate": "2026-01-01", "endDate": "2026-01-02"}
        requests.post(f"{sandbox.url}{path}", headers=headers, json=body, timeout=300).raise_for_status()

    def sync(self, *, broken: bool) -> int:
        """The position of a feed's task, of the broken bank's or of another's."""
        return next(
            index for index, feed in enumerate(self.family.feeds) if bool(feed.broken_banks) == broken
        )

    def end(self, task_id: str, state: str, map_index: int = -1) -> None:
        """Let a task instance end otherwise."""
        self.tasks = [
            replace(each, state=state) if (each.task_id, each.map_index) == (task_id, map_index) else each
            for each in self.tasks
        ]

    def check_syncs(self) -> SyncCheck:
        finished = FinishedRun("run", self.state, self.tasks, 0)
        return check_syncs(
            self.family,
            finished,
            self.bank_sync.newest_job,
            lambda each, key: self.xcoms.get((each.task_id, each.map_index, key)),
        )


@pytest.fixture
def run(sandbox: BankSyncSandbox, bank_sync: BankSync, family: Family) -> Run:
    return Run(sandbox, bank_sync, family)


def test_a_run_as_it_should_be(run: Run) -> None:
    sync_check = run.check_syncs()
    assert sync_check.problems == []
    assert len(sync_check.syncs) == len(run.family.feeds)
    [broken] = [bank for banks in run.family.rows["banks"].values() for bank in banks if is_signed_out(bank)]
    on_purpose = [outcome for outcome in sync_check.syncs if outcome.on_purpose]
    assert on_purpose
    assert {outcome.feed.workspace_id for outcome in on_purpose} == {broken["workspaceId"]}
    assert all("must sign in" in outcome.reason for outcome in on_purpose)


def is_signed_out(bank: dict[str, Any]) -> bool:
    return bool(bank["connectionStatus"]["status"] != "connected")


def test_a_sync_that_failed_for_no_good_reason(run: Run) -> None:
    run.end("sync", "failed", run.sync(broken=False))
    [problem] = run.check_syncs().problems
    assert "its job completed, but its task ended as failed" in problem


def test_a_failure_that_airflow_calls_a_success(run: Run) -> None:
    run.end("sync", "success", run.sync(broken=True))
    [problem] = run.check_syncs().problems
    assert "its job failed, but its task ended as success" in problem


@pytest.mark.parametrize("key", ["id", "status", "transactionsProcessed", "transactionsWritten"])
def test_a_task_that_tells_of_its_job_what_is_not_so(run: Run, key: str) -> None:
    index = run.sync(broken=False)
    run.xcoms["sync", index, "return_value"] = {**run.xcoms["sync", index, "return_value"], key: "other"}
    [problem] = run.check_syncs().problems
    assert f"returned {key}='other'" in problem


def test_a_task_that_returns_nothing(run: Run) -> None:
    del run.xcoms["sync", run.sync(broken=False), "return_value"]
    [problem] = run.check_syncs().problems
    assert "returned no job" in problem


def test_a_feed_that_was_forgotten(run: Run) -> None:
    run.tasks = [each for each in run.tasks if each.map_index != run.sync(broken=False)]
    [problem] = run.check_syncs().problems
    assert "no task of this run started its newest job" in problem


def test_a_task_without_a_job(run: Run) -> None:
    del run.xcoms["sync", run.sync(broken=False), "job_id"]
    assert any("has no job" in problem for problem in run.check_syncs().problems)


def test_a_second_job_behind_the_tasks_back(run: Run, sandbox: BankSyncSandbox) -> None:
    feed = run.family.feeds[run.sync(broken=False)]
    run.post(sandbox, f"/v1/feeds/{feed.id}/sync", feed.workspace_id)
    problems = run.check_syncs().problems
    assert any("no task of this run started its newest job" in problem for problem in problems)
    assert any("a job that is not the newest job of any feed" in problem for problem in problems)


@pytest.mark.parametrize("state", ["failed", "upstream_failed", "skipped"])
def test_an_export_that_did_not_happen(run: Run, state: str) -> None:
    run.end("export_banks", state)
    [problem] = run.check_syncs().problems
    assert "export_banks" in problem


def test_a_green_run_that_hides_the_failed_client(run: Run) -> None:
    run.state = "success"
    [problem] = run.check_syncs().problems
    assert problem.startswith("The run ended as success, but must fail")


def test_feeds_are_listed_when_no_mapped_task_awaits_its_list() -> None:
    waiting, empty = task("sync_trades", SYNC_OPERATOR, None), task("sync_trades", SYNC_OPERATOR, "skipped")
    mapped = [task("sync", SYNC_OPERATOR, "deferred", index) for index in range(2)]
    assert not all_listed([])
    assert not all_listed([waiting, *mapped])
    assert all_listed([empty, *mapped])
    assert all_listed(mapped)


def test_where_every_sync_is(run: Run) -> None:
    states = [None, "scheduled", "queued", "running", "deferred", "deferred", "success", "failed"]
    tasks = [task("sync", SYNC_OPERATOR, state, started=state not in states[:3]) for state in states]
    coming_back = task("sync", SYNC_OPERATOR, "queued")
    assert str(count([*tasks, coming_back])) == ("6/9 started, 2 in the triggerer, 1 done, 1 failed")
    assert count([*tasks, coming_back]).in_worker == 2
    assert not count(tasks).complete
    assert not count([]).complete
    assert count(tasks[-2:]).complete
