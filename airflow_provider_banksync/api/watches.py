"""What a sensor waits for: what to ask, and what to make of each answer. One for every mode of waiting.

A watch touches neither a network nor a clock: `waits` drives it, in a sensor that pokes as on the triggerer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_banksync.api import endpoints, jobs
from airflow_provider_banksync.api.redaction import scrub

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from airflow_provider_banksync.api.messages import Call, Row

T = TypeVar("T")

#: A feed syncs a few times a day: what ended long ago is found among so many of its newest jobs.
JOBS_SEEN = 100
_SIGN_IN = re.compile(r"login|sign.?in|re.?auth|credential|consent|expired|mfa", re.IGNORECASE)


class Watch(Generic[T]):
    """One thing to wait for.

    :param look: the one request of a look.
    """

    look: Call[T]
    #: What to ask beside, once, to say more about what was seen.
    aside: Call[Row] | None = None
    #: What was seen last, for the one who gives up.
    words = "there was no answer"
    #: A process before this one has looked and has warned, in the same wait: say it again, but do not warn again.
    again = False
    _log: logging.Logger | Any

    def found(self, value: T) -> Row | None:
        """Return what was waited for, if this answer has it.

        :raises BankSyncError: waiting on makes no sense.
        """
        raise NotImplementedError

    def told(self, answer: Row | None) -> None:
        """Take the answer to `aside`; None where there was none."""

    def _warn(self, message: str, *words: object) -> None:
        (self._log.info if self.again else self._log.warning)(message, *words)


class JobWatch(Watch["Row"]):
    """Waits for the end of one job; one that did not end well raises its error.

    :param fail_on_job_errors: a completed job that carries errors counts as failed.
    :param on_progress: is given the job after each look.
    """

    def __init__(
        self,
        feed_id: str,
        job_id: str,
        *,
        fail_on_job_errors: bool,
        on_progress: Callable[[Row], None],
        log: logging.Logger | Any,
    ) -> None:
        self.look = endpoints.get_job(feed_id, job_id)
        self._fail_on_job_errors = fail_on_job_errors
        self._on_progress = on_progress
        self._log = log
        self._strange: object = None

    def found(self, value: Row) -> Row | None:
        """Return the job when it has ended well."""
        self._on_progress(value)
        self.words = jobs.describe(value)
        if jobs.is_ended(value):
            return jobs.check_outcome(value, fail_on_job_errors=self._fail_on_job_errors)
        if not jobs.is_known(value) and value.get("status") != self._strange:
            self._strange = value.get("status")
            self._warn(
                "Job %s has a status that is new to us, %r: waiting on.", value.get("id"), self._strange
            )
        return None


class SyncWatch(Watch["list[Row]"]):
    """Waits for a completed job of a feed that ended at or after a moment, by the API's own clock.

    :param since: that moment, in seconds since the epoch.
    :param fail_on_failed_job: a job that failed since then raises its error, unless another one completed.
    """

    def __init__(
        self, feed_id: str, since: float, *, fail_on_failed_job: bool, log: logging.Logger | Any
    ) -> None:
        self.look = endpoints.list_jobs(feed_id, limit=JOBS_SEEN)
        self._since = since
        self._fail_on_failed_job = fail_on_failed_job
        self._log = log
        self._told: set[object] = set()
        self._newest: object = None

    def found(self, value: list[Row]) -> Row | None:
        """Return the newest completed job that ended in time."""
        ended = [job for job in value if jobs.is_ended(job) and (jobs.ended_at(job) or 0.0) >= self._since]
        good = [job for job in ended if job.get("status") == jobs.JobStatus.COMPLETED]
        if good:
            found = max(good, key=lambda job: jobs.ended_at(job) or 0.0)
            self._log.info("%s", jobs.describe(found))
            for line in jobs.error_lines(found):
                self._log.warning("The job completed with an error: %s", line)
            return found
        self._tell(value)
        for job in ended:
            if self._fail_on_failed_job and job.get("status") == jobs.JobStatus.FAILED:
                jobs.check_outcome(job)
            if job.get("id") not in self._told:
                self._told.add(job.get("id"))
                self._warn("No sync yet: %s. Waiting for a later one.", jobs.describe(job))
        return None

    def _tell(self, rows: list[Row]) -> None:
        self.words = f"its newest: {jobs.describe(rows[0])}" if rows else "the feed has no jobs"
        newest = (rows[0].get("id"), rows[0].get("status")) if rows else "none"
        if newest != self._newest:
            self._newest = newest
            self._log.info("Of the feed's jobs, %s.", self.words)


class BankWatch(Watch["Row"]):
    """Waits until a bank's connection works; says who must sign in, where somebody must.

    It asks for the name of the workspace (the client) once, when the bank is first seen broken; not `again`.

    :param workspace_id: the workspace, where it is known.
    """

    def __init__(self, bank_id: str, *, workspace_id: str | None, log: logging.Logger | Any) -> None:
        self.look = endpoints.get_bank(bank_id)
        self._log = log
        self._bank: Row = {}
        self._workspace: Row | None = None
        self._where = f"workspace {workspace_id}" if workspace_id else "this workspace"

    def found(self, value: Row) -> Row | None:
        """Return the bank when it is connected."""
        if is_connected(value):
            self._log.info("Bank %r (%s) is connected.", value.get("name"), value.get("id"))
            return value
        words = connection_words(value)
        if words != self.words:
            self.words, self._bank = words, value
            if self._workspace is None and not self.again:
                self.aside = endpoints.whoami()
            else:
                self._tell(self._workspace or {})
        return None

    def told(self, answer: Row | None) -> None:
        """Say whose bank it is, by name where that could be had."""
        self._workspace = answer or {}
        self._tell(self._workspace)

    def _tell(self, workspace: Row) -> None:
        whose = (
            f"{workspace.get('workspaceName')!r} ({workspace.get('workspaceId')})"
            if workspace
            else self._where
        )
        hint = (
            f" {whose} must sign in to it again: in BankSync, or at a link that BankSyncHook.create_bank_link makes."
            if needs_sign_in(self._bank)
            else ""
        )
        self._warn(
            "Bank %r (%s) of %s is not connected: %s.%s",
            self._bank.get("name"),
            self._bank.get("id"),
            whose,
            self.words.rstrip("."),
            hint,
        )


def is_connected(bank: Row) -> bool:
    """Tell whether the bank's connection works, in either form: ``{status}`` (documented), ``{connected}`` (seen)."""
    status = _status(bank)
    if status.get("status") is not None:
        return str(status["status"]).lower() == "connected"
    return status.get("connected") is True


def needs_sign_in(bank: Row) -> bool:
    """Tell whether a bank that is not connected waits for its owner.

    In the form ``{connected: false}`` it gives no reason; that one is by far the most frequent.
    """
    status = _status(bank)
    said = " ".join(str(status.get(name) or "") for name in ("status", "errorCode", "errorMessage"))
    return status.get("connected") is False or _SIGN_IN.search(said) is not None


def connection_words(bank: Row) -> str:
    """Say in one line why the bank is not connected, in the API's words."""
    status = _status(bank)
    if not status:
        return "BankSync does not say whether it is connected"
    said = [scrub(str(status[name])) for name in ("status", "errorCode", "errorMessage") if status.get(name)]
    return ", ".join(said) or "not connected"


def _status(bank: Row) -> Row:
    status = bank.get("connectionStatus")
    return status if isinstance(status, dict) else {}
