"""Start the sync of a feed and wait for its job."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout, conf

from airflow_provider_banksync.api.validation import (
    IF_RUNNING,
    validate_choice,
    validate_days,
    validate_flags,
    validate_literal_days,
    validate_seconds,
)
from airflow_provider_banksync.exceptions import (
    BankSyncConflictError,
    BankSyncError,
    BankSyncJobTimeoutError,
    BankSyncNotFoundError,
)
from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator
from airflow_provider_banksync.operators.feeds import BankSyncFeedOperator
from airflow_provider_banksync.operators.jobs import BankSyncCancelJobOperator, BankSyncTriggerLearnOperator
from airflow_provider_banksync.tasks.base import (
    DEFERRAL_GRACE,
    TaskDeadline,
    fail_on_permanent_errors,
    log_cancellation,
    log_deferral,
    progress_logger,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.validation import IfRunning
    from airflow_provider_banksync.tasks.durable import DurableSync, ExistingJob

__all__ = [
    "BankSyncCancelJobOperator",
    "BankSyncFamilySyncOperator",
    "BankSyncTriggerLearnOperator",
    "BankSyncTriggerSyncOperator",
]

#: Seconds before another request for a sync, if the job that blocked it has ended. They grow with each request.
CONFLICT_DELAY = 1.0


class BankSyncTriggerSyncOperator(BankSyncFeedOperator):
    """Start a sync of one feed and wait until its job has ended.

    Returns the job (a dict, as the API sends it). The XCom ``job_id`` holds the job's id as soon as the job exists. If
    the job fails or is cancelled, the task fails, and the message has the job's errors.

    The operator cancels only a job that this task certainly started. It does not cancel a job that it attached to, or
    that it found after the answer to its request was lost. The log and the error then say how to cancel the job.

    :param feed_id: feed to sync (templated). Pass this or `feed_name`.
    :param feed_name: name of the feed to sync (templated). It must be unique in its workspace.
    :param from_date: first day to sync, ``YYYY-MM-DD`` or a date (templated). Without dates, or if templates leave both
        empty, the sync is incremental.
    :param to_date: last day to sync, inclusive (templated).
    :param banksync_conn_id: connection to use.
    :param workspace_id: workspace of the feed, for example a portal (templated); None for the connection's.
    :param if_running: what to do if a job of the feed is queued or running. ``attach``: wait for that job instead,
        unless you pass dates that it does not have; then start a sync after it. ``wait``: start a sync after it.
        ``skip``: skip the task. ``fail``: fail the task.
    :param durable: a retry resumes the job of an earlier try: it waits for the job if it is running, returns it if it
        completed, and starts another only if it failed or was cancelled. A cleared task always starts another. See
        docs/sync.md for what older Airflow versions can do.
    :param wait_for_completion: False ends the task as soon as the job exists.
    :param deferrable: wait on the triggerer, without a worker.
    :param poll_interval: seconds between the first polls of the job. Each interval is 1.5 times the one before.
    :param max_poll_interval: maximum seconds between polls.
    :param timeout: maximum seconds to wait, in each try.
    :param cancel_on_kill: cancel the job if the task is killed; while the task is deferred, on Airflow 3.3 and later.
    :param cancel_on_timeout: cancel the job if `timeout` or the task's `execution_timeout` has passed.
    :param fail_on_job_errors: fail if the job completed with errors (rows that were not written).
    """

    template_fields: Sequence[str] = (
        "feed_id",
        "feed_name",
        "from_date",
        "to_date",
        "workspace_id",
        "banksync_conn_id",
    )
    ui_color = "#dcefe6"

    def __init__(
        self,
        *,
        feed_id: str | None = None,
        feed_name: str | None = None,
        from_date: str | date | None = None,
        to_date: str | date | None = None,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        if_running: IfRunning = "attach",
        durable: bool = True,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | timedelta = 5,
        max_poll_interval: float | timedelta = 60,
        timeout: float | timedelta = 3600,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        fail_on_job_errors: bool = False,
        **kwargs: Any,
    ) -> None:
        feed = {"feed_id": feed_id, "feed_name": feed_name}
        super().__init__(**feed, banksync_conn_id=banksync_conn_id, workspace_id=workspace_id, **kwargs)
        validate_literal_days(from_date, to_date)
        self.from_date, self.to_date = from_date, to_date
        self.if_running = validate_choice("if_running", if_running, IF_RUNNING)
        validate_flags(durable=durable, wait_for_completion=wait_for_completion, deferrable=deferrable)
        validate_flags(cancel_on_kill=cancel_on_kill, cancel_on_timeout=cancel_on_timeout)
        validate_flags(fail_on_job_errors=fail_on_job_errors)
        self.durable = durable
        self.wait_for_completion, self.deferrable = wait_for_completion, deferrable
        self.poll_interval = validate_seconds("poll_interval", poll_interval, least=0.01)
        self.max_poll_interval = validate_seconds("max_poll_interval", max_poll_interval, least=0.01)
        self.timeout = validate_seconds("timeout", timeout)
        self.cancel_on_kill, self.cancel_on_timeout = cancel_on_kill, cancel_on_timeout
        self.fail_on_job_errors = fail_on_job_errors
        #: The feed, and its job that this task waits for now, in this process.
        self._waits_for: tuple[str, ExistingJob] | None = None
        self._killed = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Start a sync or attach to a running job, and wait for the job, here or on the triggerer."""
        with fail_on_permanent_errors():
            validate_days(self.from_date, self.to_date)
            deadline = TaskDeadline.for_try(context, self.timeout, self.execution_timeout, self.deferrable)
            durable = self._durable_sync(context, self._find_feed_id())
            existing = durable.resume()  # None: this try starts a sync
            return self._start_or_attach(context, durable, deadline, existing)

    def execute_after_running(self, context: Context, event: Any) -> dict[str, Any]:
        """Start the sync after the running job has ended. The triggerer waited for it."""
        from airflow_provider_banksync.tasks.trigger_events import job_from_event

        with fail_on_permanent_errors():
            deadline, existing = TaskDeadline.from_event(event), None
            durable = self._durable_sync(context, event["feed_id"])
            try:
                with suppress(BankSyncNotFoundError):  # a deleted job does not block the sync either
                    existing = durable.accept_late_success(job_from_event(event))
            except BankSyncJobTimeoutError as error:
                raise deadline.to_exception(error) from error
            return self._start_or_attach(context, durable, deadline, existing)

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Return the job that the triggerer waited for, or fail as the event says."""
        from airflow_provider_banksync.tasks.trigger_events import job_from_event

        self._waits_for = None  # the trigger has cancelled it if it should
        with fail_on_permanent_errors():
            try:
                job = job_from_event(event)
            except BankSyncJobTimeoutError as error:
                if error.hint:
                    self.log.warning("%s", error.hint)
                log_cancellation(self.log, event["feed_id"], event["job_id"], event.get("cancelled"))
                if event.get("cancelled") is True:
                    self._durable_sync(context, event["feed_id"]).record_cancellation(event["job_id"])
                raise TaskDeadline.from_event(event).to_exception(error) from error
            return self._finish(job)

    def on_kill(self) -> None:
        """Cancel the job that this task started, with one quick request. Log which other job is left running."""
        self._killed = True
        if self._waits_for is None:
            return
        feed_id, existing = self._waits_for
        if not self._log_left_running(feed_id, existing) and self.cancel_on_kill:
            self._cancel(feed_id, existing.job["id"], "the task was killed", quickly=True)

    def _log_left_running(self, feed_id: str, existing: ExistingJob) -> str:
        """Log and return why a job is not cancelled. Empty if it is certainly the job of this task."""
        from airflow_provider_banksync.api.jobs import left_running

        workspace_id = self.workspace_id or existing.job.get("workspaceId")
        message = left_running(feed_id, existing.job["id"], existing.ownership, workspace_id=workspace_id)
        if message:
            self.log.warning("%s", message)
        return message

    def _cancel(
        self, feed_id: str, job_id: str, reason: str, *, quickly: bool = False
    ) -> dict[str, Any] | None:
        """Cancel a job and return it; None if that failed, which is logged and not raised."""
        from airflow_provider_banksync.api.flows.syncs import end_job
        from airflow_provider_banksync.api.jobs import ended_by_itself

        try:
            if quickly:
                job = self.hook.cancel_job_quickly(feed_id, job_id)
            else:
                job = self.hook.get_conn().run(end_job(feed_id, job_id))
        except BankSyncError as error:
            log_cancellation(self.log, feed_id, job_id, str(error))
            return None
        if not ended_by_itself(job):
            log_cancellation(self.log, feed_id, job_id, True, reason)
        return job

    def _durable_sync(self, context: Context, feed_id: str) -> DurableSync:
        from airflow_provider_banksync.tasks.durable import DurableSync, SyncRequest

        days = validate_days(self.from_date, self.to_date)
        return DurableSync(
            SyncRequest(self.banksync_conn_id, self.workspace_id or None, feed_id, *days),
            self.hook,
            context,
            self.log,
            retries=self.retries or 0,
            durable=self.durable,
            fail_on_job_errors=self.fail_on_job_errors,
        )

    def _start_or_attach(
        self, context: Context, durable: DurableSync, deadline: TaskDeadline, existing: ExistingJob | None
    ) -> dict[str, Any]:
        """Wait for the existing job. If there is none, start a sync, or attach to the running job."""
        from airflow_provider_banksync.api.jobs import MAX_START_ATTEMPTS, running_job
        from airflow_provider_banksync.tasks.durable import ExistingJob

        request, attempts = durable.request, 0
        days = request.from_date, request.to_date
        while existing is None and attempts < MAX_START_ATTEMPTS:
            known = self._outlasting(durable.list_known_job_ids)()
            if self._killed:
                raise BankSyncError("the task was killed before its sync started.")
            start = partial(self.hook.start_sync, request.feed_id, *days, known_job_ids=known)
            try:
                with durable.requesting(known):
                    existing = ExistingJob(*self._outlasting(start)())
            except BankSyncConflictError as conflict:
                rows = self.hook.list_jobs(request.feed_id)
                existing = durable.find_running(rows)
                if existing is not None:
                    self.log.info("Job %s is running. This task probably started it.", existing.job["id"])
                elif running := running_job(rows):
                    existing = self._handle_conflict(durable, running, conflict, deadline)
                else:  # the running job has ended since
                    attempts += 1
                    time.sleep(CONFLICT_DELAY * attempts)
            else:
                feed = self._describe_feed(existing.job)
                self.log.info("Started sync of %s: job %s.", feed, existing.job["id"])
        if existing is None:
            raise BankSyncError(
                f"BankSync refused {MAX_START_ATTEMPTS} requests to sync feed {request.feed_id}: a job was running.",
                hint="Retry later, or run the DAG at another time than the feed's own schedule.",
            )
        return self._wait_until_done(context, durable, existing, deadline)

    def _handle_conflict(
        self,
        durable: DurableSync,
        running: dict[str, Any],
        conflict: BankSyncConflictError,
        deadline: TaskDeadline,
    ) -> ExistingJob | None:
        """Return the running job if the task should wait for it instead. Otherwise wait until it has ended."""
        from airflow_provider_banksync.api.jobs import Ownership, is_active
        from airflow_provider_banksync.tasks.durable import ExistingJob

        durable.record_refusal()
        feed_id = durable.request.feed_id
        if running["id"] == durable.excluded_job_id:
            if self.cancel_on_kill and not durable.excluded_was_cancelled:
                job = self._cancel(feed_id, running["id"], "the task was cleared")
                running = job or running
        elif self._should_attach(running, conflict):
            self.log.info("Attached to running job %s of %s.", running["id"], self._describe_feed(running))
            return ExistingJob(running, Ownership.ATTACHED)
        if is_active(running):
            feed = self._describe_feed(running)
            self.log.info("Job %s of %s is running. The sync starts when it has ended.", running["id"], feed)
        other = ExistingJob(running, Ownership.ATTACHED)
        with suppress(BankSyncNotFoundError):  # a deleted job does not block the sync either
            ended = self._poll_or_defer(feed_id, other, deadline, "execute_after_running")
            return durable.accept_late_success(ended)
        return None

    def _should_attach(self, running: dict[str, Any], conflict: BankSyncConflictError) -> bool:
        """Apply `if_running` to a job that this task did not start.

        :return: True to wait for that job; False to start the task's own sync after it.
        """
        from airflow_provider_banksync.api.jobs import conflict_action

        action = conflict_action(self.if_running, running, *validate_days(self.from_date, self.to_date))
        if action == "fail":
            raise conflict
        if action == "skip":
            raise AirflowSkipException(f"Job {running['id']} of feed {running.get('feedId')} is running.")
        return action == "attach"

    def _wait_until_done(
        self, context: Context, durable: DurableSync, existing: ExistingJob, deadline: TaskDeadline
    ) -> dict[str, Any]:
        """Wait for the job, here or on the triggerer, and return it."""
        feed_id, job = durable.request.feed_id, existing.job
        self._waits_for = (feed_id, existing)
        if self._killed:  # while the request was in flight, and the job had no id yet
            self.on_kill()
        durable.record_job(job["id"], existing.ownership)
        context["ti"].xcom_push(key="job_id", value=self.to_xcom(job["id"]))
        if not self.wait_for_completion:
            self._waits_for = None
            return self.to_xcom(job)  # type: ignore[no-any-return]  # a dict stays a dict
        try:
            ended = self._poll_or_defer(feed_id, existing, deadline, "execute_complete")
        except (BankSyncJobTimeoutError, AirflowTaskTimeout) as timeout:
            self._waits_for = None  # Airflow also calls on_kill after a timeout
            ended = self._end_after_timeout(durable, existing, timeout)
        self._waits_for = None
        return self._finish(ended)

    def _end_after_timeout(
        self, durable: DurableSync, existing: ExistingJob, timeout: BaseException
    ) -> dict[str, Any]:
        """Cancel the job if it is ours. Return it if it has ended since the last poll, otherwise raise the timeout."""
        from airflow_provider_banksync.api.jobs import ended_by_itself

        feed_id, job_id = durable.request.feed_id, existing.job["id"]
        if message := self._log_left_running(feed_id, existing):
            if isinstance(timeout, BankSyncJobTimeoutError):
                timeout.hint = message
        elif self.cancel_on_timeout and (job := self._cancel(feed_id, job_id, "the task timed out")):
            if ended_by_itself(job):
                return job
            durable.record_cancellation(job_id)
        raise timeout

    def _poll_or_defer(
        self, feed_id: str, existing: ExistingJob, deadline: TaskDeadline, method_name: str
    ) -> dict[str, Any]:
        """Return the job when it has ended, or defer and come back in the method of this name."""
        from airflow_provider_banksync.api.jobs import is_active, is_ended

        if is_ended(existing.job):
            return existing.job
        if self.deferrable:
            self._defer(feed_id, existing, deadline, method_name)
        log_progress = progress_logger(self.log)
        return self.hook.wait_for_job(
            feed_id,
            existing.job["id"],
            deadline.seconds_left,
            self.poll_interval,
            max_poll_interval=self.max_poll_interval,
            on_progress=lambda job: log_progress(job) if is_active(job) else None,  # _finish logs the end
        )

    def _defer(self, feed_id: str, existing: ExistingJob, deadline: TaskDeadline, method_name: str) -> None:
        from airflow_provider_banksync.triggers.job import BankSyncJobTrigger

        log_deferral(self.log, f"job {existing.job['id']}")
        self.defer(
            trigger=BankSyncJobTrigger(
                feed_id=feed_id,
                job_id=existing.job["id"],
                ownership=existing.ownership.value,
                deadline=deadline.deadline,
                limit=deadline.source,
                banksync_conn_id=self.banksync_conn_id,
                workspace_id=self.workspace_id or None,
                poll_interval=self.poll_interval,
                max_poll_interval=self.max_poll_interval,
                cancel_on_kill=self.cancel_on_kill,
                cancel_on_timeout=self.cancel_on_timeout,
            ),
            method_name=method_name,
            timeout=timedelta(seconds=deadline.seconds_left + DEFERRAL_GRACE),
        )

    def _finish(self, job: dict[str, Any]) -> dict[str, Any]:
        from airflow_provider_banksync.api.jobs import describe, error_lines, raise_unless_succeeded

        raise_unless_succeeded(job, fail_on_job_errors=self.fail_on_job_errors)
        self.log.info("%s", describe(job))
        for line in error_lines(job):
            self.log.warning("The job completed with an error: %s", line)
        return self.to_xcom(job)  # type: ignore[no-any-return]  # a dict stays a dict
