"""Cancel a job; have a feed learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator

from airflow_provider_banksync.api.checks import one_of
from airflow_provider_banksync.exceptions import BankSyncConflictError, BankSyncError
from airflow_provider_banksync.operators.feeds import BankSyncFeedOperator
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
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

IF_ENDED = ("succeed", "skip", "fail")
#: Seconds between looks at a job that is being cancelled.
_POLL, _LONGEST_POLL = 1.0, 10.0


class BankSyncCancelMixin(BankSyncTaskMixin):
    """For operators that cancel a job of theirs."""

    log: Any

    def _cancel(
        self, feed_id: str, job_id: str, why: str, cancel: Callable[[str, str], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Cancel as well as can be: whatever comes of it, the task ends for its own reason.

        Returns the job as it is then; None where it could not be cancelled.
        """
        try:
            job = cancel(feed_id, job_id)
        except BankSyncError as error:
            self._say_cancelled(feed_id, job_id, str(error))
            return None
        self._say_cancelled(feed_id, job_id, True, why)
        return job

    def _say_cancelled(
        self, feed_id: str, job_id: str, outcome: bool | str | None, why: str = "it took too long"
    ) -> None:
        """Log what came of cancelling: True, the reason why it failed, or None where nobody wanted it."""
        if outcome is True:
            self.log.info("Cancelled job %s of feed %s: %s.", job_id, feed_id, why)
        elif outcome:
            self.log.warning("Could not cancel job %s of feed %s: %s", job_id, feed_id, outcome)


class BankSyncCancelJobOperator(BankSyncTaskMixin, BaseOperator):
    """Cancel a job, and see that it has ended: its feed is then free for the next one.

    Returns the job (a dict) as it ended. A job that is cancelled already, by whomever, is a success in every case: the
    task may be tried again.

    :param feed_id: feed that the job belongs to (templated).
    :param job_id: job to cancel (templated).
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal that the feed lives in (templated); None: the connection's workspace.
    :param if_ended: what to do where the job ended before it could be cancelled, well or not. ``succeed``: nothing,
        there is no job any more, which was the point; the result tells how it ended. ``skip``: skip the task.
        ``fail``: fail it.
    :param timeout: seconds to wait for a job that goes on for a while although it was cancelled.
    """

    template_fields: Sequence[str] = ("feed_id", "job_id", "workspace_id", "banksync_conn_id")
    ui_color = "#f6e3dc"

    def __init__(
        self,
        *,
        feed_id: str,
        job_id: str,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        if_ended: str = "succeed",
        timeout: float | timedelta = 300,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feed_id = feed_id
        self.job_id = job_id
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id
        self.if_ended = one_of("if_ended", if_ended, IF_ENDED)
        self.timeout = seconds("timeout", timeout)

    def execute(self, context: Context) -> dict[str, Any]:
        """Cancel, and look how the job ended."""
        from airflow_provider_banksync.api.jobs import JobStatus, describe, is_ended

        with permanent_errors_fail(BankSyncConflictError):
            feed_id, job_id = require_id("feed_id", self.feed_id), require_id("job_id", self.job_id)
            try:
                job = self.hook.cancel_job(feed_id, job_id)
            except BankSyncConflictError:
                job = self.hook.get_job(feed_id, job_id)
            if not is_ended(job):
                job = self.hook.wait_for_job(
                    feed_id,
                    job_id,
                    self.timeout,
                    _POLL,
                    max_poll_interval=_LONGEST_POLL,
                    on_progress=progress_log(self.log),
                )
            if job.get("status") == JobStatus.CANCELLED:
                self.log.info("Cancelled: %s.", describe(job))
            else:
                self._ended(f"It had ended already: {describe(job)}.")
        return for_xcom(job)  # type: ignore[no-any-return]  # a dict stays a dict

    def _ended(self, words: str) -> None:
        if self.if_ended == "skip":
            raise AirflowSkipException(words)
        if self.if_ended == "fail":
            raise BankSyncConflictError(words)
        self.log.info("%s", words)


class BankSyncTriggerLearnOperator(BankSyncFeedOperator):
    """Have a feed's memory enrichment learn from what the feed's destination holds now.

    Returns what the API says about it (a dict). BankSync learns in the background, and tells nobody when it is done.
    Learning twice does no harm: a task whose request got no answer fails for its retries.

    :param feed_id: the feed (templated). Give this or `feed_name`.
    :param feed_name: name of the feed (templated); must be unique in its workspace.
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal that the feed lives in (templated); None: the connection's workspace.
    """

    ui_color = "#dcefe6"

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask for it."""
        with permanent_errors_fail():
            feed_id = self._find_feed_id()
            answer = self.hook.trigger_learn(feed_id)
            self.log.info("Feed %s learns from its destination.", feed_id)
            return for_xcom(answer)  # type: ignore[no-any-return]  # a dict stays a dict
