"""Conditions: what a sensor or a trigger waits for. Each names its request and judges the answer.

A condition uses no network and no clock. `flows.polling` runs it, in a worker and on the triggerer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_banksync.api import endpoints, jobs
from airflow_provider_banksync.api.redaction import redact, show_name

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from airflow_provider_banksync.api.messages import Call, Row
    from airflow_provider_banksync.exceptions import BankSyncError

T = TypeVar("T")
#: `FeedSynced` reads this many of a feed's newest jobs. A feed syncs a few times a day.
MAX_JOBS = 100
_SIGN_IN = re.compile(r"login|sign.?in|re.?auth|credential|consent|expired|mfa", re.IGNORECASE)


class Condition(Generic[T]):
    """Something to wait for."""

    #: The request of each poll, and what it reads, for messages.
    request: Call[T]
    subject: str
    #: One more request, which `check` may set; its answer goes to `on_follow_up`.
    follow_up: Call[Row] | None = None
    #: What the last poll saw, for the message of a timeout.
    last_seen = "there was no answer"
    #: The error of the last poll, if polling continued after it.
    last_error: BankSyncError | None = None
    #: An earlier process of the same wait has logged the warnings: log them at INFO.
    already_warned = False
    _log: logging.Logger | Any

    def check(self, value: T) -> Row | None:
        """Return what the condition waits for, or None if this answer does not have it.

        :raises BankSyncError: the condition can no longer be met.
        """
        raise NotImplementedError

    def on_follow_up(self, answer: Row | None) -> None:
        """Receive the answer to `follow_up`; None if the request failed."""

    def _warn(self, message: str, *args: object) -> None:
        (self._log.info if self.already_warned else self._log.warning)(message, *args)


class JobEnded(Condition["Row"]):
    """The end of one job.

    :param raise_on_failure: raise the job's error if it failed or was cancelled. False: return the job in any case.
    :param fail_on_job_errors: a job that completed with errors counts as failed.
    :param on_progress: receives the job after each poll.
    """

    def __init__(
        self,
        feed_id: str,
        job_id: str,
        *,
        workspace_id: str | None = None,
        raise_on_failure: bool = True,
        fail_on_job_errors: bool = False,
        on_progress: Callable[[Row], None] | None = None,
        log: logging.Logger | Any,
    ) -> None:
        self.request = endpoints.get_job(feed_id, job_id, workspace_id=workspace_id)
        self.subject = f"job {job_id}"
        #: The job's last known state.
        self.job: Row = {"id": job_id, "feedId": feed_id}
        self._raise_on_failure = raise_on_failure
        self._fail_on_job_errors = fail_on_job_errors
        self._on_progress = on_progress
        self._log = log
        self._unknown_status: object = None

    def check(self, value: Row) -> Row | None:
        """Return the job if it has ended."""
        self.job, self.last_seen = value, jobs.describe(value)
        if self._on_progress is not None:
            self._on_progress(value)
        if jobs.is_ended(value):
            if self._raise_on_failure:
                jobs.raise_unless_succeeded(value, fail_on_job_errors=self._fail_on_job_errors)
            return value
        status = value.get("status")
        if not jobs.is_known(value) and status != self._unknown_status:
            self._unknown_status = status
            self._warn("Job %s has the unknown status %r. Polling continues.", value.get("id"), status)
        return None


class FeedSynced(Condition["list[Row]"]):
    """A completed job of a feed that ended at or after a moment, by BankSync's clock.

    :param since: that moment, in seconds since the epoch.
    :param fail_on_failed_job: raise the error of a job that failed since then, unless another job completed.
    """

    def __init__(
        self, feed_id: str, since: float, *, fail_on_failed_job: bool, log: logging.Logger | Any
    ) -> None:
        self.request = endpoints.list_jobs(feed_id, limit=MAX_JOBS)
        self.subject = f"the jobs of feed {feed_id}"
        self._since = since
        self._fail_on_failed_job = fail_on_failed_job
        self._log = log
        self._logged: set[object] = set()
        self._newest: object = None

    def check(self, value: list[Row]) -> Row | None:
        """Return the newest completed job that ended since."""
        ended = [job for job in value if jobs.is_ended(job) and (jobs.ended_at(job) or 0.0) >= self._since]
        completed = [job for job in ended if job.get("status") == jobs.JobStatus.COMPLETED]
        if completed:
            found = max(completed, key=lambda job: jobs.ended_at(job) or 0.0)
            self._log.info("The feed is synced: %s.", jobs.describe(found))
            for line in jobs.error_lines(found):
                self._log.warning("The job completed with an error: %s", line)
            return found
        self._log_change(value)
        for job in ended:
            if self._fail_on_failed_job and job.get("status") == jobs.JobStatus.FAILED:
                jobs.raise_unless_succeeded(job)
            if job.get("id") not in self._logged:
                self._logged.add(job.get("id"))
                self._warn("No sync yet: %s. Waiting for a later job.", jobs.describe(job))
        return None

    def _log_change(self, rows: list[Row]) -> None:
        self.last_seen = f"the newest is {jobs.describe(rows[0])}" if rows else "the feed has no jobs"
        newest = (rows[0].get("id"), rows[0].get("status")) if rows else "none"
        if newest != self._newest:
            self._newest = newest
            self._log.info("Polled the feed's jobs: %s.", self.last_seen)


class BankConnected(Condition["Row"]):
    """A bank's connection that works. If it does not, the log says who must sign in.

    The first time that the bank is not connected, a follow-up request asks for the name of its workspace.

    :param workspace_id: the bank's workspace, if known.
    """

    def __init__(self, bank_id: str, *, workspace_id: str | None, log: logging.Logger | Any) -> None:
        self.request = endpoints.get_bank(bank_id)
        self.subject = f"bank {bank_id}"
        self._log = log
        self._bank: Row = {}
        self._workspace: Row | None = None
        self._workspace_label = f"workspace {workspace_id}" if workspace_id else "this workspace"

    def check(self, value: Row) -> Row | None:
        """Return the bank if it is connected."""
        if is_connected(value):
            self._log.info("Bank %r (%s) is connected.", show_name(value.get("name")), value.get("id"))
            return value
        reason = describe_connection(value)
        if reason != self.last_seen:
            self.last_seen, self._bank = reason, value
            if self._workspace is None and not self.already_warned:
                self.follow_up = endpoints.whoami()
            else:
                self._log_change(self._workspace or {})
        return None

    def on_follow_up(self, answer: Row | None) -> None:
        """Log whose bank it is, by name if the request had an answer."""
        self._workspace = answer or {}
        self._log_change(self._workspace)

    def _log_change(self, workspace: Row) -> None:
        owner = self._workspace_label
        if workspace:
            owner = f"{show_name(workspace.get('workspaceName'))!r} ({workspace.get('workspaceId')})"
        bank, reason = self._bank, self.last_seen.rstrip(".")
        hint = f" {owner} must sign in to the bank again (BankSyncHook.create_bank_link makes a link)."
        name = show_name(bank.get("name"))
        args = (name, bank.get("id"), owner, reason, hint if needs_sign_in(bank) else "")
        self._warn("Bank %r (%s) of %s is not connected: %s.%s", *args)


def is_connected(bank: Row) -> bool:
    """Tell whether the bank's connection works: ``{status}`` is documented; the API also sends ``{connected}``."""
    status = _status(bank)
    if status.get("status") is not None:
        return str(status["status"]).lower() == "connected"
    return status.get("connected") is True


def needs_sign_in(bank: Row) -> bool:
    """Tell whether the owner of a disconnected bank must sign in. This is assumed if the API gives no cause."""
    status = _status(bank)
    text = " ".join(str(status.get(name) or "") for name in ("status", "errorCode", "errorMessage"))
    return status.get("connected") is False or _SIGN_IN.search(text) is not None


def describe_connection(bank: Row) -> str:
    """Return one line on why the bank is not connected, in the API's words."""
    status = _status(bank)
    if not status:
        return "BankSync does not say whether it is connected"
    texts = [
        redact(str(status[name])) for name in ("status", "errorCode", "errorMessage") if status.get(name)
    ]
    return ", ".join(texts) or "not connected"


def _status(bank: Row) -> Row:
    status = bank.get("connectionStatus")
    return status if isinstance(status, dict) else {}
