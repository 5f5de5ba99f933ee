"""Flows that start a sync, find it, cancel it, and wait for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_banksync.api import endpoints, jobs
from airflow_provider_banksync.api.flows.conditions import JobEnded
from airflow_provider_banksync.api.flows.core import Flow, Send
from airflow_provider_banksync.api.flows.polling import PollPolicy, outlast_not_found, poll_until
from airflow_provider_banksync.api.flows.writes import (
    create_once,
    delete_until_known,
    find_new_row,
    ids_of,
)
from airflow_provider_banksync.api.jobs import Ownership
from airflow_provider_banksync.api.validation import validate_days
from airflow_provider_banksync.exceptions import BankSyncConflictError, BankSyncError, BankSyncJobTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_provider_banksync.api.messages import Reply, Row

log = logging.getLogger(__name__)
#: The same as `NOT_FOUND_GRACE` for a task that is being killed, which has less time.
KILL_NOT_FOUND_GRACE = 8.0


def trigger_sync(
    feed_id: str, from_date: str | None = None, to_date: str | None = None, *, workspace_id: str | None = None
) -> Flow[Row]:
    """Start one sync, never two, and return its job. `start_sync` says how.

    :raises BankSyncConflictError: another job of this feed is queued or running.
    """
    validate_days(from_date, to_date)
    known: Reply[list[Row]] = yield Send(endpoints.list_jobs(feed_id, workspace_id=workspace_id))
    job, _ = yield from start_sync(
        feed_id, from_date, to_date, known_job_ids=ids_of(known.value), workspace_id=workspace_id
    )
    return job


def start_sync(
    feed_id: str,
    from_date: str | None,
    to_date: str | None,
    *,
    known_job_ids: Collection[str],
    workspace_id: str | None = None,
    is_current: Callable[[], bool] | None = None,
) -> Flow[tuple[Row, Ownership]]:
    """Start one sync, never two, and return its job, and whether it is proved that this request started it.

    If the outcome of the POST is unknown (a timeout, a reset, a 5xx), the flow searches the feed's jobs for about 15
    seconds. A job with a new id and the same days, which is not known to be of somebody else, is inferred to be the new
    one. If there is none, the POST is sent again.

    An answer proves nothing if its job was known before: BankSync may answer with the job that is running.

    :param known_job_ids: the feed's jobs before the POST.
    :param is_current: as in `Send`, for the POST.
    :raises BankSyncConflictError: another job of this feed is queued or running.
    """
    post = endpoints.trigger_sync(feed_id, from_date, to_date, workspace_id=workspace_id)  # POST .../sync
    listing = endpoints.list_jobs(feed_id, workspace_id=workspace_id)

    def is_new(job: Row) -> bool:
        return jobs.is_new_sync(job, known_job_ids, from_date, to_date)

    job, confirmed = yield from create_once(post, listing, is_new, is_current)
    if not confirmed:
        return job, Ownership.INFERRED
    if str(job["id"]) not in known_job_ids:
        return job, Ownership.ATTACHED if jobs.is_of_others(job) else Ownership.PROVED
    log.warning(
        "The answer to the request has job %s, which was there before. Reading the listing.", job["id"]
    )
    found = yield from find_new_row(listing, is_new)
    if found is None:
        raise BankSyncConflictError(
            f"the answer has job {job['id']}, which was there before the request.",
            method=post.request.method,
            path=post.request.path,
            hint="This request did not start it. If the job still runs, wait for it, or cancel it.",
        )
    return found, Ownership.INFERRED


def find_new_sync(
    feed_id: str,
    from_date: str | None,
    to_date: str | None,
    *,
    known_job_ids: Collection[str],
    workspace_id: str | None = None,
) -> Flow[Row | None]:
    """Search for the job of a request whose answer was lost, for about 15 seconds. None: there is no such job.

    :param known_job_ids: the feed's jobs before the request.
    """
    listing = endpoints.list_jobs(feed_id, workspace_id=workspace_id)
    found = yield from find_new_row(
        listing, lambda job: jobs.is_new_sync(job, known_job_ids, from_date, to_date)
    )
    return found


def cancel_job(feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Flow[Row]:
    """Cancel a job and return it. A request whose answer was lost may already have cancelled it; this is no error.

    :raises BankSyncConflictError: the job had already ended, or it has ended and its state cannot be read.
    """
    outcome = yield from delete_until_known(
        endpoints.cancel_job(feed_id, job_id, workspace_id=workspace_id), BankSyncConflictError
    )
    if not isinstance(outcome, BankSyncError):
        return outcome.value
    try:
        reply: Reply[Row] = yield Send(endpoints.get_job(feed_id, job_id, workspace_id=workspace_id))
    except BankSyncError as error:
        outcome.message += f" This request may have cancelled it; reading the job failed: {error}"
        raise outcome from error
    if reply.value.get("status") != jobs.JobStatus.CANCELLED:
        raise outcome
    return reply.value


def end_job(
    feed_id: str, job_id: str, *, workspace_id: str | None = None, not_found_grace: float | None = None
) -> Flow[Row]:
    """Cancel a job. If it has ended before that, poll it once more. Return it as it is then.

    :param not_found_grace: seconds after which a 404 is an error; None for a minute.
    """

    def end() -> Flow[Row]:
        try:
            return (yield from cancel_job(feed_id, job_id, workspace_id=workspace_id))
        except BankSyncConflictError:
            reply: Reply[Row] = yield Send(endpoints.get_job(feed_id, job_id, workspace_id=workspace_id))
            return reply.value

    return (yield from outlast_not_found(end, not_found_grace))


def cancel_new_job(feed_id: str, job_id: str, not_found_grace: float) -> Flow[Row]:
    """Cancel a job with one request, and return it. A 404 must last this many seconds, because the job may be new."""

    def cancel() -> Flow[Row]:
        reply: Reply[Row] = yield Send(endpoints.cancel_job(feed_id, job_id))
        return reply.value

    return (yield from outlast_not_found(cancel, not_found_grace))


def get_known_job(feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Flow[Row]:
    """Return a job whose id BankSync gave us. A 404 must last a minute, because the job may be new."""

    def get() -> Flow[Row]:
        reply: Reply[Row] = yield Send(endpoints.get_job(feed_id, job_id, workspace_id=workspace_id))
        return reply.value

    return (yield from outlast_not_found(get))


def wait_for_job(
    feed_id: str,
    job_id: str,
    policy: PollPolicy,
    *,
    workspace_id: str | None = None,
    on_progress: Callable[[Row], None] | None = None,
) -> Flow[Row]:
    """Wait until the job has ended, and return it, also if it failed or was cancelled.

    Polling continues after every error that is not permanent, and after a 404 that does not last.

    :param on_progress: receives the job after each poll.
    :raises BankSyncJobTimeoutError: the deadline passed; `.job` is the job's last known state.
    """
    ended = JobEnded(
        feed_id, job_id, workspace_id=workspace_id, raise_on_failure=False, on_progress=on_progress, log=log
    )
    job = yield from poll_until(ended, policy, tolerates=lambda error: not error.permanent)
    if job is not None:
        return job
    cause = f" The last poll failed: {ended.last_error}" if ended.last_error is not None else ""
    raise BankSyncJobTimeoutError(
        f"the wait timed out. Last known state: {jobs.describe(ended.job)}.{cause}",
        job=ended.job,
        hint="The job continues in BankSync. Wait longer (timeout), or cancel it.",
    )
