"""What the sensors wait for, on the triggerer: a job, a feed's next sync, a bank's connection."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timezone
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.compat import BaseTrigger, TaskSuccessEvent, TriggerEvent
from airflow_provider_banksync.task import error_payload, moment, progress_log, require_id

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator

    from airflow_provider_banksync.api.watches import Watch

#: Airflow's own timeout of a deferral comes this much (seconds) after the trigger's deadline, so that the trigger has
#: the time for a last look and the task hears what it saw.
DEFERRAL_GRACE = 600.0


class BankSyncSensorTrigger(BaseTrigger):
    """Fires once: when there is what the sensor waits for, when the time is up, or when waiting on makes no sense.

    The event is a dict: ``status`` (``found``, ``timeout``, ``error``) and

    - ``found``, with ``found``: the row as JSON text, so that no digit gets lost;
    - ``message``, with ``timeout``: what was seen last;
    - ``error``, with ``error``: the error's ``type`` and ``message``.

    :param banksync_conn_id: connection to use.
    :param workspace_id: portal to look in; None: the connection's workspace.
    :param poll_interval: seconds between the first looks; grows by half each time.
    :param max_poll_interval: seconds between looks at most.
    :param deadline: moment when to give up, in seconds since the epoch, so that it survives a restart or a move to
        another triggerer. None, where Airflow started the trigger without a worker: `leeway` seconds before Airflow's
        own timeout of the deferral.
    :param timeout: seconds to wait, counted from here, where there is neither of the two.
    :param leeway: see `deadline`.
    :param ends_task: end the task right here when it is found, without a worker and without a result. Every other
        ending is a worker's: there are retries, ``soft_fail`` and callbacks.
    """

    #: What makes one wait different from another of its kind, beside what they all take.
    arguments: tuple[str, ...] = ()
    _common = (
        "banksync_conn_id",
        "workspace_id",
        "poll_interval",
        "max_poll_interval",
        "deadline",
        "timeout",
        "leeway",
        "ends_task",
    )

    def __init__(
        self,
        *,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        poll_interval: float = 5,
        max_poll_interval: float = 60,
        deadline: float | None = None,
        timeout: float = 3600,
        leeway: float = DEFERRAL_GRACE,
        ends_task: bool = False,
    ) -> None:
        super().__init__()
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.deadline = deadline
        self.timeout = timeout
        self.leeway = leeway
        self.ends_task = ends_task

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and every argument; the connection's secret is in none of them."""
        names = (*self.arguments, *self._common)
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {name: getattr(self, name) for name in names},
        )

    def watch(self, log: logging.Logger | Any) -> Watch[Any]:
        """Return what to look at, and what to make of it.

        :raises BankSyncConfigError: an argument, rendered by now, is wrong.
        """
        raise NotImplementedError

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event."""
        # The first trigger of a triggerer loads the client: in a thread, because that takes longer than the loop may
        # stand still.
        for module in ("hooks.banksync", "api.aio", "api.waits", "api.watches"):
            await asyncio.to_thread(import_module, f"airflow_provider_banksync.{module}")
        from airflow_provider_banksync.api import codec
        from airflow_provider_banksync.exceptions import BankSyncError

        try:
            watch = self.watch(self.log)
            row = await self._wait(watch)
        except BankSyncError as error:
            yield TriggerEvent({"status": "error", "error": error_payload(error)})
        else:
            if row is None:
                message = f"the time to wait was over; {watch.words}."
                yield TriggerEvent({"status": "timeout", "message": message})
            elif self.ends_task:
                yield TaskSuccessEvent()
            else:
                yield TriggerEvent({"status": "found", "found": codec.dumps(row).decode()})

    async def _wait(self, watch: Watch[Any]) -> dict[str, Any] | None:
        from airflow_provider_banksync.async_client import open_client

        client = await open_client(self.banksync_conn_id, self.workspace_id)
        from airflow_provider_banksync.api import conversations, waits

        polling = conversations.Polling(
            interval=self.poll_interval,
            longest=self.max_poll_interval,
            deadline=self._deadline(),
            clock=time.time,
            rng=random.random,
        )
        async with client:
            return await client.run(waits.wait_until(watch, polling))

    def _deadline(self) -> float:
        if self.deadline is not None:
            return self.deadline
        ends = getattr(self, "timeout_after", None) or getattr(self.task_instance, "trigger_timeout", None)
        if ends is None:
            return time.time() + self.timeout
        aware = ends if ends.tzinfo else ends.replace(tzinfo=timezone.utc)
        return float(aware.timestamp()) - self.leeway


class BankSyncJobEndedTrigger(BankSyncSensorTrigger):
    """Waits until a job has ended; one that did not end well is an error.

    :param feed_id: feed that the job belongs to.
    :param job_id: job to wait for.
    :param fail_on_job_errors: a job that completed with errors did not end well.
    """

    arguments = ("feed_id", "job_id", "fail_on_job_errors")

    def __init__(self, *, feed_id: str, job_id: str, fail_on_job_errors: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.feed_id = feed_id
        self.job_id = job_id
        self.fail_on_job_errors = fail_on_job_errors

    def watch(self, log: logging.Logger | Any) -> Watch[Any]:
        """Look at the job."""
        from airflow_provider_banksync.api.watches import JobWatch

        return JobWatch(
            require_id("feed_id", self.feed_id),
            require_id("job_id", self.job_id),
            fail_on_job_errors=self.fail_on_job_errors,
            on_progress=progress_log(log),
            log=log,
        )


class BankSyncFeedSyncedTrigger(BankSyncSensorTrigger):
    """Waits until a job of a feed has completed that ended at or after a moment.

    :param feed_id: the feed.
    :param synced_after: the moment, as ISO 8601 text.
    :param fail_on_failed_job: a job that failed since then is an error, unless another one completed.
    """

    arguments = ("feed_id", "synced_after", "fail_on_failed_job")

    def __init__(
        self, *, feed_id: str, synced_after: str, fail_on_failed_job: bool = False, **common: Any
    ) -> None:
        super().__init__(**common)
        self.feed_id = feed_id
        self.synced_after = synced_after
        self.fail_on_failed_job = fail_on_failed_job

    def watch(self, log: logging.Logger | Any) -> Watch[Any]:
        """Look at the feed's jobs."""
        from airflow_provider_banksync.api.watches import SyncWatch

        return SyncWatch(
            require_id("feed_id", self.feed_id),
            moment("synced_after", self.synced_after),
            fail_on_failed_job=self.fail_on_failed_job,
            log=log,
        )


class BankSyncBankConnectedTrigger(BankSyncSensorTrigger):
    """Waits until a bank's connection works.

    :param bank_id: the bank.
    """

    arguments = ("bank_id",)

    def __init__(self, *, bank_id: str, **common: Any) -> None:
        super().__init__(**common)
        self.bank_id = bank_id

    def watch(self, log: logging.Logger | Any) -> Watch[Any]:
        """Look at the bank."""
        from airflow_provider_banksync.api.watches import BankWatch

        return BankWatch(require_id("bank_id", self.bank_id), workspace_id=self.workspace_id, log=log)


def row_of_event(event: Any) -> dict[str, Any] | None:
    """Return the row that an event of a sensor's trigger tells of; None when the time was up.

    :raises BankSyncError: what the trigger met; or the event is none that this version knows.
    """
    from airflow_provider_banksync.api import codec
    from airflow_provider_banksync.exceptions import BankSyncError
    from airflow_provider_banksync.task import raise_error

    if not isinstance(event, dict):
        raise BankSyncError(f"the trigger sent {type(event).__name__}, not the event of a sensor.")
    if event.get("status") == "error" and isinstance(event.get("error"), dict):
        raise_error(event["error"])
    if event.get("status") == "timeout":
        return None
    if event.get("status") != "found" or not isinstance(event.get("found"), str):
        raise BankSyncError(f"the trigger sent an event of an unknown kind: status {event.get('status')!r}.")
    row: dict[str, Any] = codec.loads(event["found"])
    return row
