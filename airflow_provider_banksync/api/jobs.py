"""What a job's state means, and what to do about a running job."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.api.redaction import bullet_list, redact
from airflow_provider_banksync.api.validation import validate_choice
from airflow_provider_banksync.exceptions import (
    BankSyncJobCancelledError,
    BankSyncJobFailedError,
    BankSyncJobReauthRequiredError,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_provider_banksync.api.messages import Row

#: Maximum requests for a sync, if each is refused for a job that has ended by the time we list the jobs.
MAX_START_ATTEMPTS = 5
_MAX_ERRORS = 5
#: What is wrong, and what to do, if a bank refuses because its owner must sign in again.
SIGN_IN_PROBLEM = "the bank needs the client to sign in again"
SIGN_IN_HINT = "A retry does not help. Have the client reconnect the bank in BankSync."
#: The documentation does not list the categories of errors. So their texts count, too: those of Plaid and Basiq.
_SIGN_IN = re.compile(
    r"\bauthentication\b|\bre-?auth|login[ _]required|(sign|log)(ing)?[ -]?in again|new (sign|log)-?in\b",
    re.IGNORECASE,
)


class JobStatus(str, Enum):
    """The API's states of a job."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Ownership(str, Enum):
    """How sure it is that a task started a job. A task cancels only jobs that are `PROVED`."""

    #: The answer to our request contained the job, or our own record names it.
    PROVED = "proved"
    #: The answer to our request was lost, and the job appeared since.
    INFERRED = "inferred"
    #: The job was running already.
    ATTACHED = "attached"


#: Types of jobs that nobody starts over the API. BankSync may add more types, so every other type may be ours.
TYPES_OF_OTHERS = frozenset({"scheduled", "webhook"})
_NOT_PROVED = {
    Ownership.INFERRED: "it is not certain that this task started it",
    Ownership.ATTACHED: "this task did not start it",
}
ACTIVE_STATUSES = frozenset({JobStatus.QUEUED.value, JobStatus.IN_PROGRESS.value})
ENDED_STATUSES = frozenset({JobStatus.COMPLETED.value, JobStatus.FAILED.value, JobStatus.CANCELLED.value})


def validate_status(status: str | None) -> str | None:
    """Return the status to filter by. None or an empty text becomes None: no filter.

    :raises BankSyncConfigError: the status does not exist.
    """
    if status is None or status == "":
        return None
    return JobStatus(validate_choice("status", status, [known.value for known in JobStatus])).value


def is_known(job: Row) -> bool:
    """Tell whether this version knows the job's status."""
    status = job.get("status")
    return isinstance(status, str) and status in ACTIVE_STATUSES | ENDED_STATUSES


def is_ended(job: Row) -> bool:
    """Tell whether the job has ended. A job with an unknown status has ended if it has a ``completedAt``."""
    if is_known(job):
        return job["status"] in ENDED_STATUSES
    return bool(job.get("completedAt"))


def is_active(job: Row) -> bool:
    """Return whether the job still runs, according to its row."""
    return not is_ended(job)


def ended_by_itself(job: Row) -> bool:
    """Return whether the job has ended, and nobody cancelled it."""
    return is_ended(job) and job.get("status") != JobStatus.CANCELLED


def drop_stale_unknown(rows: list[Row]) -> list[Row]:
    """Return a feed's jobs without older jobs with an unknown status: they must have ended.

    A feed runs one job at a time, so only the newest can still run with an unknown status.

    :param rows: the feed's jobs, newest first.
    """
    return [job for index, job in enumerate(rows) if index == 0 or is_known(job) or is_ended(job)]


def running_job(rows: list[Row]) -> Row | None:
    """Return the job of a feed that still runs, or None.

    :param rows: the feed's jobs, newest first.
    """
    return next((job for job in drop_stale_unknown(rows) if is_active(job)), None)


def has_dates(job: Row, from_date: str | None, to_date: str | None) -> bool:
    """Tell whether the job syncs exactly these days. A sync without dates differs from every sync with dates."""
    pairs = ((job.get("startDate"), from_date), (job.get("endDate"), to_date))
    return all((str(actual)[:10] if actual else None) == wanted for actual, wanted in pairs)


def is_of_others(job: Row) -> bool:
    """Tell whether the job has a type that no request over the API starts."""
    return str(job.get("type")).lower() in TYPES_OF_OTHERS


def may_be_ours(job: Row, from_date: str | None, to_date: str | None) -> bool:
    """Tell whether a request of ours for these days may have started the job."""
    return not is_of_others(job) and has_dates(job, from_date, to_date)


def is_new_sync(job: Row, known_job_ids: Collection[str], from_date: str | None, to_date: str | None) -> bool:
    """Tell whether a request of ours for these days may have started the job, after these ids were known."""
    return str(job.get("id")) not in known_job_ids and may_be_ours(job, from_date, to_date)


def was_started_since(job: Row, since: float | None, from_date: str | None, to_date: str | None) -> bool:
    """Tell whether the job may be ours and was started since a moment.

    :param since: the moment, by the server's clock. If it or the job's creation time is unknown, a job that still runs
        counts, and one that has ended does not.
    """
    if not may_be_ours(job, from_date, to_date):
        return False
    created = codec.epoch_seconds(job.get("createdAt"))
    return is_active(job) if created is None or since is None else created >= since


def left_running(
    feed_id: str, job_id: object, ownership: Ownership, *, workspace_id: str | None = None
) -> str:
    """Return why a task does not cancel a job, and how to cancel it. Empty if the job is proved to be the task's."""
    if ownership is Ownership.PROVED:
        return ""
    arguments = f"feed_id={feed_id!r}, job_id={job_id!r}"
    if workspace_id:
        arguments += f", workspace_id={workspace_id!r}"
    return (
        f"Job {job_id} was left running, because {_NOT_PROVED[ownership]}. "
        f"To cancel it, run BankSyncCancelJobOperator({arguments})."
    )


def conflict_action(if_running: str, job: Row, from_date: str | None, to_date: str | None) -> str:
    """Return what to do about a running job that this task did not start: ``attach``, ``wait``, ``skip`` or ``fail``.

    ``attach`` becomes ``wait`` if days are wanted and the job does not sync exactly these.
    """
    if if_running == "attach" and (from_date or to_date) and not has_dates(job, from_date, to_date):
        return "wait"
    return if_running


def ended_at(job: Row) -> float | None:
    """Return when the job ended, or last changed, by the server's clock; None if the job does not tell."""
    return codec.epoch_seconds(job.get("completedAt")) or codec.epoch_seconds(job.get("updatedAt"))


def duration_seconds(job: Row) -> float | None:
    """Return how long the job ran, by the server's clock; None if the job does not tell."""
    started = codec.epoch_seconds(job.get("startedAt")) or codec.epoch_seconds(job.get("createdAt"))
    ended = ended_at(job)
    return max(0.0, ended - started) if started is not None and ended is not None else None


def describe(job: Row) -> str:
    """Return one line on a job: its ids, status, counts and time."""
    counts = (job.get(name) for name in ("transactionsProcessed", "transactionsWritten"))
    read, written = (count if isinstance(count, int) else redact(count) for count in counts)
    seconds = duration_seconds(job)
    time = f" in {seconds:.0f} s" if seconds is not None else ""
    status = redact(job.get("status"))
    return f"job {job.get('id')} of feed {job.get('feedId')} {status}: {read} read, {written} written{time}"


def error_lines(job: Row) -> list[str]:
    """Return the job's own errors, a line each: severity, category, message."""
    lines = []
    for entry in _errors(job):
        labels = "/".join(redact(entry[name]) for name in ("severity", "category") if entry.get(name))
        message = redact(entry.get("message", ""))
        lines.append(f"[{labels}] {message}" if labels else message)
    return lines


def _errors(job: Row) -> list[Row]:
    entries = job.get("errors")
    return [
        entry if isinstance(entry, dict) else {"message": entry}
        for entry in (entries if isinstance(entries, list) else [])
    ]


def needs_sign_in(job: Row) -> bool:
    """Tell whether a job that did not succeed has an error that only a new sign-in at the bank can fix."""
    category = str(job.get("errorCategory") or "")
    if job.get("status") == JobStatus.CANCELLED or category == "destination":
        return False
    return _SIGN_IN.search(category) is not None or any(map(_asks_for_sign_in, _errors(job)))


def _asks_for_sign_in(error: Row) -> bool:
    if error.get("severity") == "warning" or error.get("category") == "destination":
        return False
    return _SIGN_IN.search(f"{error.get('category')}: {error.get('message')}") is not None


def failure_reason(job: Row) -> str:
    """Return one line on why a job that has ended did not succeed."""
    if job.get("status") == JobStatus.CANCELLED:
        return "somebody cancelled it"
    lines = error_lines(job)
    more = f" (and {len(lines) - _MAX_ERRORS} more)" if len(lines) > _MAX_ERRORS else ""
    reason = "; ".join(lines[:_MAX_ERRORS]) + more or str(job.get("errorCategory") or "no reason given")
    if needs_sign_in(job):
        reason = f"{SIGN_IN_PROBLEM}: {reason}"
    return reason if is_known(job) else f"ended with the unknown status {job.get('status')!r}: {reason}"


def succeeded(job: Row, *, fail_on_job_errors: bool) -> bool:
    """Tell whether a job completed.

    :param fail_on_job_errors: a job that completed with errors (rows that were not written) counts as failed.
    """
    return job.get("status") == JobStatus.COMPLETED and not (fail_on_job_errors and error_lines(job))


def raise_unless_succeeded(job: Row, *, fail_on_job_errors: bool = False) -> Row:
    """Return an ended job that succeeded; `fail_on_job_errors` as in `succeeded`.

    :raises BankSyncJobReauthRequiredError: a bank needs a new sign-in.
    :raises BankSyncJobFailedError: it failed, ended in an unknown status, or completed with errors.
    :raises BankSyncJobCancelledError: it was cancelled.
    """
    if succeeded(job, fail_on_job_errors=fail_on_job_errors):
        return job
    summary = describe(job)
    if job.get("status") == JobStatus.CANCELLED:
        raise BankSyncJobCancelledError(
            f"{summary}.", job=job, hint="Somebody cancelled it, in BankSync or from Airflow."
        )
    category = f" ({redact(job['errorCategory'])})" if job.get("errorCategory") else ""
    if needs_sign_in(job):
        problem = f"{SIGN_IN_PROBLEM[0].upper()}{SIGN_IN_PROBLEM[1:]}"
        raise BankSyncJobReauthRequiredError(
            f"{summary}{category}. {problem}.{bullet_list(error_lines(job), _MAX_ERRORS)}",
            job=job,
            hint=SIGN_IN_HINT,
        )
    unknown = "" if is_known(job) else " This version of the provider does not know this status."
    raise BankSyncJobFailedError(
        f"{summary}{category}.{unknown}{bullet_list(error_lines(job), _MAX_ERRORS)}",
        job=job,
        hint="Check the feed in BankSync: its destination, its mapping, the state of its bank.",
    )
