"""Wait for a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.validation import validate_flag
from airflow_provider_banksync.sensors.base import BankSyncSensor
from airflow_provider_banksync.tasks.literals import validate_literal_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence


class BankSyncJobSensor(BankSyncSensor):
    """Wait until a job has ended. Succeed if it completed, and fail if it failed or was cancelled.

    If it failed or was cancelled, Airflow does not retry the task, because the job's status is final.

    Returns the job (a dict). `BankSyncSensor` lists the ways to wait.

    :param feed_id: feed of the job (templated).
    :param job_id: job to wait for (templated).
    :param fail_on_job_errors: fail if the job completed with errors (rows that were not written).
    """

    template_fields: Sequence[str] = ("feed_id", "job_id", "workspace_id", "banksync_conn_id")
    ui_color = "#dcefe6"
    _trigger_path = "airflow_provider_banksync.triggers.sensors.BankSyncJobEndedTrigger"

    def __init__(
        self,
        *,
        feed_id: str,
        job_id: str,
        fail_on_job_errors: bool = False,
        start_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(start_from_trigger=start_from_trigger, **kwargs)
        validate_literal_arguments(feed_id=feed_id, job_id=job_id)
        self.feed_id = feed_id
        self.job_id = job_id
        self.fail_on_job_errors = validate_flag("fail_on_job_errors", fail_on_job_errors)
        self._start_from_trigger(start_from_trigger)

    def _trigger_arguments(self) -> dict[str, Any]:
        return {"feed_id": self.feed_id, "job_id": self.job_id, "fail_on_job_errors": self.fail_on_job_errors}
