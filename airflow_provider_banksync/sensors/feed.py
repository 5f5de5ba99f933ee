"""Wait for the next sync of a feed."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.validation import parse_datetime, validate_flag
from airflow_provider_banksync.sensors.base import BankSyncSensor
from airflow_provider_banksync.tasks.literals import validate_literal_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The end of the run's data interval. A run without one (a manual run on Airflow 3) uses the time when it may start.
END_OF_INTERVAL = (
    "{{ data_interval_end if data_interval_end is defined and data_interval_end else dag_run.run_after }}"
)


class BankSyncFeedSyncedSensor(BankSyncSensor):
    """Wait for a completed sync of a feed that ended at or after a moment. Use it for feeds on BankSync's own schedule.

    The end of the job counts, so a job that began before that moment is accepted if it ended at or after it. A job that
    ended before it is never accepted: all its data was read before. A job that has no ``completedAt`` counts with its
    ``updatedAt``. A sync of given days (``startDate``, ``endDate``) counts, whatever these days are.

    The API does not tell when a job read the bank's data. It was read at some time between ``startedAt`` and
    ``completedAt``. If all of it must be read after a moment, compare ``startedAt`` of the returned job, or set
    `synced_after` later by the time that the feed's longest sync takes.

    Returns the newest such job (a dict). The API's time counts, not the clock of this machine. A sync that completed
    with errors (rows that were not written) counts, and is logged as a warning.

    This waits for the first sync after midnight UTC:

    .. code-block:: python

        BankSyncFeedSyncedSensor(
            task_id="synced", feed_id="{{ params.feed_id }}", synced_after="{{ data_interval_end | ds }}"
        )

    `BankSyncSensor` lists the ways to wait.

    :param feed_id: the feed (templated).
    :param synced_after: a datetime, a date, or ISO 8601 text (templated), in UTC if it has no offset. A date is its
        midnight. The default is the end of the run's data interval.
    :param fail_on_failed_job: fail the task at once if a job failed since that moment and none completed. False logs a
        failed job as a warning and waits for a later one, as for a cancelled job.
    """

    template_fields: Sequence[str] = ("feed_id", "synced_after", "workspace_id", "banksync_conn_id")
    ui_color = "#dcefe6"
    _trigger_path = "airflow_provider_banksync.triggers.sensors.BankSyncFeedSyncedTrigger"

    def __init__(
        self,
        *,
        feed_id: str,
        synced_after: datetime | date | str = END_OF_INTERVAL,
        fail_on_failed_job: bool = False,
        start_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(start_from_trigger=start_from_trigger, **kwargs)
        if isinstance(synced_after, str) and "{" not in synced_after:
            parse_datetime("synced_after", synced_after)
        validate_literal_arguments(feed_id=feed_id)
        self.feed_id = feed_id
        self.synced_after = synced_after
        self.fail_on_failed_job = validate_flag("fail_on_failed_job", fail_on_failed_job)
        self._start_from_trigger(start_from_trigger)

    def _trigger_arguments(self) -> dict[str, Any]:
        after = self.synced_after
        return {
            "feed_id": self.feed_id,
            "synced_after": after.isoformat() if isinstance(after, date) else after,
            "fail_on_failed_job": self.fail_on_failed_job,
        }
