"""Wait for a job that somebody else started."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_banksync.exceptions import BankSyncError, BankSyncJobError, BankSyncJobTimeoutError
from airflow_provider_banksync.task import (
    BankSyncTaskMixin,
    for_xcom,
    permanent_errors_fail,
    progress_log,
    require_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.providers.common.compat.sdk import Context

#: As in `operators.sync`: the trigger's deadline comes first, and the task hears what the job was doing.
_DEFERRAL_GRACE = 600


class BankSyncJobSensor(BankSyncTaskMixin, BaseSensorOperator):
    """Wait until a job has ended; succeed when it completed, fail when it failed or was cancelled.

    A job that did not end well fails the sensor at once, without retries: it cannot end another way any more.

    Returns the job (a dict). All of Airflow's ways to wait work: ``mode="poke"``, ``mode="reschedule"``, and
    ``deferrable=True``; ``timeout`` and ``soft_fail`` mean in each what they mean to Airflow.

    :param feed_id: feed that the job belongs to (templated).
    :param job_id: job to wait for (templated).
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal that the feed lives in (templated); None: the connection's workspace.
    :param fail_on_job_errors: fail where the job completed, but with errors (rows that did not write).
    :param deferrable: wait on the triggerer, without a worker. ``poke_interval`` is then the longest time between
        looks; the first ones come sooner.
    """

    template_fields: Sequence[str] = ("feed_id", "job_id", "workspace_id", "banksync_conn_id")
    ui_color = "#dcefe6"

    def __init__(
        self,
        *,
        feed_id: str,
        job_id: str,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        fail_on_job_errors: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feed_id = feed_id
        self.job_id = job_id
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id
        self.fail_on_job_errors = fail_on_job_errors
        self.deferrable = deferrable
        self._progress: Callable[[Any], None] | None = None

    def execute(self, context: Context) -> Any:
        """Wait, here or on the triggerer."""
        with permanent_errors_fail():
            feed_id, job_id = require_id("feed_id", self.feed_id), require_id("job_id", self.job_id)
        if not self.deferrable:
            return super().execute(context)
        self._defer(feed_id, job_id)
        return None

    def poke(self, context: Context) -> PokeReturnValue:
        """Look at the job once. A look that fails for a passing reason counts as "not yet"."""
        from airflow_provider_banksync.api.jobs import is_ended

        with permanent_errors_fail(BankSyncJobError):
            try:
                job = self.hook.get_job(self.feed_id, self.job_id)
            except BankSyncError as error:
                if not error.transient:
                    raise
                self.log.warning("Could not look at job %s: %s Waiting on.", self.job_id, error)
                return PokeReturnValue(is_done=False)
            if self._progress is None:
                self._progress = progress_log(self.log)
            self._progress(job)
            if not is_ended(job):
                return PokeReturnValue(is_done=False)
            return PokeReturnValue(is_done=True, xcom_value=self._finish(job))

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Come back from the triggerer."""
        from airflow_provider_banksync.triggers.job import job_of_event

        try:
            with permanent_errors_fail():
                job = job_of_event(event)
        except BankSyncJobTimeoutError as error:
            raise AirflowSensorTimeout(str(error)) from error
        with permanent_errors_fail(BankSyncJobError):
            return self._finish(job)

    def _defer(self, feed_id: str, job_id: str) -> None:
        from airflow_provider_banksync.triggers.job import BankSyncJobTrigger

        self.defer(
            trigger=BankSyncJobTrigger(
                feed_id=feed_id,
                job_id=job_id,
                deadline=time.time() + self.timeout,
                banksync_conn_id=self.banksync_conn_id,
                workspace_id=self.workspace_id or None,
                poll_interval=min(5.0, self.poke_interval),
                max_poll_interval=self.poke_interval,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout + _DEFERRAL_GRACE),
        )

    def _finish(self, job: dict[str, Any]) -> dict[str, Any]:
        from airflow_provider_banksync.api.jobs import check_outcome

        return for_xcom(check_outcome(job, fail_on_job_errors=self.fail_on_job_errors))  # type: ignore[no-any-return]
