"""What became of each sync, and whether that is what should have become of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.progress import SYNC_OPERATOR, exports, syncs

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.airflow_rest import TaskInstance
    from demo.airflow_run import FinishedRun
    from demo.family import Family, Feed, Row

# what Airflow's task hands on about a job has to be what BankSync says about it
COMPARED = ("id", "status", "transactionsProcessed", "transactionsWritten")


@dataclass(frozen=True)
class SyncOutcome:
    """One feed: the state of its task in Airflow, and its job as BankSync shows it."""

    feed: Feed
    state: str
    job: Row

    @property
    def on_purpose(self) -> bool:
        """Whether this failed because the demo broke the feed's bank."""
        return self.failed and bool(self.feed.broken_banks)

    @property
    def failed(self) -> bool:
        """Whether BankSync says that the job failed."""
        return bool(self.job["status"] == "failed")

    @property
    def reason(self) -> str:
        """What BankSync gave as the reason."""
        return "; ".join(error["message"] for error in self.job["errors"])


@dataclass(frozen=True)
class Judgement:
    """The syncs, and a sentence for everything that is not as it should be."""

    syncs: list[SyncOutcome]
    problems: list[str]


def judge(
    family: Family,
    finished: FinishedRun,
    newest_job: Callable[[Feed], Row | None],
    xcom: Callable[[TaskInstance, str], Any],
) -> Judgement:
    """Hold every sync task against BankSync's own account of the feed's job."""
    problems = _surprises(finished)
    by_job = {}
    for task in syncs(finished.tasks):
        job_id = xcom(task, "job_id")
        if job_id is None:
            problems.append(f"The task {_label(task)} ended as {task.state} and never had a job.")
        else:
            by_job[str(job_id)] = task
    outcomes = []
    for feed in family.feeds:
        name = f'Feed "{feed.name}" of {family.names[feed.workspace_id]}'
        job = newest_job(feed)
        started = by_job.pop(str(job["id"]), None) if job else None
        if job is None or started is None:
            problems.append(f"{name}: no task of the run started its newest job.")
            continue
        outcome = SyncOutcome(feed, str(started.state), job)
        outcomes.append(outcome)
        problems += [
            f"{name}: {complaint}" for complaint in _complaints(outcome, xcom(started, "return_value"))
        ]
    problems += [
        f"The task {_label(task)} had a job that no feed knows as its newest." for task in by_job.values()
    ]
    if not any(outcome.on_purpose for outcome in outcomes):
        problems.append("The one bank that was broken on purpose made no sync fail.")
    return Judgement(outcomes, problems)


def _surprises(finished: FinishedRun) -> list[str]:
    """Say what is odd about the run as a whole: one failed sync has to turn it red, and nothing else may be wrong."""
    odd = [
        f"The task {_label(task)} ended as {task.state}."
        for task in finished.tasks
        # upstream_failed is how the DAG's last task passes the failed sync on
        if task.operator != SYNC_OPERATOR and task.state not in {"success", "upstream_failed"}
    ]
    odd += [
        f"The task {_label(task)} did not run: it ended as {task.state}."
        for task in exports(finished.tasks)
        if task.state == "upstream_failed"
    ]
    if not exports(finished.tasks):
        odd.append("The run exported nothing.")
    if finished.state != "failed":
        odd.append(f"The run ended as {finished.state}, although one client's bank could not be synced.")
    return odd


def _complaints(outcome: SyncOutcome, returned: Any) -> list[str]:
    job = outcome.job
    if outcome.on_purpose:
        return [] if outcome.state == "failed" else [f"its job failed and its task ended as {outcome.state}."]
    if job["status"] != "completed":
        return [f"its job ended as {job['status']}, which nobody asked for: {outcome.reason}"]
    if outcome.feed.broken_banks:
        return ["its bank is broken on purpose and its job completed all the same."]
    if outcome.state != "success":
        return [f"its job completed and its task ended as {outcome.state}."]
    if not isinstance(returned, dict):
        return ["its task returned no job."]
    return [
        f"the task says {key}={returned.get(key)!r} and BankSync {job.get(key)!r}."
        for key in COMPARED
        if returned.get(key) != job.get(key)
    ]


def _label(task: TaskInstance) -> str:
    return f"{task.task_id}[{task.map_index}]" if task.map_index >= 0 else task.task_id
