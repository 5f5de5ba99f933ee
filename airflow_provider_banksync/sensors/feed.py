"""Wait until a feed is synced, whoever starts it."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.sensors.base import BankSyncSensor
from airflow_provider_banksync.task import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The end of the run's data interval; a run that has none (a manual one on Airflow 3) counts from when it may run.
END_OF_INTERVAL = (
    "{{ data_interval_end if data_interval_end is defined and data_interval_end else dag_run.run_after }}"
)


class BankSyncFeedSyncedSensor(BankSyncSensor):
    """Wait for a completed sync of a feed that ended at or after a moment: for feeds on BankSync's own schedule.

    Returns the job (a dict): the newest that qualifies. When it ended is what the API says; the clocks of this
    machine do not matter. A sync that completed although some rows did not write counts, and is warned of in the log.

    .. code-block:: python

        BankSyncFeedSyncedSensor(
            task_id="synced", feed_id="{{ params.feed_id }}", synced_after="{{ data_interval_end | ds }}"
        )

    waits for the first sync of the day, midnight UTC being the start of it. Modes of waiting: see `BankSyncSensor`.

    :param feed_id: the feed (templated).
    :param synced_after: a datetime, a date, or ISO 8601 text (templated); without an offset, it is UTC; a day is its
        first instant, midnight UTC. The default is the end of the run's data interval, so that the sync has seen all of
        it.
    :param fail_on_failed_job: fail the task at once where a job failed since then, and none completed. Otherwise a
        failed job is warned of in the log, and a later one awaited; a cancelled one always is.
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
            moment("synced_after", synced_after)
        self.feed_id = feed_id
        self.synced_after = synced_after
        self.fail_on_failed_job = fail_on_failed_job
        self._start_from_trigger(start_from_trigger)

    def _trigger_arguments(self) -> dict[str, Any]:
        after = self.synced_after
        return {
            "feed_id": self.feed_id,
            "synced_after": after.isoformat() if isinstance(after, date) else after,
            "fail_on_failed_job": self.fail_on_failed_job,
        }
