"""What a retry must know about the sync that an earlier try requested.

On Airflow 3.3 and later, a try writes a record to the task state store: before it requests a sync, and again when the
job exists. So a worker may be killed at any moment. The first record has the ids of the feed's jobs before the request.
A retry that finds a request without a job searches BankSync for a job with a new id. The record can also name a job of
this task that must not be used: it is from before the task was cleared, or the task has cancelled it.

Older Airflow keeps only XComs between tries, and clears them. There, a retry asks BankSync for a running job.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.flows import syncs
from airflow_provider_banksync.api.flows.writes import ids_of
from airflow_provider_banksync.api.jobs import (
    Ownership,
    describe,
    drop_stale_unknown,
    is_active,
    is_new_sync,
    left_running,
    succeeded,
    was_started_since,
)
from airflow_provider_banksync.exceptions import BankSyncConflictError, BankSyncError, BankSyncNotFoundError
from airflow_provider_banksync.tasks.task_store import TaskStore, TaskTries

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.hooks.banksync import BankSyncHook

#: Key of the record in the task state store.
KEY = "banksync_sync"
#: Format of the record. A record in another format is ignored.
VERSION = 3
#: On older Airflow, a job may be this much (seconds) older than its DAG run, because the clocks may differ.
CLOCK_TOLERANCE = 60.0
_ORIGINS = {Ownership.PROVED: "started", Ownership.INFERRED: "probably started"}


@dataclass(frozen=True)
class SyncRequest:
    """The sync that a task requests. If a field differs, it is another sync."""

    conn_id: str
    workspace_id: str | None
    feed_id: str
    from_date: str | None
    to_date: str | None


@dataclass(frozen=True)
class ExistingJob:
    """A job that a try waits for, and how sure it is that this task instance started it."""

    job: dict[str, Any]
    ownership: Ownership


class DurableSync:
    """One task instance's sync, across its tries.

    :param request: what this try requests. A record of another request is ignored.
    :param durable: False stores nothing.
    """

    def __init__(
        self,
        request: SyncRequest,
        hook: BankSyncHook,
        context: Context,
        log: logging.Logger | Any,
        *,
        retries: int = 0,
        durable: bool = True,
        fail_on_job_errors: bool = False,
    ) -> None:
        self.request = request
        #: A job of this task instance that must not be used: from before a clearing, or cancelled by an earlier try.
        self.excluded_job_id: str | None = None
        #: An earlier try cancelled that job, because it timed out.
        self.excluded_was_cancelled = False
        self._hook = hook
        self._log = log
        self._tries = TaskTries.from_context(context, retries=retries)
        self._durable = durable
        self._fail_on_job_errors = fail_on_job_errors
        self._store = TaskStore(context, log, durable=durable)
        self._record: dict[str, Any] = {}
        #: The feed's jobs before a request whose answer was lost. None: there was no such request.
        self._known_job_ids: list[str] | None = None
        #: Without a record of earlier tries: when the DAG run began, in seconds since the epoch.
        self._dag_run_started_at: float | None = None

    # --- what earlier tries left ---

    def resume(self) -> ExistingJob | None:
        """Return the job of an earlier try, or None: then this try starts a sync.

        - The job is queued or running: this try waits for it.
        - It completed: this try returns it.
        - It failed, was cancelled or deleted, or is from before the task was cleared: this try starts another sync.
        - A sync was requested, but BankSync has no job of it: this try starts one.
        """
        earlier = self._find_earlier_job()
        if earlier is None:  # without a job, this try starts a sync
            return None
        job, origin = earlier.job, _ORIGINS.get(earlier.ownership, "attached to")
        # With a job of an earlier try, this line decides: start another sync, or use that job.
        if not is_active(job) and not succeeded(job, fail_on_job_errors=self._fail_on_job_errors):
            self._log.info(
                "An earlier try of this task %s the %s. Starting another sync.", origin, describe(job)
            )
            self._known_job_ids = self._dag_run_started_at = None
            return None
        state = "is running" if is_active(job) else "completed"
        self._log.info("An earlier try of this task %s job %s, which %s.", origin, job["id"], state)
        return earlier

    def find_running(self, rows: list[dict[str, Any]]) -> ExistingJob | None:
        """Return the running job of a request whose answer was lost, if it is among the feed's jobs."""
        running = [job for job in drop_stale_unknown(rows) if is_active(job) and self._may_have_started(job)]
        return ExistingJob(running[0], Ownership.INFERRED) if running else None

    def _may_have_started(self, job: dict[str, Any]) -> bool:
        days, since = (self.request.from_date, self.request.to_date), self._dag_run_started_at
        if job["id"] == self.excluded_job_id:
            return False
        if self._known_job_ids is not None:
            return is_new_sync(job, self._known_job_ids, *days)
        return since is not None and was_started_since(job, since - CLOCK_TOLERANCE, *days)

    def _find_earlier_job(self) -> ExistingJob | None:
        """Return the job of an earlier try since the task was cleared, also if it has ended; None if there is none."""
        had_store = bool(self._store)
        record = self._read() if self._tries.number > 1 else {}
        if record.get("max_tries", self._tries.max_tries) != self._tries.max_tries:  # the task was cleared
            job_id = record.get("job_id") if record.get("ownership") == Ownership.PROVED else None
            self.excluded_job_id = job_id or record.get("excluded_job_id")
            return None
        self.excluded_job_id = record.get("excluded_job_id")
        if record.get("request") == asdict(self.request):
            self._record, self.excluded_was_cancelled = record, bool(record.get("excluded_was_cancelled"))
            existing = self._recorded_job()
            if existing is None or (existing.job["id"] == self.excluded_job_id and is_active(existing.job)):
                return None
            return existing
        store_missing = not (had_store and self._store)
        if self._durable and self._tries.is_retry and store_missing:
            self._dag_run_started_at = self._tries.dag_run_started_at
            return self.find_running(self._hook.list_jobs(self.request.feed_id))
        return None

    def _recorded_job(self) -> ExistingJob | None:
        """Return the job that the record names, or whose request it names; None if BankSync has no such job."""
        job_id, ownership = self._record.get("job_id"), Ownership(self._record["ownership"])
        if job_id is None:
            self._known_job_ids = self._record.get("known_job_ids")
            if self._known_job_ids is not None:
                request, known = self.request, [*self._known_job_ids, str(self.excluded_job_id)]
                days = request.from_date, request.to_date
                job = self._hook.find_new_sync(request.feed_id, *days, known_job_ids=known)
                if job is not None:
                    return ExistingJob(job, Ownership.INFERRED)
            if not self.excluded_was_cancelled:
                self._log.info("An earlier try of this task requested a sync, but no job started.")
                return None
            job_id, ownership = self.excluded_job_id, Ownership.PROVED
        try:
            get_job = syncs.get_known_job(self.request.feed_id, str(job_id))
            return ExistingJob(self._hook.get_conn().run(get_job), ownership)
        except BankSyncNotFoundError:
            self._log.warning("Job %s of an earlier try of this task does not exist any more.", job_id)
            return None

    # --- what this try records ---

    def list_known_job_ids(self) -> list[str]:
        """Return the ids of the feed's jobs before the request. If an answer was lost, before that request."""
        if self._known_job_ids is None:
            return ids_of(self._hook.list_jobs(self.request.feed_id))
        return self._known_job_ids

    @contextmanager
    def requesting(self, known_job_ids: list[str]) -> Iterator[None]:
        """Record a request for a sync before it is sent, and whether it may have started a job.

        If a timeout or a kill interrupts the request, the log names the job that it may have started.

        :param known_job_ids: the feed's jobs before the request.
        """
        self._write(known_job_ids=known_job_ids)
        try:
            yield
        except BankSyncError as error:
            if error.ambiguous:
                self._known_job_ids = known_job_ids
            elif not isinstance(error, BankSyncConflictError):  # the running job may be our own
                self.record_refusal()
            raise
        except BaseException:
            self._known_job_ids = known_job_ids
            self._report_unanswered()
            raise

    def _report_unanswered(self) -> None:
        feed_id, workspace_id = self.request.feed_id, self.request.workspace_id
        try:
            existing = self.find_running(self._hook.list_jobs(feed_id))
        except BankSyncError as error:
            self._log.warning("It is unknown whether the interrupted request started a job: %s", error)
            return
        if existing is not None:
            job_id, ownership = existing.job["id"], existing.ownership
            self._log.warning("%s", left_running(feed_id, job_id, ownership, workspace_id=workspace_id))

    def record_refusal(self) -> None:
        """Record that the request started no job."""
        self._known_job_ids = self._dag_run_started_at = None
        if self.excluded_job_id is not None:
            self._write()
        elif self._record:
            self._record = {}
            self._store.delete(KEY)

    def record_job(self, job_id: str, ownership: Ownership) -> None:
        """Record the job that this try waits for."""
        if (self._record.get("job_id"), self._record.get("ownership")) != (job_id, ownership.value):
            self.excluded_job_id, self.excluded_was_cancelled = None, False
            self._write(job_id=job_id, ownership=ownership)

    def record_cancellation(self, job_id: str) -> None:
        """Record that we cancelled our job, so that a retry does not wait until it has ended."""
        self.excluded_job_id, self.excluded_was_cancelled = job_id, True
        self._write()

    def accept_late_success(self, job: dict[str, Any]) -> ExistingJob | None:
        """Return an ended job if it completed although an earlier try cancelled it."""
        record = self._read() if self._tries.number > 1 else {}
        if not record.get("excluded_was_cancelled") or record.get("excluded_job_id") != job["id"]:
            return None
        completed = succeeded(job, fail_on_job_errors=self._fail_on_job_errors)
        return ExistingJob(job, Ownership.PROVED) if completed else None

    def _read(self) -> dict[str, Any]:
        record = self._store.get(KEY)
        return record if isinstance(record, dict) and record.get("version") == VERSION else {}

    def _write(
        self,
        *,
        job_id: str | None = None,
        ownership: Ownership = Ownership.PROVED,
        known_job_ids: list[str] | None = None,
    ) -> None:
        if not self._store:
            return
        self._record = {
            "version": VERSION,
            "max_tries": self._tries.max_tries,
            "request": asdict(self.request),
            "known_job_ids": known_job_ids,
            "job_id": job_id,
            "ownership": ownership.value,
            "excluded_job_id": self.excluded_job_id,
            "excluded_was_cancelled": self.excluded_was_cancelled,
        }
        self._store.set(KEY, self._record)
