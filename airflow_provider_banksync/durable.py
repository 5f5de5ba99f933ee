"""What the next try of a task has to know of the sync that this one asked for.

Airflow 3.3 and later keep a record of it in the task state store, in two steps: that a sync is about to be asked for,
and, once there is one, its job. A try that finds the first without the second looks for the job in BankSync, by the
time that has passed since: so a worker may be killed at any moment. The record also names a job of this task that the
sync is not to be: the one from before the task was cleared, or one that it has cancelled. Older Airflow keeps nothing
from try to try but XComs, which it clears; there a retry asks BankSync for a job that runs.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.exceptions import BankSyncJobError, BankSyncNotFoundError
from airflow_provider_banksync.task_store import TaskStore

if TYPE_CHECKING:
    import logging

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.hooks.banksync import BankSyncHook

#: Name of the record. Another name would lose the syncs that run while this package is upgraded.
KEY = "banksync_sync"


@dataclass(frozen=True)
class Wanted:
    """The sync that a task asks for; what differs in any of it is another sync."""

    conn_id: str
    workspace_id: str | None
    feed_id: str
    from_date: str | None
    to_date: str | None


@dataclass(frozen=True)
class Found:
    """A job to go on with.

    :param ours: this task instance started it, so it may cancel it.
    """

    job: dict[str, Any]
    ours: bool


class SyncMemory:
    """One task instance's memory of its sync, from try to try.

    Airflow keeps the task state store where a task is cleared, and counts its tries on. But it raises ``max_tries``
    then, and at no other time: a record with another one is from before the clearing, and not to be gone on with.

    :param wanted: what this try asks for; the record of another sync is none for this one.
    :param retries: of the task, to tell on older Airflow a retry from a first try or one after a clearing.
    :param durable: False remembers nothing.
    """

    def __init__(
        self,
        wanted: Wanted,
        context: Context,
        log: logging.Logger | Any,
        *,
        retries: int = 0,
        durable: bool = True,
    ) -> None:
        ti: Any = context["ti"]
        self.wanted = wanted
        #: A job of this task instance that the sync is not to be: from before it was cleared, or one that it cancelled.
        self.former: str | None = None
        #: It is one that an earlier try has cancelled, as its time was up.
        self.withdrawn = False
        self._log = log
        self._context = context
        self._store = TaskStore(context, log, durable=durable)
        self._try = getattr(ti, "try_number", 1)
        self._max_tries = getattr(ti, "max_tries", retries)
        self._is_retry = durable and self._try > self._max_tries - retries + 1
        self._record: dict[str, Any] = {}
        #: When an earlier try asked for a sync whose job nobody noted (seconds since the epoch), and when this one did.
        self._unheard: float | None = None
        self._asked_at: float | None = None

    # --- what earlier tries left ---

    def recall(self, hook: BankSyncHook, *, fail_on_job_errors: bool) -> Found | None:
        """Return the job of an earlier try, if it runs or has ended well; None where a new sync is to be started."""
        had_store = bool(self._store)
        record = self._read() if self._try > 1 else {}
        if record.get("max_tries", self._max_tries) != self._max_tries:
            self.former = (record.get("job_id") if record.get("ours") else None) or record.get("former")
            return None
        self.former = record.get("former")
        if record.get("wanted") == asdict(self.wanted):
            self._record, self.withdrawn = record, bool(record.get("withdrawn"))
            return self._of_record(hook, fail_on_job_errors=fail_on_job_errors)
        if self._is_retry and not (had_store and self._store):
            self._unheard = self._run_began()
            return self.claim(hook)
        return None

    def claim(self, hook: BankSyncHook) -> Found | None:
        """Return the running job that an earlier try has asked for without noting it."""
        from airflow_provider_banksync.api.jobs import is_active

        found = self._look_for(hook, self._unheard)
        if found is None or not is_active(found):
            return None
        self._log.info("Job %s was started by an earlier try of this task.", found["id"])
        return Found(found, ours=True)

    def _of_record(self, hook: BankSyncHook, *, fail_on_job_errors: bool) -> Found | None:
        from airflow_provider_banksync.api.jobs import check_outcome, describe, is_active

        job_id, ours = self._record.get("job_id"), bool(self._record.get("ours"))
        job = None
        if job_id is None:
            self._unheard = self._record.get("asked_at")
            job = self._look_for(hook, self._unheard)
            if job is None and not self.withdrawn:
                self._log.info("An earlier try of this task was about to start a sync, and has started none.")
                return None
            job_id = self.former
        try:
            job = job or hook.get_job(self.wanted.feed_id, str(job_id))
        except BankSyncNotFoundError:
            self._log.warning("Job %s of an earlier try of this task is gone.", job_id)
            return None
        whose = "started by" if ours else "joined by"
        if is_active(job):
            if job["id"] == self.former:
                return None
            self._log.info(
                "Job %s, %s an earlier try of this task, still runs: back to it.", job["id"], whose
            )
            return Found(job, ours)
        try:
            check_outcome(job, fail_on_job_errors=fail_on_job_errors)
        except BankSyncJobError:
            self._log.info(
                "The %s, %s an earlier try of this task: asking for another.", describe(job), whose
            )
            self._unheard = None
            return None
        self._log.info("Job %s, %s an earlier try of this task, has ended meanwhile.", job["id"], whose)
        return Found(job, ours)

    def _look_for(self, hook: BankSyncHook, since: float | None) -> dict[str, Any] | None:
        if since is None:
            return None
        found = hook.find_sync(
            self.wanted.feed_id,
            self.wanted.from_date,
            self.wanted.to_date,
            age=max(0.0, time.time() - since),
        )
        return None if found is None or found["id"] == self.former else found

    def _run_began(self) -> float | None:
        began = getattr(self._context.get("dag_run"), "start_date", None)
        return None if began is None else began.timestamp()

    # --- what this try leaves ---

    def ask(self) -> None:
        """Note that a sync is about to be asked for."""
        self._asked_at = self._unheard or time.time()
        self._write(job_id=None, ours=True)

    def asked(self, hook: BankSyncHook) -> dict[str, Any] | None:
        """Look for the job of a request whose answer nobody will hear."""
        return self._look_for(hook, self._asked_at)

    def refused(self) -> None:
        """Note that the sync that was asked for was not started."""
        self._unheard = self._asked_at = None
        if self.former is not None:
            self._write(job_id=None, ours=True)
        elif self._record:
            self._record = {}
            self._store.delete(KEY)

    def note(self, job_id: str, *, ours: bool) -> None:
        """Note the job that is waited for."""
        if (self._record.get("job_id"), self._record.get("ours")) != (job_id, ours):
            self.former, self.withdrawn = None, False
            self._write(job_id=job_id, ours=ours)

    def withdraw(self, job_id: str) -> None:
        """Note that our job was cancelled: a retry is not to take it for its own while it comes to its end."""
        self.former, self.withdrawn, self._asked_at = job_id, True, None
        self._write(job_id=None, ours=True)

    def completed(self, ended: dict[str, Any], *, fail_on_job_errors: bool) -> Found | None:
        """Return a job that was waited out, where an earlier try had cancelled it and it ended well after all."""
        from airflow_provider_banksync.api.jobs import check_outcome

        record = self._read() if self._try > 1 else {}
        if not record.get("withdrawn") or record.get("former") != ended["id"]:
            return None
        try:
            return Found(check_outcome(ended, fail_on_job_errors=fail_on_job_errors), ours=True)
        except BankSyncJobError:
            return None

    # --- the store ---

    def _read(self) -> dict[str, Any]:
        record = self._store.get(KEY)
        return record if isinstance(record, dict) else {}

    def _write(self, *, job_id: str | None, ours: bool) -> None:
        if not self._store:
            return
        self._record = {
            "max_tries": self._max_tries,
            "wanted": asdict(self.wanted),
            "asked_at": self._asked_at,
            "job_id": job_id,
            "ours": ours,
            "former": self.former,
            "withdrawn": self.withdrawn,
        }
        self._store.set(KEY, self._record)
