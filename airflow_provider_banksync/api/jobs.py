"""What a job's state means: the one place for operators, sensors and triggers, in every mode."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.api.checks import one_of
from airflow_provider_banksync.api.redaction import bullets, scrub
from airflow_provider_banksync.exceptions import (
    BankSyncJobCancelledError,
    BankSyncJobFailedError,
)

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Row

_MOST_ERRORS = 5


class JobStatus(str, Enum):
    """States of a job, in the API's words."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE_STATUSES = frozenset({JobStatus.QUEUED.value, JobStatus.IN_PROGRESS.value})
ENDED_STATUSES = frozenset({JobStatus.COMPLETED.value, JobStatus.FAILED.value, JobStatus.CANCELLED.value})


def check_status(status: str | None) -> str | None:
    """Return the status to ask for, in the API's word; None and an empty one ask for all.

    :raises BankSyncConfigError: there is no such status.
    """
    if status is None or status == "":
        return None
    return JobStatus(one_of("status", status, [known.value for known in JobStatus])).value


def is_known(job: Row) -> bool:
    """Tell whether the job's status is one that we know."""
    status = job.get("status")
    return isinstance(status, str) and status in ACTIVE_STATUSES | ENDED_STATUSES


def is_ended(job: Row) -> bool:
    """Tell whether waiting for this job is over.

    A status that we do not know means that the job goes on, until the job says when it was completed.
    """
    if is_known(job):
        return job["status"] in ENDED_STATUSES
    return bool(job.get("completedAt"))


def is_active(job: Row) -> bool:
    """Tell whether the job still runs, as far as we can know."""
    return not is_ended(job)


def running(rows: list[Row]) -> Row | None:
    """Return the job of a feed that still runs; None where none does.

    A feed runs one job at a time: one with a status that is new to us counts only where it is the newest.

    :param rows: the feed's jobs, newest first.
    """
    return next((job for i, job in enumerate(rows) if is_active(job) and (i == 0 or is_known(job))), None)


def same_dates(job: Row, from_date: str | None, to_date: str | None) -> bool:
    """Compare days; a sync without dates is another one than a sync with them."""
    pairs = ((job.get("startDate"), from_date), (job.get("endDate"), to_date))
    return all((str(there)[:10] if there else None) == ours for there, ours in pairs)


def ended_at(job: Row) -> float | None:
    """When the job ended, or last changed, by the server's own clock; None where it does not say."""
    return codec.parse_instant(job.get("completedAt")) or codec.parse_instant(job.get("updatedAt"))


def seconds_run(job: Row) -> float | None:
    """How long the job ran by the server's own clock; None where it does not say."""
    begun = codec.parse_instant(job.get("startedAt")) or codec.parse_instant(job.get("createdAt"))
    ended = ended_at(job)
    return max(0.0, ended - begun) if begun is not None and ended is not None else None


def describe(job: Row) -> str:
    """One line on a job: status, counts, time."""
    counts = (job.get(name) for name in ("transactionsProcessed", "transactionsWritten"))
    read, written = (count if isinstance(count, int) else scrub(count) for count in counts)
    ran = seconds_run(job)
    time = f" in {ran:.0f} s" if ran is not None else ""
    status = scrub(job.get("status"))
    return f"job {job.get('id')} of feed {job.get('feedId')} {status}: {read} read, {written} written{time}"


def error_lines(job: Row) -> list[str]:
    """Return the job's own errors as lines: severity, category, message."""
    entries = job.get("errors")
    lines = []
    for found in entries if isinstance(entries, list) else []:
        entry = found if isinstance(found, dict) else {"message": found}
        labels = "/".join(scrub(entry[name]) for name in ("severity", "category") if entry.get(name))
        message = scrub(entry.get("message", ""))
        lines.append(f"[{labels}] {message}" if labels else message)
    return lines


def reason(job: Row) -> str:
    """Say in one line why a job that has ended did not end well."""
    if job.get("status") == JobStatus.CANCELLED:
        return "somebody cancelled it"
    lines = error_lines(job)
    more = f" (and {len(lines) - _MOST_ERRORS} more)" if len(lines) > _MOST_ERRORS else ""
    said = "; ".join(lines[:_MOST_ERRORS]) + more or str(job.get("errorCategory") or "without a reason")
    return said if is_known(job) else f"ended as {job.get('status')!r}, which is new to this provider: {said}"


def check_outcome(job: Row, *, fail_on_job_errors: bool = False) -> Row:
    """Return an ended job that ended well.

    :param fail_on_job_errors: a completed job that carries errors (rows that did not write) counts as failed.
    :raises BankSyncJobFailedError: it failed, ended in a status that we do not know, or completed with errors.
    :raises BankSyncJobCancelledError: it was cancelled.
    """
    status, lines = job.get("status"), error_lines(job)
    if status == JobStatus.COMPLETED and not (fail_on_job_errors and lines):
        return job
    summary = describe(job)
    if status == JobStatus.CANCELLED:
        raise BankSyncJobCancelledError(
            f"{summary}.", job=job, hint="Somebody cancelled it in BankSync or here."
        )
    category = f" ({scrub(job['errorCategory'])})" if job.get("errorCategory") else ""
    unknown = "" if is_known(job) else " This status is new to this version of the provider."
    raise BankSyncJobFailedError(
        f"{summary}{category}.{unknown}{bullets(lines, _MOST_ERRORS)}",
        job=job,
        hint="Look at the feed in BankSync: its destination, its mapping, the state of its bank.",
    )
