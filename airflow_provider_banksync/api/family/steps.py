"""The steps of one feed in a family sync: flows over the `FamilySyncState`, which they update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.api import codec, endpoints, jobs
from airflow_provider_banksync.api.family.poll_schedule import job_age
from airflow_provider_banksync.api.family.state import ERRORS_FOR_ALL_FEEDS, Phase
from airflow_provider_banksync.api.flows import syncs
from airflow_provider_banksync.api.flows.core import RequestDroppedError, Send
from airflow_provider_banksync.api.flows.polling import may_pass
from airflow_provider_banksync.api.flows.writes import ids_of
from airflow_provider_banksync.api.jobs import Ownership
from airflow_provider_banksync.exceptions import (
    BankSyncConflictError,
    BankSyncError,
    BankSyncNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.api.family.state import FamilySyncState, FeedState
    from airflow_provider_banksync.api.flows.core import Flow
    from airflow_provider_banksync.api.messages import Reply, Row

#: Up to this many feeds, each start is logged at INFO. With more feeds, only the results are.
VERBOSE_UP_TO = 50
_TRACK_MESSAGES = {
    "started": "Started sync of %s, job %s.",
    "resumed": "Resumed sync of %s, job %s.",
    "in this try": "Waiting for sync of %s, job %s, which this try has started.",
    "attached": "Attached to the running sync of %s, job %s.",
}


def isolate_errors(state: FamilySyncState, feed: FeedState, step: Flow[None]) -> Flow[None]:
    """Run a step, and make its error the result of this feed only, or retry the feed after an error that may pass.

    An error that concerns every feed, such as a wrong key, ends the family sync.
    """
    try:
        yield from step
        feed.failures = 0
        feed.not_found.reset()
    except ERRORS_FOR_ALL_FEEDS:
        raise
    except BankSyncError as error:
        # A replica may not have a new job or feed yet.
        may_appear = feed.not_found.covers(error, state.clock())
        may_appear |= feed.phase is Phase.RUNNING and may_pass(error)
        if state.closing is not None or not (error.transient or may_appear):
            feed.permanent = error.permanent
            record_result(state, feed, error=str(error))
        else:
            state.log.warning("%s: %s Trying again later.", feed.display_name, error)
            if feed.phase is Phase.STARTING:
                feed.phase = Phase.WAITING
            state.schedule.schedule_retry(feed)
    finally:
        feed.in_flight = False


# --- the start ---


def start_feed(state: FamilySyncState, feed: FeedState) -> Flow[None]:
    """Start the feed's sync, unless there is a job of this family sync already, or another running job.

    The feed's jobs are read immediately before. If this process stood still between that and the start, for example
    while another one took over the trigger, they are read again.
    """
    while feed.phase is Phase.WAITING:
        ran_since = state.pauses.guard()
        reply = yield from fetch_jobs(feed)
        if handle_existing_job(state, feed, reply.value):
            return
        if feed.known_job_ids is None:
            feed.known_job_ids = ids_of(reply.value)
        elif (yield from _resume_unanswered(state, feed, feed.known_job_ids)):
            return
        if state.note_start is not None and state.since is None:
            state.note_start(feed.record_key, feed.known_job_ids)
        feed.phase = Phase.STARTING
        try:
            yield from _start_sync(state, feed, feed.known_job_ids, ran_since)
        except RequestDroppedError:
            state.log.info("%s: this process stood still. Reading the feed's jobs again.", feed.display_name)
            feed.phase = Phase.WAITING
        else:
            return


def _resume_unanswered(state: FamilySyncState, feed: FeedState, known: list[str]) -> Flow[bool]:
    """Search for the job of an earlier request without an answer, because the list of jobs may be late."""
    days = state.settings.from_date, state.settings.to_date
    job = yield from syncs.find_new_sync(
        feed.feed_id, *days, known_job_ids=known, workspace_id=feed.workspace_id
    )
    return job is not None and resume_own_job(state, feed, [job])


def _start_sync(
    state: FamilySyncState, feed: FeedState, known: list[str], is_current: Callable[[], bool]
) -> Flow[None]:
    """Send the request. If another job runs, handle that one."""
    days = state.settings.from_date, state.settings.to_date
    try:
        job, ownership = yield from syncs.start_sync(
            feed.feed_id,
            *days,
            known_job_ids=known,
            workspace_id=feed.workspace_id,
            is_current=is_current,
        )
    except BankSyncError as error:
        if not error.ambiguous:
            feed.known_job_ids = None
        if not isinstance(error, BankSyncConflictError):
            raise
        reply = yield from fetch_jobs(feed)
        if not handle_existing_job(state, feed, reply.value):
            _retry_after_conflict(state, feed, error)
    else:
        feed.known_job_ids = None
        _note_creation(state, job)
        track_job(state, feed, job, ownership, origin="started")


def _retry_after_conflict(state: FamilySyncState, feed: FeedState, error: BankSyncConflictError) -> None:
    feed.start_attempts += 1
    if feed.start_attempts >= jobs.MAX_START_ATTEMPTS:
        raise BankSyncConflictError(
            f"BankSync refused {jobs.MAX_START_ATTEMPTS} requests, because another job was running. {error}"
        ) from error
    state.active.discard(feed.key)
    feed.phase = Phase.WAITING
    state.schedule.schedule_retry(feed)


def _note_creation(state: FamilySyncState, job: Row) -> None:
    """Note when the first job was created, by the clock of BankSync that writes the creation times."""
    created = codec.epoch_seconds(job.get("createdAt"))
    if created is not None:
        state.attempt_since = min(created, state.attempt_since or created)
        state.since = min(created, state.since or created)


def handle_existing_job(state: FamilySyncState, feed: FeedState, rows: list[Row]) -> bool:
    """Resume our own job, or handle another running job. Return False if there is neither.

    This decides whether a retry starts another sync: if it returns False, the feed's sync is started.
    """
    if resume_own_job(state, feed, rows):
        return True
    running = jobs.running_job(rows)
    if running is not None:
        handle_conflict(state, feed, running)
    return running is not None


def resume_own_job(state: FamilySyncState, feed: FeedState, rows: list[Row]) -> bool:
    """Resume the job that an earlier process or try of this family sync started, if there is one.

    A job that failed in an earlier try does not count, unless the bank needs a new sign-in: then another would fail.
    """
    own = next((job for job in jobs.drop_stale_unknown(rows) if _is_own_job(state, feed, job)), None)
    if own is None:
        return False
    is_new = feed.known_job_ids is not None and str(own["id"]) not in feed.known_job_ids
    counts = is_new or jobs.is_active(own) or _succeeded(state, own) or jobs.needs_sign_in(own)
    if not (counts or _is_of_this_try(state, own)):
        return False
    proved = state.own_jobs.get(feed.record_key) == own["id"]
    if is_new:
        _note_creation(state, own)
    feed.known_job_ids = None
    # The worker starts the first feed, and the trigger goes on with it.
    origin = "in this try" if proved and _is_of_this_try(state, own) else "resumed"
    track_job(state, feed, own, Ownership.PROVED if proved else Ownership.INFERRED, origin=origin)
    return True


def handle_conflict(state: FamilySyncState, feed: FeedState, running: Row) -> None:
    """Skip the feed, fail it, attach to the running job, or wait for its end, as ``if_running`` says."""
    settings = state.settings
    state.active.discard(feed.key)
    feed.job, feed.known_job_ids = running, None
    feed.others.add(running["id"])
    action = jobs.conflict_action(settings.if_running, running, settings.from_date, settings.to_date)
    if action == "skip":
        record_result(state, feed, running, status="skipped")
    elif action == "fail":
        error = f"job {running['id']} was already running"
        record_result(state, feed, running, status="not_started", error=error)
    elif action == "attach":
        track_job(state, feed, running, Ownership.ATTACHED, origin="attached")
    else:
        state.log.info("%s: waiting for the end of job %s.", feed.display_name, running["id"])
        feed.phase = Phase.BLOCKED
        state.schedule.schedule_next_poll(feed, job_age(running))


def track_job(
    state: FamilySyncState, feed: FeedState, job: Row, ownership: Ownership, *, origin: str
) -> None:
    """Poll the job until it has ended.

    :param origin: a key of `_TRACK_MESSAGES`.
    """
    feed.ownership, feed.origin = ownership, "started" if origin == "in this try" else origin
    if jobs.is_ended(job):
        record_result(state, feed, job)
        return
    feed.phase, feed.job = Phase.RUNNING, job
    state.active.add(feed.key)
    log = state.log.info if len(state.feeds) <= VERBOSE_UP_TO else state.log.debug
    log(_TRACK_MESSAGES[origin], feed.display_name, job["id"])
    if origin == "started":
        state.schedule.schedule_first_poll(feed)
    else:
        state.schedule.schedule_next_poll(feed, job_age(job))


def poll_job(state: FamilySyncState, feed: FeedState) -> Flow[None]:
    """Poll the job that the feed waits for."""
    try:
        reply = yield from _fetch_job(feed)
    except BankSyncError as error:
        if feed.phase is not Phase.BLOCKED or not isinstance(error, BankSyncNotFoundError):
            raise
        _wait_for_start(state, feed)  # the job that blocked the start does not exist any more
        return
    feed.job = reply.value
    if not jobs.is_ended(feed.job):
        state.schedule.schedule_next_poll(feed)
    elif feed.phase is Phase.BLOCKED:
        _wait_for_start(state, feed)
    else:
        state.schedule.record_duration(feed.job)
        record_result(state, feed, feed.job)


def _wait_for_start(state: FamilySyncState, feed: FeedState) -> None:
    feed.phase, feed.job = Phase.WAITING, {}
    state.waiting.append(feed)


# --- the end ---


def close_feed(state: FamilySyncState, feed: FeedState) -> Flow[None]:
    """Record a feed's result after the timeout or `FamilySync.cancel`: cancel our own job, or poll it."""
    if feed.phase in (Phase.WAITING, Phase.STARTING):
        reply = yield from fetch_jobs(feed)
        resume_own_job(state, feed, reply.value)
    if feed.phase is Phase.RUNNING:
        yield from _close_running(state, feed)
    elif feed.phase is not Phase.DONE:
        error = "the task timed out before this sync started"
        if feed.phase is Phase.BLOCKED:
            error += f": job {feed.job['id']} was running"
        else:
            feed.job = {}
        record_result(state, feed, status="not_started", error=error)


def _close_running(state: FamilySyncState, feed: FeedState) -> Flow[None]:
    error, job = "the task timed out while the job was running", feed.job
    if feed.ownership is not Ownership.PROVED:
        error += f". {left_running(feed)}"
    if feed.ownership is Ownership.PROVED and (state.cancelling or state.settings.cancel_on_timeout):
        grace = syncs.KILL_NOT_FOUND_GRACE if state.cancelling else None
        where = {"workspace_id": feed.workspace_id}
        job = yield from syncs.end_job(feed.feed_id, job["id"], **where, not_found_grace=grace)
        error += "; cancelled"
    elif not state.cancelling:
        job = yield from syncs.get_known_job(feed.feed_id, job["id"], workspace_id=feed.workspace_id)
    record_result(state, feed, job, error="" if jobs.ended_by_itself(job) else error)


def left_running(feed: FeedState) -> str:
    """Return why the feed's job is not cancelled, and how to cancel it. Empty if the job is ours."""
    return jobs.left_running(feed.feed_id, feed.job.get("id"), feed.ownership, workspace_id=feed.workspace_id)


def record_result(
    state: FamilySyncState, feed: FeedState, job: Row | None = None, *, status: str = "", error: str = ""
) -> None:
    """Record how the feed's sync ended.

    :param status: empty: the job's.
    :param error: empty: that of the job, if it did not succeed.
    """
    if feed.phase is Phase.DONE:
        return
    if job is not None:
        feed.job = job
        if not (status or error or _succeeded(state, job)):
            error = jobs.failure_reason(job)
            feed.permanent = jobs.needs_sign_in(job)
    feed.phase = Phase.DONE
    feed.status = status or str(feed.job.get("status") or "not_started")
    feed.error = error or None
    state.active.discard(feed.key)
    state.remaining -= 1
    if error and not state.cancelling:
        state.log.warning("%s: %s: %s", feed.display_name, feed.status, error)


# --- requests and rules ---


def fetch_jobs(feed: FeedState) -> Flow[Reply[list[Row]]]:
    """Return the feed's jobs, newest first."""
    reply: Reply[list[Row]] = yield Send(endpoints.list_jobs(feed.feed_id, workspace_id=feed.workspace_id))
    return reply


def _fetch_job(feed: FeedState) -> Flow[Reply[Row]]:
    call = endpoints.get_job(feed.feed_id, feed.job["id"], workspace_id=feed.workspace_id)
    reply: Reply[Row] = yield Send(call)
    return reply


def _succeeded(state: FamilySyncState, job: Row) -> bool:
    return jobs.succeeded(job, fail_on_job_errors=state.settings.fail_on_job_errors)


def _is_own_job(state: FamilySyncState, feed: FeedState, job: Row) -> bool:
    days = state.settings.from_date, state.settings.to_date
    if job["id"] in feed.others:
        return False
    if state.own_jobs.get(feed.record_key) == job["id"]:
        return True
    if feed.known_job_ids is not None and jobs.is_new_sync(job, feed.known_job_ids, *days):
        return True
    return state.since is not None and jobs.was_started_since(job, state.since, *days)


def _is_of_this_try(state: FamilySyncState, job: Row) -> bool:
    created, since = codec.epoch_seconds(job.get("createdAt")), state.attempt_since
    return created is not None and since is not None and created >= since
