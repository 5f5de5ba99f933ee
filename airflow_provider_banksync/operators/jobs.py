"""Cancel a job; make a feed learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator

from airflow_provider_banksync.api.validation import IF_ENDED, validate_choice, validate_seconds
from airflow_provider_banksync.exceptions import BankSyncConflictError
from airflow_provider_banksync.operators.feeds import BankSyncFeedOperator
from airflow_provider_banksync.tasks.base import (
    BankSyncTaskMixin,
    fail_on_permanent_errors,
    progress_logger,
    require_id,
)
from airflow_provider_banksync.tasks.literals import validate_literal_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.validation import IfEnded

#: Seconds between polls of a job that is being cancelled: the first, and the maximum.
_POLL_INTERVAL, _MAX_POLL_INTERVAL = 1.0, 10.0


class BankSyncCancelJobOperator(BankSyncTaskMixin, BaseOperator):
    """Cancel a job and wait until it has ended. Its feed is then free for the next sync.

    Returns the job (a dict) as it ended. A job that was cancelled before is a success in every case, so the task can be
    retried. If BankSync does not find the job, the task fails after a minute, because the job may be new.

    :param feed_id: feed of the job (templated).
    :param job_id: job to cancel (templated).
    :param banksync_conn_id: connection to use.
    :param workspace_id: workspace of the feed, for example a portal (templated); None for the connection's.
    :param if_ended: what to do if the job completed or failed before it could be cancelled. ``succeed``: return the
        job. ``skip``: skip the task. ``fail``: fail the task.
    :param timeout: seconds to wait for a cancelled job to end.
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
        if_ended: IfEnded = "succeed",
        timeout: float | timedelta = 300,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        validate_literal_arguments(feed_id=feed_id, job_id=job_id, workspace_id=workspace_id)
        self.feed_id = feed_id
        self.job_id = job_id
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id
        self.if_ended = validate_choice("if_ended", if_ended, IF_ENDED)
        self.timeout = validate_seconds("timeout", timeout)

    def execute(self, context: Context) -> dict[str, Any]:
        """Cancel the job and return it as it ended."""
        from airflow_provider_banksync.api.flows import syncs
        from airflow_provider_banksync.api.jobs import JobStatus, describe, is_ended

        with fail_on_permanent_errors(BankSyncConflictError):
            feed_id, job_id = require_id("feed_id", self.feed_id), require_id("job_id", self.job_id)
            job = self.hook.get_conn().run(syncs.end_job(feed_id, job_id))
            if not is_ended(job):
                job = self.hook.wait_for_job(
                    feed_id,
                    job_id,
                    self.timeout,
                    _POLL_INTERVAL,
                    max_poll_interval=_MAX_POLL_INTERVAL,
                    on_progress=progress_logger(self.log),
                )
            if job.get("status") == JobStatus.CANCELLED:
                self.log.info("Cancelled the %s.", describe(job))
            else:
                self._handle_ended(f"The job had ended before it could be cancelled: {describe(job)}.")
        return self.to_xcom(job)  # type: ignore[no-any-return]  # a dict stays a dict

    def _handle_ended(self, message: str) -> None:
        if self.if_ended == "skip":
            raise AirflowSkipException(message)
        if self.if_ended == "fail":
            raise BankSyncConflictError(message)
        self.log.info("%s", message)


class BankSyncTriggerLearnOperator(BankSyncFeedOperator):
    """Make the memory enrichment of a feed learn from the current content of the feed's destination.

    Returns the API's answer (a dict). BankSync learns in the background and does not report the end. Learning twice
    has no further effect, so Airflow may retry the task.

    :param feed_id: the feed (templated). Pass this or `feed_name`.
    :param feed_name: name of the feed (templated). It must be unique in its workspace.
    :param banksync_conn_id: connection to use.
    :param workspace_id: workspace of the feed, for example a portal (templated); None for the connection's.
    """

    ui_color = "#dcefe6"

    def execute(self, context: Context) -> dict[str, Any]:
        """Request the learning."""
        with fail_on_permanent_errors():
            feed_id = self._find_feed_id()
            answer = self._outlasting(lambda: self.hook.trigger_learn(feed_id))()
            self.log.info("BankSync is learning from the destination of feed %s.", feed_id)
            return self.to_xcom(answer)  # type: ignore[no-any-return]  # a dict stays a dict
