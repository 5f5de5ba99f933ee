"""The triggers of the sensors: wait for a job, for a feed's next sync, or for a bank's connection."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timezone
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_banksync.api.validation import parse_datetime, validate_flag
from airflow_provider_banksync.exceptions import BankSyncError
from airflow_provider_banksync.tasks.base import DEFERRAL_GRACE, progress_logger, require_id
from airflow_provider_banksync.triggers import BankSyncTrigger

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator

    from airflow_provider_banksync.api.flows.conditions import Condition


@dataclass(kw_only=True, eq=False, repr=False)
class BankSyncSensorTrigger(BankSyncTrigger):
    """Fires one event: when the condition is met, when the wait timed out, or when an error ends the wait.

    The event is a dict: ``status`` (``found``, ``timeout`` or ``error``), and

    - ``row``, with ``found``: the row as JSON text;
    - ``message``, with ``timeout``: the last known state;
    - ``error``, with ``error``: the error's ``type`` and ``message``.

    :param deadline: when to stop, in seconds since the epoch, so that it survives a restart of the triggerer. None if
        Airflow started the trigger without a worker: then it stops `leeway` seconds before Airflow ends the deferral.
    :param timeout: seconds to wait from now on. It is used only without `deadline`, and if Airflow passes no end time.
    :param leeway: see `deadline`.
    :param ends_task: if the condition is met, end the task here, without a worker and without a result. In every other
        case a worker ends it, because of retries, ``soft_fail`` and callbacks.
    """

    banksync_conn_id: str = "banksync_default"
    workspace_id: str | None = None
    poll_interval: float = 5
    max_poll_interval: float = 60
    deadline: float | None = None
    timeout: float = 3600
    leeway: float = DEFERRAL_GRACE
    ends_task: bool = False

    def condition(self, log: logging.Logger | Any) -> Condition[Any]:
        """Return the condition to wait for.

        :raises BankSyncConfigError: a rendered argument is wrong.
        """
        raise NotImplementedError

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the event."""
        from airflow_provider_banksync.tasks.trigger_client import load_client_modules

        await load_client_modules()
        from airflow_provider_banksync.api.flows.polling import poll_until
        from airflow_provider_banksync.tasks.trigger_events import encode_rows, error_to_event
        from airflow_provider_banksync.tasks.xcom import storable

        try:
            condition = self.condition(self.log)
            client = await self.open_client()
            policy = self.poll_policy(self._deadline())
            async with client:
                row = await client.run(poll_until(condition, policy))
        except BankSyncError as error:
            yield TriggerEvent({"status": "error", "error": error_to_event(error)})
        else:
            if row is None:
                cause = f" The last poll failed: {condition.last_error}" if condition.last_error else ""
                message = f"the wait timed out. Last known state: {condition.last_seen}.{cause}"
                yield TriggerEvent({"status": "timeout", "message": storable(message)})
            elif self.ends_task:
                yield TaskSuccessEvent()
            else:
                yield TriggerEvent({"status": "found", "row": encode_rows(row)})

    def _deadline(self) -> float:
        if self.deadline is not None:
            return self.deadline
        ends = getattr(self, "timeout_after", None) or getattr(self.task_instance, "trigger_timeout", None)
        if ends is None:
            return time.time() + self.timeout
        aware = ends if ends.tzinfo else ends.replace(tzinfo=timezone.utc)
        return float(aware.timestamp()) - self.leeway


@dataclass(init=False, kw_only=True, eq=False, repr=False)
class BankSyncJobEndedTrigger(BankSyncSensorTrigger):
    """Waits until a job has ended, for `BankSyncJobSensor`. A job that failed or was cancelled is an error."""

    feed_id: str
    job_id: str
    fail_on_job_errors: bool = False

    def __init__(self, *, feed_id: str, job_id: str, fail_on_job_errors: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.feed_id = feed_id
        self.job_id = job_id
        self.fail_on_job_errors = validate_flag("fail_on_job_errors", fail_on_job_errors)

    def condition(self, log: logging.Logger | Any) -> Condition[Any]:
        """Return the condition that the job has ended."""
        from airflow_provider_banksync.api.flows.conditions import JobEnded

        return JobEnded(
            require_id("feed_id", self.feed_id),
            require_id("job_id", self.job_id),
            fail_on_job_errors=self.fail_on_job_errors,
            on_progress=progress_logger(log),
            log=log,
        )


@dataclass(init=False, kw_only=True, eq=False, repr=False)
class BankSyncFeedSyncedTrigger(BankSyncSensorTrigger):
    """Waits until a sync of a feed has completed that ended at or after a moment, for `BankSyncFeedSyncedSensor`."""

    feed_id: str
    synced_after: str
    fail_on_failed_job: bool = False

    def __init__(
        self, *, feed_id: str, synced_after: str, fail_on_failed_job: bool = False, **common: Any
    ) -> None:
        super().__init__(**common)
        self.feed_id = feed_id
        self.synced_after = synced_after
        self.fail_on_failed_job = validate_flag("fail_on_failed_job", fail_on_failed_job)

    def condition(self, log: logging.Logger | Any) -> Condition[Any]:
        """Return the condition that the feed was synced."""
        from airflow_provider_banksync.api.flows.conditions import FeedSynced

        return FeedSynced(
            require_id("feed_id", self.feed_id),
            parse_datetime("synced_after", self.synced_after),
            fail_on_failed_job=self.fail_on_failed_job,
            log=log,
        )


@dataclass(init=False, kw_only=True, eq=False, repr=False)
class BankSyncBankConnectedTrigger(BankSyncSensorTrigger):
    """Waits until a bank's connection works, for `BankSyncBankConnectedSensor`."""

    bank_id: str

    def __init__(self, *, bank_id: str, **common: Any) -> None:
        super().__init__(**common)
        self.bank_id = bank_id

    def condition(self, log: logging.Logger | Any) -> Condition[Any]:
        """Return the condition that the bank is connected."""
        from airflow_provider_banksync.api.flows.conditions import BankConnected

        return BankConnected(require_id("bank_id", self.bank_id), workspace_id=self.workspace_id, log=log)
