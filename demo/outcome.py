"""Compares the result of each sync task with the feed's job in BankSync."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.progress import SYNC_OPERATOR, exports, syncs

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.airflow_rest import TaskInstance
    from demo.airflow_run import FinishedRun
    from demo.family import Family, Feed, Row

# fields of a job that a task must return exactly as BankSync has them
COMPARED = ("id", "status", "transactionsProcessed", "transactionsWritten")


@dataclass(frozen=True)
class SyncOutcome:
    """The state of a feed's task in Airflow, and the feed's job in BankSync."""

    feed: Feed
    state: str
    job: Row

    @property
    def on_purpose(self) -> bool:
        """Whether the sync failed because the demo broke the feed's bank."""
        return self.failed and bool(self.feed.broken_banks)

    @property
    def failed(self) -> bool:
        """Whether the job failed."""
        return bool(self.job["status"] == "failed")

    @property
    def reason(self) -> str:
        """BankSync's reason for the failure."""
        return "; ".join(error["message"] for error in self.job["errors"])


@dataclass(frozen=True)
class SyncCheck:
    """The result of each sync, and a sentence for each problem."""

    syncs: list[SyncOutcome]
    problems: list[str]


def check_syncs(
    family: Family,
    finished: FinishedRun,
    newest_job: Callable[[Feed], Row | None],
    xcom: Callable[[TaskInstance, str], Any],
) -> SyncCheck:
    """Compare every sync task with the feed's job in BankSync."""
    problems = _run_problems(finished)
    by_job = {}
    for task in syncs(finished.tasks):
        job_id = xcom(task, "job_id")
        if job_id is None:
            problems.append(f"The task {_label(task)} ended as {task.state} and has no job.")
        else:
            by_job[str(job_id)] = task
    outcomes = []
    for feed in family.feeds:
        name = f'Feed "{feed.name}" of {family.names[feed.workspace_id]}'
        job = newest_job(feed)
        started = by_job.pop(str(job["id"]), None) if job else None
        if job is None or started is None:
            problems.append(f"{name}: no task of this run started its newest job.")
            continue
        outcome = SyncOutcome(feed, str(started.state), job)
        outcomes.append(outcome)
        problems += [
            f"{name}: {problem}" for problem in _sync_problems(outcome, xcom(started, "return_value"))
        ]
    problems += [
        f"The task {_label(task)} started a job that is not the newest job of any feed."
        for task in by_job.values()
    ]
    if not any(outcome.on_purpose for outcome in outcomes):
        problems.append("No sync failed, although one bank is broken on purpose.")
    return SyncCheck(outcomes, problems)


def _run_problems(finished: FinishedRun) -> list[str]:
    """Return the problems of the run as a whole. The run must fail because of one sync, and nothing else may fail."""
    problems = [
        f"The task {_label(task)} ended as {task.state}."
        for task in finished.tasks
        # the last task of the DAG is upstream_failed because a sync failed
        if task.operator != SYNC_OPERATOR and task.state not in {"success", "upstream_failed"}
    ]
    problems += [
        f"The task {_label(task)} did not run. Its state is {task.state}."
        for task in exports(finished.tasks)
        if task.state == "upstream_failed"
    ]
    if not exports(finished.tasks):
        problems.append("The run exported nothing.")
    if finished.state != "failed":
        problems.append(f"The run ended as {finished.state}, but must fail: one client's bank is broken.")
    return problems


def _sync_problems(outcome: SyncOutcome, returned: Any) -> list[str]:
    job = outcome.job
    if outcome.on_purpose:
        return (
            [] if outcome.state == "failed" else [f"its job failed, but its task ended as {outcome.state}."]
        )
    if job["status"] != "completed":
        return [f"its job ended as {job['status']} unexpectedly: {outcome.reason}"]
    if outcome.feed.broken_banks:
        return ["its job completed, although its bank is broken on purpose."]
    if outcome.state != "success":
        return [f"its job completed, but its task ended as {outcome.state}."]
    if not isinstance(returned, dict):
        return ["its task returned no job."]
    return [
        f"the task returned {key}={returned.get(key)!r}, but BankSync has {job.get(key)!r}."
        for key in COMPARED
        if returned.get(key) != job.get(key)
    ]


def _label(task: TaskInstance) -> str:
    return f"{task.task_id}[{task.map_index}]" if task.map_index >= 0 else task.task_id
