"""Wait for a job that somebody else started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.sensors.base import BankSyncSensor

if TYPE_CHECKING:
    from collections.abc import Sequence


class BankSyncJobSensor(BankSyncSensor):
    """Wait until a job has ended; succeed when it completed, fail when it failed or was cancelled.

    A job that did not end well fails the sensor at once, without retries: it cannot end another way any more.

    Returns the job (a dict). All of Airflow's ways to wait work: ``mode="poke"``, ``mode="reschedule"``,
    ``deferrable=True``, and ``start_from_trigger=True`` (see `BankSyncSensor`).

    :param feed_id: feed that the job belongs to (templated).
    :param job_id: job to wait for (templated).
    :param fail_on_job_errors: fail where the job completed, but with errors (rows that did not write).
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
        self.feed_id = feed_id
        self.job_id = job_id
        self.fail_on_job_errors = fail_on_job_errors
        self._start_from_trigger(start_from_trigger)

    def _trigger_arguments(self) -> dict[str, Any]:
        return {
            "feed_id": self.feed_id,
            "job_id": self.job_id,
            "fail_on_job_errors": self.fail_on_job_errors,
        }
