"""What a job's state means: the one place for operators, sensors and triggers, in every mode."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.api.errors import scrub
from airflow_provider_banksync.exceptions import BankSyncJobCancelledError, BankSyncJobFailedError

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


def is_known(job: Row) -> bool:
    """Tell whether the job's status is one that we know."""
    return job.get("status") in ACTIVE_STATUSES | ENDED_STATUSES


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


def seconds_run(job: Row) -> float | None:
    """How long the job ran by the server's own clock; None where it does not say."""
    begun = codec.parse_instant(job.get("startedAt")) or codec.parse_instant(job.get("createdAt"))
    ended = codec.parse_instant(job.get("completedAt")) or codec.parse_instant(job.get("updatedAt"))
    return max(0.0, ended - begun) if begun is not None and ended is not None else None


def describe(job: Row) -> str:
    """One line on a job: status, counts, time."""
    read, written = job.get("transactionsProcessed"), job.get("transactionsWritten")
    ran = seconds_run(job)
    time = f" in {ran:.0f} s" if ran is not None else ""
    return f"job {job.get('id')} of feed {job.get('feedId')} {job.get('status')}: {read} read, {written} written{time}"


def error_lines(job: Row) -> list[str]:
    """Return the job's own errors as lines: severity, category, message."""
    entries = job.get("errors")
    lines = []
    for found in entries if isinstance(entries, list) else []:
        entry = found if isinstance(found, dict) else {"message": str(found)}
        labels = "/".join(str(entry[name]) for name in ("severity", "category") if entry.get(name))
        message = scrub(str(entry.get("message", "")))
        lines.append(f"[{labels}] {message}" if labels else message)
    return lines


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
    category = f" ({job['errorCategory']})" if job.get("errorCategory") else ""
    shown = "".join(f"\n- {line}" for line in lines[:_MOST_ERRORS])
    more = f"\n- and {len(lines) - _MOST_ERRORS} more" if len(lines) > _MOST_ERRORS else ""
    unknown = "" if is_known(job) else " This status is new to this version of the provider."
    raise BankSyncJobFailedError(f"{summary}{category}.{unknown}{shown}{more}", job=job)
