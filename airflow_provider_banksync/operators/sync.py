"""Start a feed's sync, and wait for how it ends."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator, conf

from airflow_provider_banksync.exceptions import (
    BankSyncConfigError,
    BankSyncConflictError,
    BankSyncError,
    BankSyncJobTimeoutError,
)
from airflow_provider_banksync.task import (
    BankSyncTaskMixin,
    for_xcom,
    permanent_errors_fail,
    progress_log,
    require_id,
    seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.providers.common.compat.sdk import Context

IF_RUNNING = ("attach", "wait", "skip", "fail")
#: Airflow's own timeout of a deferral comes this much (seconds) after the trigger's deadline, so that the trigger has
#: the time for a last look and the task hears what the job was doing.
DEFERRAL_GRACE = 600
#: How often a sync is asked for when each time a job runs that has ended when we look for it.
_STARTS = 5
#: Seconds before the next time; they grow by as much each time.
_SETTLE = 1.0


class BankSyncTriggerSyncOperator(BankSyncTaskMixin, BaseOperator):
    """Start a sync of one feed, and wait until its job has ended.

    Returns the job (a dict, as the API gives it), the same in every mode. The job's id is in XCom as ``job_id`` as soon
    as the job exists. A job that failed or was cancelled fails the task, with the job's own errors in the message.

    :param feed_id: feed to sync (templated). Give this or `feed_name`.
    :param feed_name: name of the feed to sync (templated); must be unique in its workspace.
    :param from_date: first day to sync, ``YYYY-MM-DD`` (templated). Without dates, the sync is incremental.
    :param to_date: last day to sync, inclusive (templated).
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal that the feed lives in (templated); None: the connection's workspace.
    :param if_running: what to do where a job of the feed is queued or running already. ``attach``: wait for that one,
        unless dates were asked for that it does not have: then wait it out and start ours. ``wait``: wait it out and
        start ours. ``skip``: skip the task. ``fail``: fail the task.
    :param wait_for_completion: False ends the task as soon as the job exists.
    :param deferrable: wait on the triggerer, without a worker.
    :param poll_interval: seconds between the first looks at the job; grows by half each time.
    :param max_poll_interval: seconds between looks at most.
    :param timeout: seconds to wait at most.
    :param cancel_on_kill: cancel the job when the task is killed. A deferred task is told so by Airflow 3.3 and later.
    :param cancel_on_timeout: cancel the job when `timeout` has passed.
    :param fail_on_job_errors: fail where the job completed, but with errors (rows that did not write).
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
        from_date: str | None = None,
        to_date: str | None = None,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        if_running: str = "attach",
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
        super().__init__(**kwargs)
        if if_running not in IF_RUNNING:
            raise BankSyncConfigError(
                f"if_running must be one of {', '.join(IF_RUNNING)}, not {if_running!r}."
            )
        if (feed_id is None) == (feed_name is None):
            raise BankSyncConfigError("give either feed_id or feed_name, and not both.")
        self.feed_id = feed_id
        self.feed_name = feed_name
        self.from_date = from_date
        self.to_date = to_date
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id
        self.if_running = if_running
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = seconds("poll_interval", poll_interval, least=0.01)
        self.max_poll_interval = seconds("max_poll_interval", max_poll_interval, least=0.01)
        self.timeout = seconds("timeout", timeout)
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.fail_on_job_errors = fail_on_job_errors
        #: The job that is to be cancelled if the task is killed now.
        self._ours: tuple[str, str] | None = None
        self._killed = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Start or join a sync and wait for it, here or on the triggerer."""
        with permanent_errors_fail():
            feed_id = self._resolve_feed()
            return self._sync(context, feed_id, deadline=time.time() + self.timeout)

    def execute_after_running(self, context: Context, event: Any) -> dict[str, Any]:
        """Come back from the triggerer when the job that was in the way has ended, however it did: start ours."""
        from airflow_provider_banksync.triggers.job import job_of_event

        with permanent_errors_fail():
            job_of_event(event)
            return self._sync(context, event["feed_id"], deadline=event["deadline"])

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Come back from the triggerer when our job has ended, or the time."""
        from airflow_provider_banksync.triggers.job import job_of_event

        with permanent_errors_fail():
            try:
                job = job_of_event(event)
            except BankSyncJobTimeoutError:
                self._cancel_late(event["feed_id"], event["job_id"])
                raise
            return self._finish(job)

    def on_kill(self) -> None:
        """Cancel the job that the killed task has started or joined: one quick request, and no waiting for it."""
        self._killed = True
        if self._ours is not None and self.cancel_on_kill:
            feed_id, job_id = self._ours
            self._cancel(feed_id, job_id, "the task was killed", self.hook.cancel_job_quickly)

    def _resolve_feed(self) -> str:
        if self.feed_name is None:
            return require_id("feed_id", self.feed_id)
        feed = self.hook.find_feed(require_id("feed_name", self.feed_name))
        self.log.info("Feed %r is %s.", self.feed_name, feed["id"])
        return require_id("id of the feed", feed["id"])

    def _sync(self, context: Context, feed_id: str, deadline: float) -> dict[str, Any]:
        for attempt in range(_STARTS):
            if attempt:
                time.sleep(_SETTLE * attempt)
            try:
                job = self.hook.trigger_sync(feed_id, self.from_date or None, self.to_date or None)
            except BankSyncConflictError as error:
                running = self._running_job(feed_id)
                if running is None:
                    continue
                if not self._joins(running, error):
                    self._wait(feed_id, running, deadline, "execute_after_running")
                    continue
                job = running
                self.log.info("Joined job %s of feed %s, which runs already.", job["id"], feed_id)
            else:
                self.log.info("Started job %s of feed %s.", job["id"], feed_id)
            return self._follow(context, feed_id, job, deadline)
        raise BankSyncError(
            f"feed {feed_id} had another job running each of {_STARTS} times that a sync was asked for."
        )

    def _follow(self, context: Context, feed_id: str, job: dict[str, Any], deadline: float) -> dict[str, Any]:
        """See our job to its end, or to the triggerer."""
        self._ours = (feed_id, job["id"])
        if self._killed:  # while it was being started, when nobody knew its id
            self.on_kill()
        context["ti"].xcom_push(key="job_id", value=job["id"])
        if not self.wait_for_completion:
            self._ours = None
            return for_xcom(job)  # type: ignore[no-any-return]  # a dict stays a dict
        try:
            ended = self._wait(feed_id, job, deadline, "execute_complete")
        except BankSyncJobTimeoutError:
            self._ours = None
            self._cancel_late(feed_id, job["id"])
            raise
        self._ours = None
        return self._finish(ended)

    def _running_job(self, feed_id: str) -> dict[str, Any] | None:
        from airflow_provider_banksync.api.jobs import is_active

        return next((job for job in self.hook.list_jobs(feed_id) if is_active(job)), None)

    def _joins(self, running: dict[str, Any], conflict: BankSyncConflictError) -> bool:
        """Decide what to do about a job that runs already: wait for it as ours, or wait it out (False)."""
        if self.if_running == "fail":
            raise conflict
        if self.if_running == "skip":
            raise AirflowSkipException(f"Job {running['id']} of feed {running.get('feedId')} runs already.")
        pairs = ((self.from_date, running.get("startDate")), (self.to_date, running.get("endDate")))
        same = all(not ours or ours == str(theirs)[:10] for ours, theirs in pairs)
        if self.if_running == "attach" and same:
            return True
        self.log.info(
            "Job %s of feed %s is in the way: waiting it out.", running["id"], running.get("feedId")
        )
        return False

    def _wait(self, feed_id: str, job: dict[str, Any], deadline: float, method_name: str) -> dict[str, Any]:
        from airflow_provider_banksync.api.jobs import is_ended

        if is_ended(job):
            return job
        if self.deferrable:
            self._defer(feed_id, job["id"], deadline, method_name)
        return self.hook.wait_for_job(
            feed_id,
            job["id"],
            max(0.0, deadline - time.time()),
            self.poll_interval,
            max_poll_interval=self.max_poll_interval,
            on_progress=progress_log(self.log),
        )

    def _defer(self, feed_id: str, job_id: str, deadline: float, method_name: str) -> None:
        from airflow_provider_banksync.triggers.job import BankSyncJobTrigger

        self.defer(
            trigger=BankSyncJobTrigger(
                feed_id=feed_id,
                job_id=job_id,
                deadline=deadline,
                banksync_conn_id=self.banksync_conn_id,
                workspace_id=self.workspace_id or None,
                poll_interval=self.poll_interval,
                max_poll_interval=self.max_poll_interval,
                cancel_on_kill=self.cancel_on_kill and self._ours is not None,
            ),
            method_name=method_name,
            timeout=timedelta(seconds=max(0.0, deadline - time.time()) + DEFERRAL_GRACE),
        )

    def _finish(self, job: dict[str, Any]) -> dict[str, Any]:
        from airflow_provider_banksync.api.jobs import check_outcome, describe, error_lines

        check_outcome(job, fail_on_job_errors=self.fail_on_job_errors)
        self.log.info("%s", describe(job))
        for line in error_lines(job):
            self.log.warning("The job completed with an error: %s", line)
        return for_xcom(job)  # type: ignore[no-any-return]  # a dict stays a dict

    def _cancel_late(self, feed_id: str, job_id: str) -> None:
        if self.cancel_on_timeout:
            self._cancel(feed_id, job_id, "it took too long", self.hook.cancel_job)

    def _cancel(self, feed_id: str, job_id: str, why: str, cancel: Callable[[str, str], Any]) -> None:
        """Cancel as well as can be: whatever comes of it, the task ends for its own reason."""
        try:
            cancel(feed_id, job_id)
        except BankSyncError as error:
            self.log.warning("Could not cancel job %s of feed %s: %s", job_id, feed_id, error)
        else:
            self.log.info("Cancelled job %s of feed %s: %s.", job_id, feed_id, why)
