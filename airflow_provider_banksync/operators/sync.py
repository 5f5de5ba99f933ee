"""Start a feed's sync, and wait for how it ends."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowSkipException,
    AirflowTaskTimeout,
    conf,
)

from airflow_provider_banksync.api.checks import check_days, one_of
from airflow_provider_banksync.exceptions import (
    BankSyncConflictError,
    BankSyncError,
    BankSyncJobTimeoutError,
    BankSyncNotFoundError,
)
from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator
from airflow_provider_banksync.operators.feeds import BankSyncFeedOperator
from airflow_provider_banksync.operators.jobs import (
    BankSyncCancelJobOperator,
    BankSyncCancelMixin,
    BankSyncTriggerLearnOperator,
)
from airflow_provider_banksync.task import (
    IF_RUNNING,
    for_xcom,
    permanent_errors_fail,
    progress_log,
    seconds,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.durable import Found, SyncMemory
    from airflow_provider_banksync.limits import Limit

__all__ = [
    "BankSyncCancelJobOperator",
    "BankSyncFamilySyncOperator",
    "BankSyncTriggerLearnOperator",
    "BankSyncTriggerSyncOperator",
]

#: Airflow's own timeout of a deferral comes this much (seconds) after the trigger's deadline, so that the trigger has
#: the time for a last look and the task hears what the job was doing.
DEFERRAL_GRACE = 600
#: How often a sync is asked for when each time a job runs that has ended when we look for it; and the first wait
#: between (seconds), which grows by as much each time.
_STARTS, _SETTLE = 5, 1.0


class BankSyncTriggerSyncOperator(BankSyncCancelMixin, BankSyncFeedOperator):
    """Start a sync of one feed, and wait until its job has ended.

    Returns the job (a dict, as the API gives it), the same in every mode. The job's id is in XCom as ``job_id`` as soon
    as the job exists. A job that failed or was cancelled fails the task, with the job's own errors in the message.

    A job that this task started is cancelled where nobody waits for it any more, as the arguments say. One that it
    joined belongs to somebody else and is left alone.

    :param feed_id: feed to sync (templated). Give this or `feed_name`.
    :param feed_name: name of the feed to sync (templated); must be unique in its workspace.
    :param from_date: first day to sync (templated): ``YYYY-MM-DD``, or a date. Without dates, or where templates leave
        both empty, the sync is incremental.
    :param to_date: last day to sync, inclusive (templated).
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal that the feed lives in (templated); None: the connection's workspace.
    :param if_running: what to do where a job of the feed is queued or running already. ``attach``: wait for that one,
        unless dates were asked for that it does not have: then wait it out and start ours. ``wait``: wait it out and
        start ours. ``skip``: skip the task. ``fail``: fail the task.
    :param durable: a retry goes on with the job of an earlier try: waits for it where it runs, returns it where it has
        completed, and starts another only where it failed or was cancelled. Airflow 3.3 and later note the job in the
        task state store; on older ones a retry takes up a job that runs, has our dates and was started by the API
        since the DAG run began. A cleared task always starts a sync of its own. docs/sync.md tells all of it.
    :param wait_for_completion: False ends the task as soon as the job exists.
    :param deferrable: wait on the triggerer, without a worker.
    :param poll_interval: seconds between the first looks at the job; grows by half each time.
    :param max_poll_interval: seconds between looks at most.
    :param timeout: seconds to wait at most, in each try.
    :param cancel_on_kill: cancel the job when the task is killed. A deferred task is told so by Airflow 3.3 and later.
    :param cancel_on_timeout: cancel the job when `timeout` or the task's `execution_timeout` has passed.
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
        from_date: str | date | None = None,
        to_date: str | date | None = None,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        if_running: str = "attach",
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
        self.from_date, self.to_date = from_date, to_date
        self.if_running = one_of("if_running", if_running, IF_RUNNING)
        self.durable = durable
        self.wait_for_completion, self.deferrable = wait_for_completion, deferrable
        self.poll_interval = seconds("poll_interval", poll_interval, least=0.01)
        self.max_poll_interval = seconds("max_poll_interval", max_poll_interval, least=0.01)
        self.timeout = seconds("timeout", timeout)
        self.cancel_on_kill, self.cancel_on_timeout = cancel_on_kill, cancel_on_timeout
        self.fail_on_job_errors = fail_on_job_errors
        #: The job that is to be cancelled if the task is killed now.
        self._ours: tuple[str, str] | None = None
        self._killed = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Start or join a sync and wait for it, here or on the triggerer."""
        from airflow_provider_banksync.limits import Limit

        with permanent_errors_fail():
            check_days(self.from_date, self.to_date)
            limit = Limit.of_try(context, self)
            memory = self._memory(context, self._find_feed_id())
            found = memory.recall(self.hook, fail_on_job_errors=self.fail_on_job_errors)
            return self._sync(context, memory, limit, found)

    def execute_after_running(self, context: Context, event: Any) -> dict[str, Any]:
        """Come back from the triggerer when the job that was in the way has ended, however it did: start ours."""
        from airflow_provider_banksync.limits import Limit
        from airflow_provider_banksync.triggers.job import job_of_event

        with permanent_errors_fail():
            limit, found = Limit.of_event(event), None
            memory = self._memory(context, event["feed_id"])
            try:
                with suppress(BankSyncNotFoundError):  # it is out of the way, too
                    found = self._completed(memory, job_of_event(event))
            except BankSyncJobTimeoutError as error:
                raise limit.error(error) from error
            return self._sync(context, memory, limit, found)

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Come back from the triggerer when our job has ended, or the time."""
        from airflow_provider_banksync.limits import Limit
        from airflow_provider_banksync.triggers.job import job_of_event

        self._ours = None  # the trigger has seen to it
        with permanent_errors_fail():
            try:
                job = job_of_event(event)
            except BankSyncJobTimeoutError as error:
                self._say_cancelled(event["feed_id"], event["job_id"], event.get("cancelled"))
                if event.get("cancelled") is True:
                    self._memory(context, event["feed_id"]).withdraw(event["job_id"])
                raise Limit.of_event(event).error(error) from error
            return self._finish(job)

    def on_kill(self) -> None:
        """Cancel the job that the killed task has started: one quick request, and no waiting for it."""
        self._killed = True
        if self._ours is not None and self.cancel_on_kill:
            feed_id, job_id = self._ours
            self._cancel(feed_id, job_id, "the task was killed", self.hook.cancel_job_quickly)

    def _memory(self, context: Context, feed_id: str) -> SyncMemory:
        from airflow_provider_banksync.durable import SyncMemory, Wanted

        days = check_days(self.from_date, self.to_date)
        return SyncMemory(
            Wanted(self.banksync_conn_id, self.workspace_id or None, feed_id, *days),
            context,
            self.log,
            retries=self.retries or 0,
            durable=self.durable,
        )

    def _sync(
        self, context: Context, memory: SyncMemory, limit: Limit, found: Found | None
    ) -> dict[str, Any]:
        """See the job that was found to its end; where there is none, start one."""
        from airflow_provider_banksync.api.jobs import running
        from airflow_provider_banksync.durable import Found

        gone = 0
        while found is None and gone < _STARTS:
            if self._killed:
                raise BankSyncError("the task was killed before its sync was started.")
            try:
                found = Found(self._ask(memory), ours=True)
            except BankSyncConflictError as conflict:
                found = memory.claim(self.hook)
                if found is None and (job := running(self.hook.list_jobs(memory.wanted.feed_id))):
                    found = self._meet(memory, job, conflict, limit)
                elif found is None:
                    gone += 1
                    time.sleep(_SETTLE * gone)
            else:
                self.log.info("Started job %s of %s.", found.job["id"], self._place(found.job))
        if found is None:
            raise BankSyncError(
                f"feed {memory.wanted.feed_id} was busy {_STARTS} times that a sync was asked for."
            )
        return self._follow(context, memory, found, limit)

    def _ask(self, memory: SyncMemory) -> dict[str, Any]:
        wanted = memory.wanted
        memory.ask()
        try:
            return self.hook.trigger_sync(wanted.feed_id, wanted.from_date, wanted.to_date)
        except BankSyncConflictError:
            raise
        except BankSyncError as error:
            if not error.ambiguous:
                memory.refused()
            raise
        except AirflowTaskTimeout:
            self._cancel_unheard(memory, "its task ran out of time", wish=self.cancel_on_timeout)
            raise
        except BaseException:  # Airflow 2 ends a killed task so
            self._cancel_unheard(memory, "its task was killed", wish=self.cancel_on_kill)
            raise

    def _meet(
        self, memory: SyncMemory, running: dict[str, Any], conflict: BankSyncConflictError, limit: Limit
    ) -> Found | None:
        """Deal with a job that runs and is not the one that was asked for: join it, or see it out of the way."""
        from airflow_provider_banksync.api.jobs import is_active
        from airflow_provider_banksync.durable import Found

        memory.refused()
        feed_id = memory.wanted.feed_id
        if running["id"] == memory.former:
            how = "cancelled" if memory.withdrawn else "started"
            self.log.info("Job %s was %s by this task before this try.", running["id"], how)
            if self.cancel_on_kill and not memory.withdrawn:
                why = "its task was cleared"
                running = self._cancel(feed_id, running["id"], why, self.hook.cancel_job) or running
        elif self._joins(running, conflict):
            self.log.info("Joined job %s of %s, which runs already.", running["id"], self._place(running))
            return Found(running, ours=False)
        if is_active(running):
            self.log.info("Job %s of %s is in the way: waiting it out.", running["id"], self._place(running))
        with suppress(BankSyncNotFoundError):  # it is out of the way, too
            return self._completed(
                memory, self._wait(feed_id, running, limit, "execute_after_running", ours=False)
            )
        return None

    def _completed(self, memory: SyncMemory, ended: dict[str, Any]) -> Found | None:
        return memory.completed(ended, fail_on_job_errors=self.fail_on_job_errors)

    def _follow(self, context: Context, memory: SyncMemory, found: Found, limit: Limit) -> dict[str, Any]:
        """See a job to its end, or to the triggerer."""
        feed_id, job = memory.wanted.feed_id, found.job
        self._ours = (feed_id, job["id"]) if found.ours else None
        if self._killed:  # while it was being started, when nobody knew its id
            self.on_kill()
        memory.note(job["id"], ours=found.ours)
        context["ti"].xcom_push(key="job_id", value=job["id"])
        if not self.wait_for_completion:
            self._ours = None
            return for_xcom(job)  # type: ignore[no-any-return]  # a dict stays a dict
        try:
            ended = self._wait(feed_id, job, limit, "execute_complete", ours=found.ours)
        except (BankSyncJobTimeoutError, AirflowTaskTimeout):
            self._ours = None  # Airflow calls on_kill after a timeout: there is nothing left to do
            if found.ours and self.cancel_on_timeout:
                why = "it took too long"
                if self._cancel(feed_id, job["id"], why, self.hook.cancel_job) is not None:
                    memory.withdraw(job["id"])
            raise
        self._ours = None
        return self._finish(ended)

    def _joins(self, running: dict[str, Any], conflict: BankSyncConflictError) -> bool:
        """Decide what to do about somebody else's job that runs: wait for it as if ours, or wait it out (False)."""
        if self.if_running == "fail":
            raise conflict
        if self.if_running == "skip":
            raise AirflowSkipException(f"Job {running['id']} of feed {running.get('feedId')} runs already.")
        from airflow_provider_banksync.api.jobs import same_dates

        asked = check_days(self.from_date, self.to_date)
        return self.if_running == "attach" and (asked == (None, None) or same_dates(running, *asked))

    def _wait(
        self, feed_id: str, job: dict[str, Any], limit: Limit, method_name: str, *, ours: bool
    ) -> dict[str, Any]:
        from airflow_provider_banksync.api.jobs import is_active, is_ended

        if is_ended(job):
            return job
        if self.deferrable:
            self._defer(feed_id, job["id"], limit, method_name, ours=ours)
        show = progress_log(self.log)
        return self.hook.wait_for_job(
            feed_id,
            job["id"],
            max(0.0, limit.deadline - time.time()),
            self.poll_interval,
            max_poll_interval=self.max_poll_interval,
            on_progress=lambda job: show(job) if is_active(job) else None,  # its end is told by _finish
        )

    def _defer(self, feed_id: str, job_id: str, limit: Limit, method_name: str, *, ours: bool) -> None:
        from airflow_provider_banksync.triggers.job import BankSyncJobTrigger

        self.defer(
            trigger=BankSyncJobTrigger(
                feed_id=feed_id,
                job_id=job_id,
                deadline=limit.deadline,
                limit=limit.name,
                banksync_conn_id=self.banksync_conn_id,
                workspace_id=self.workspace_id or None,
                poll_interval=self.poll_interval,
                max_poll_interval=self.max_poll_interval,
                cancel_on_kill=self.cancel_on_kill and ours,
                cancel_on_timeout=self.cancel_on_timeout and ours,
            ),
            method_name=method_name,
            timeout=timedelta(seconds=max(0.0, limit.deadline - time.time()) + DEFERRAL_GRACE),
        )

    def _finish(self, job: dict[str, Any]) -> dict[str, Any]:
        from airflow_provider_banksync.api.jobs import check_outcome, describe, error_lines

        check_outcome(job, fail_on_job_errors=self.fail_on_job_errors)
        self.log.info("%s", describe(job))
        for line in error_lines(job):
            self.log.warning("The job completed with an error: %s", line)
        return for_xcom(job)  # type: ignore[no-any-return]  # a dict stays a dict

    def _place(self, job: dict[str, Any]) -> str:
        """Say which feed of which client a job is of."""
        name = f" ({self.feed_name!r})" if self.feed_name else ""
        workspace = self.workspace_id or job.get("workspaceId")
        where = f", workspace {workspace}" if workspace else ""
        return f"feed {job.get('feedId')}{name}{where}"

    def _cancel_unheard(self, memory: SyncMemory, why: str, *, wish: bool) -> None:
        """Cancel the job of a request that was torn off before its answer, where there is one."""
        from airflow_provider_banksync.api.jobs import is_active

        try:
            job = memory.asked(self.hook) if wish else None
        except BankSyncError as error:
            self.log.warning("Whether a job was started is not known: %s", error)
            return
        if job is not None and is_active(job):
            feed_id = memory.wanted.feed_id
            if self._cancel(feed_id, job["id"], why, self.hook.cancel_job_quickly) is not None:
                memory.withdraw(job["id"])
