"""Conversations of several requests, as generators that touch neither a network nor a clock.

A conversation yields `Send` (answered with a `Reply`, or with the error thrown in) and `Wait` (answered when the time
has passed), and returns its result. `client.Client.run` and `aio.AsyncClient.run` drive it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_banksync.api import codec, endpoints, jobs
from airflow_provider_banksync.api.checks import check_limit
from airflow_provider_banksync.api.jobs import check_status
from airflow_provider_banksync.exceptions import (
    BankSyncConflictError,
    BankSyncError,
    BankSyncJobTimeoutError,
    BankSyncNotFoundError,
)

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Call, Reply, Row

log = logging.getLogger(__name__)

#: How often a write is tried before its unknown outcome is given up, and the first wait between.
WRITE_ATTEMPTS = 4
WRITE_WAIT = 2.0
#: A look at a job may come this much (seconds) after the deadline: the last one begins when that has come.
LAST_LOOK = 30.0

_R = TypeVar("_R")


@dataclass(frozen=True)
class Send:
    """Ask the driver to send this call, retries included.

    :param patience: seconds after which waiting, for the budget or for a further try, makes no sense.
    """

    call: Call[Any]
    patience: float | None = None


@dataclass(frozen=True)
class Wait:
    """Ask the driver to let this many seconds pass."""

    seconds: float


Conversation = Generator["Send | Wait", Any, _R]
Clock = Callable[[], float]


def trigger_sync(
    feed_id: str,
    from_date: str | None = None,
    to_date: str | None = None,
    *,
    workspace_id: str | None = None,
) -> Conversation[Row]:
    """Start one sync, and never a second one.

    When the outcome of the POST is unknown (a timeout, a reset, a 5xx), the feed's jobs tell: one that was born since
    the request went out, by the API and for our dates, is ours. Only when there is none is the POST sent again.

    :raises BankSyncConflictError: a job of this feed is queued or running, and it is not ours.
    """
    job, _ = yield from _post_once(
        endpoints.trigger_sync(feed_id, from_date, to_date, workspace_id=workspace_id),
        endpoints.list_jobs(feed_id, workspace_id=workspace_id),
        _started_by_us(from_date, to_date),
    )
    return job


def find_sync(
    feed_id: str,
    from_date: str | None = None,
    to_date: str | None = None,
    *,
    since: float,
    workspace_id: str | None = None,
) -> Conversation[Row | None]:
    """Return the newest sync that was started by the API or the button, with these dates, since that moment.

    The server's own clock judges that. Where it does not tell, a job that runs may be it, and one that has ended not.

    :param since: a moment by the driver's monotonic clock.
    """
    ours = _started_by_us(from_date, to_date)
    rows: Reply[list[Row]] = yield Send(endpoints.list_jobs(feed_id, workspace_id=workspace_id))
    earliest = None if rows.date is None else rows.date - (rows.received - since)
    return next((row for row in rows.value if ours(row, _born_since(row, earliest))), None)


def _started_by_us(from_date: str | None, to_date: str | None) -> Callable[[Row, bool | None], bool]:
    """Tell, from a job and whether it was born since we asked (None where that cannot be known), if it is ours."""

    def ours(job: Row, born_since: bool | None) -> bool:
        if job.get("type", "manual") != "manual" or not jobs.same_dates(job, from_date, to_date):
            return False
        return jobs.is_active(job) if born_since is None else born_since

    return ours


def create(post: Call[Row], listing: Call[list[Row]], *, name: object) -> Conversation[Row]:
    """Create one feed or enrichment, and never a second one; unknown outcomes are looked up in the listing.

    :param name: what the new one is named, to tell it from others that were born in the meantime.
    """
    row, _ = yield from _post_once(post, listing, _named(name))
    return row


def create_single_feed(body: Row) -> Conversation[tuple[Row, bool]]:
    """Create a feed that is to be the only one of its name, although others may do the same at this moment.

    Of several that were born so, the oldest stays, and whoever made another takes that one back: all agree, as they go
    by the API's own clock (by the ids, where it has them born at the same moment). Nothing else is ever deleted: a feed
    that was only found in the listing, as the answer was lost, may be somebody else's, and stays.

    :return: the feed that stays, and whether it was created here.
    """
    name, listing = body["name"], endpoints.list_feeds()
    mine, heard = yield from _post_once(endpoints.create_feed(body), listing, _named(name))
    rows: Reply[list[Row]] = yield Send(listing)
    named = {mine.get("id"): mine} | {row.get("id"): row for row in rows.value if row.get("name") == name}
    oldest = min(named.values(), key=_birth)
    if oldest.get("id") == mine.get("id"):
        return oldest, True
    if heard:
        log.info(
            "Feed %s was created with the same name before %s, which is deleted.",
            oldest.get("id"),
            mine["id"],
        )
        yield from delete(endpoints.delete_feed(mine["id"]))
    return oldest, False


def _named(name: object) -> Callable[[Row, bool | None], bool]:
    return lambda row, born_since: row.get("name") == name and born_since is True


def _birth(row: Row) -> tuple[float, str]:
    born = codec.parse_instant(row.get("createdAt"))
    return (math.inf if born is None else born), str(row.get("id"))


def _post_once(
    post: Call[Row], listing: Call[list[Row]], ours: Callable[[Row, bool | None], bool]
) -> Conversation[tuple[Row, bool]]:
    """Send a POST that must not be repeated; where its outcome is unknown, look for what it may have made.

    The server's own clock (the ``Date`` header of the listing) judges when a row was born, so that the local time of
    day does not matter: the request went out no earlier than that, less the time that has passed since. (The header has
    whole seconds: a row that is up to a second older counts, too.) Without that header nobody can say that the POST did
    nothing, so it is not sent again.

    :param ours: tells, from a row and whether it was born since (None where that cannot be known), if it is ours.
    :return: what was made, and whether the POST's own answer says so.
    """
    sent_at: float | None = None
    for attempt in range(1, WRITE_ATTEMPTS + 1):
        try:
            reply: Reply[Row] = yield Send(post)
        except BankSyncError as error:
            conflict = isinstance(error, BankSyncConflictError)
            if not (error.ambiguous or (conflict and attempt > 1)):
                raise
            log.warning("%s Whether it was done is unknown; looking.", error)
            failure = error
            sent_at = error.sent_at if sent_at is None else sent_at
        else:
            return reply.value, True
        try:
            rows: Reply[list[Row]] = yield Send(listing)
        except BankSyncError as error:
            log.warning("Looking failed, too: %s", error)
            raise failure from error
        earliest = None if rows.date is None or sent_at is None else rows.date - (rows.received - sent_at)
        for row in rows.value:
            if ours(row, _born_since(row, earliest)):
                log.info("It was done: %s.", row.get("id"))
                return row, False
        if isinstance(failure, BankSyncConflictError) or earliest is None or attempt == WRITE_ATTEMPTS:
            raise failure
        yield Wait(WRITE_WAIT * attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def delete(call: Call[Any]) -> Conversation[None]:
    """Delete one thing; that it is gone after a first try whose answer was lost is a success."""
    yield from _insist(call, BankSyncNotFoundError)


def cancel_job(feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Conversation[Row]:
    """Cancel a job and return it as it is then; a first try whose answer was lost may have done it.

    :raises BankSyncConflictError: the job had ended already; or it has by now, and how cannot be looked up.
    """
    look = endpoints.get_job(feed_id, job_id, workspace_id=workspace_id)
    outcome = yield from _insist(
        endpoints.cancel_job(feed_id, job_id, workspace_id=workspace_id), BankSyncConflictError
    )
    if not isinstance(outcome, BankSyncError):
        return outcome.value
    try:
        reply: Reply[Row] = yield Send(look)
    except BankSyncError as error:
        outcome.message += f" It may be that this cancelled it; a look at the job failed: {error}"
        raise outcome from error
    if reply.value.get("status") != jobs.JobStatus.CANCELLED:
        raise outcome
    return reply.value


def _insist(call: Call[_R], over: type[BankSyncError]) -> Conversation[Reply[_R] | BankSyncError]:
    """Send a DELETE until its outcome is known.

    :param over: the error of a second one after the first has worked.
    :return: the reply; or that error, where a try before it may have done the work.
    """
    in_doubt = False
    for attempt in range(1, WRITE_ATTEMPTS + 1):
        try:
            reply: Reply[_R] = yield Send(call)
        except BankSyncError as error:
            if in_doubt and isinstance(error, over):
                return error
            if not error.ambiguous or attempt == WRITE_ATTEMPTS:
                raise
            in_doubt = True
        else:
            return reply
        yield Wait(WRITE_WAIT * attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _born_since(row: Row, earliest: float | None) -> bool | None:
    born = codec.parse_instant(row.get("createdAt"))
    return None if born is None or earliest is None else born >= earliest


@dataclass(frozen=True)
class Polling:
    """How to wait for a job.

    :param interval: seconds to the second look at the job; the first is at once.
    :param longest: the interval grows by half each time, up to this many seconds.
    :param deadline: moment by `clock` when to give up.
    :param clock: gives the moment; the same clock that `deadline` was taken from.
    :param rng: gives numbers from 0 to 1: waits are spread by a tenth, so that many do not ask in step.
    """

    interval: float
    longest: float
    deadline: float
    clock: Clock
    rng: Callable[[], float]

    def intervals(self) -> Generator[float, None, None]:
        """Yield the waits between looks, without end."""
        interval = max(self.interval, 0.01)
        while True:
            yield interval * (0.9 + 0.2 * self.rng())
            interval = max(min(interval * 1.5, self.longest), self.interval)


def wait_for_job(
    feed_id: str,
    job_id: str,
    polling: Polling,
    *,
    workspace_id: str | None = None,
    on_progress: Callable[[Row], None] | None = None,
) -> Conversation[Row]:
    """Wait until the job has ended, and return it, whatever its end.

    Looks once more when the deadline has come, and only then gives up. Failed looks that another try may cure do
    not end the wait; a permanent error does.

    :param on_progress: is given the job after each look.
    :raises BankSyncJobTimeoutError: the deadline passed; `.job` is the job as last seen.
    """
    look = endpoints.get_job(feed_id, job_id, workspace_id=workspace_id)
    job: Row = {"id": job_id, "feedId": feed_id}
    failure: BankSyncError | None = None
    strange: object = None
    for interval in polling.intervals():
        left = polling.deadline - polling.clock()
        overdue = left <= 0
        try:
            reply: Reply[Row] = yield Send(look, max(0.0, left) + LAST_LOOK)
            job, failure = reply.value, None
        except BankSyncError as error:
            if error.permanent:
                raise
            log.warning("Could not look at job %s: %s Waiting on.", job_id, error)
            failure = error
        if failure is None:
            if on_progress is not None:
                on_progress(job)
            if jobs.is_ended(job):
                return job
            if not jobs.is_known(job) and job.get("status") != strange:
                strange = job.get("status")
                log.warning("Job %s has a status that is new to us, %r: waiting on.", job_id, strange)
        if overdue:
            cause = f" The last look at it failed: {failure}" if failure is not None else ""
            raise BankSyncJobTimeoutError(
                f"the time to wait was over, and not the {jobs.describe(job)}.{cause}",
                job=job,
                hint="It goes on in BankSync: wait longer (timeout), or cancel it.",
            )
        yield Wait(min(interval, max(0.0, polling.deadline - polling.clock())))
    raise AssertionError("unreachable: the intervals never end")


def list_portals(*, workspace_id: str | None = None) -> Conversation[list[Row]]:
    """List the live portals of the workspace.

    ``GET /v1/workspaces`` is not in the vendor's contract; where it answers 404, the family listings tell: a portal
    that has neither a bank nor a feed nor an integration is then not known.

    :param workspace_id: the workspace; None: the one that the key, or the client, is for, which is asked for.
    :return: rows with at least ``id`` and ``name``.
    """
    try:
        reply: Reply[list[Row]] = yield Send(endpoints.list_workspaces(workspace_id=workspace_id))
        parent = workspace_id
        if parent is None:
            me: Reply[Row] = yield Send(endpoints.whoami())
            parent = me.value["workspaceId"]
        # A portal's own key lists that portal, which is no portal of itself.
        return [row for row in reply.value if row.get("parentWorkspaceId") == parent]
    except BankSyncNotFoundError:
        log.info("This API has no listing of workspaces: the family listings tell the portals.")
    portals: dict[str, Row] = {}
    for listing in (endpoints.list_banks, endpoints.list_feeds, endpoints.list_integrations):
        family: Reply[list[Row]] = yield Send(listing("family", workspace_id=workspace_id))
        for row in family.value:
            if row.get("portal"):
                portals.setdefault(row["workspaceId"], row["portal"])
    return list(portals.values())


def list_accounts(banks: list[Row], *, workspace_id: str | None = None) -> Conversation[list[Row]]:
    """List the accounts of these banks, each row with its bank's ``workspaceId`` and ``portal`` where that has them.

    :param banks: rows of a listing of banks, of one workspace or of the family.
    """
    rows: list[Row] = []
    for bank in banks:
        owner: Row = {name: bank[name] for name in ("workspaceId", "portal") if name in bank}
        call = endpoints.list_accounts(bank["id"], workspace_id=bank.get("workspaceId") or workspace_id)
        reply: Reply[list[Row]] = yield Send(call)
        rows.extend({**account, **owner} for account in reply.value)
    return rows


def list_family_jobs(
    status: str | None = None, limit: int | None = None, *, internal: bool, workspace_id: str | None = None
) -> Conversation[list[Row]]:
    """List the jobs of the whole family, newest first, each with its ``workspaceId`` and ``portal``.

    The internal surface has one listing for it. On the public one the family's feeds are walked, a request for each.

    :param limit: how many jobs at most; None leaves it to the API (on the public surface: 20 of each feed).
    """
    check_status(status)
    check_limit(limit)
    if internal:
        reply: Reply[list[Row]] = yield Send(
            endpoints.list_all_jobs("family", status, limit, workspace_id=workspace_id)
        )
        return reply.value
    feeds: Reply[list[Row]] = yield Send(endpoints.list_feeds("family", workspace_id=workspace_id))
    rows: list[Row] = []
    for feed in feeds.value:
        reply = yield Send(endpoints.list_jobs(feed["id"], status, limit, workspace_id=feed["workspaceId"]))
        rows.extend(
            {**job, "workspaceId": feed["workspaceId"], "portal": feed.get("portal")} for job in reply.value
        )
    rows.sort(key=lambda job: codec.parse_instant(job.get("createdAt")) or 0.0, reverse=True)
    return rows[:limit]
