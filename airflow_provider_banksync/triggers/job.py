"""Wait for one job on the triggerer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncError, BankSyncJobTimeoutError
from airflow_provider_banksync.tasks.base import progress_logger
from airflow_provider_banksync.triggers import BankSyncTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(kw_only=True, eq=False, repr=False)
class BankSyncJobTrigger(BankSyncTrigger):
    """Fires one event: when the job has ended, when the wait timed out, or when an error ends the wait.

    The event is a dict: ``status`` (``ended``, ``timeout`` or ``error``), ``feed_id``, ``job_id``, ``deadline``,
    ``limit``, and

    - ``job``, with ``ended`` and ``timeout``: the job's last known state, as JSON text;
    - ``cancelled``, with ``timeout``: True, the error of the cancellation, or None if the job was not to be cancelled;
    - ``left_running``, with ``timeout``: how to cancel the job, if the trigger must not cancel it;
    - ``error``, with ``error``: the error's ``type`` and ``message``.

    :param deadline: when to stop, in seconds since the epoch, so that it survives a restart of the triggerer.
    :param ownership: how sure it is that the task started the job: ``proved``, ``inferred`` or ``attached``. Only a
        proved job is cancelled.
    :param limit: what sets the deadline, for the event: ``timeout`` or ``execution_timeout``.
    :param cancel_on_kill: cancel the job if the deferred task is killed (Airflow 3.3 and later).
    :param cancel_on_timeout: cancel the job at the deadline. The task may get a worker long after that.

    The other parameters are those of `BankSyncTriggerSyncOperator`.
    """

    feed_id: str
    job_id: str
    deadline: float
    ownership: str = "proved"
    limit: str = "timeout"
    banksync_conn_id: str = "banksync_default"
    workspace_id: str | None = None
    poll_interval: float = 5
    max_poll_interval: float = 60
    cancel_on_kill: bool = False
    cancel_on_timeout: bool = False

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the event."""
        from airflow_provider_banksync.tasks.trigger_client import load_client_modules

        await load_client_modules()
        from airflow_provider_banksync.tasks.trigger_events import encode_rows, error_to_event
        from airflow_provider_banksync.tasks.xcom import storable

        event: dict[str, Any] = {
            "feed_id": self.feed_id,
            "job_id": self.job_id,
            "deadline": self.deadline,
            "limit": self.limit,
        }
        try:
            event |= {"job": encode_rows(await self._wait()), "status": "ended"}
        except BankSyncJobTimeoutError as error:
            event |= await self._end_after_timeout(error.job)
        except BankSyncError as error:
            if isinstance(error, BankSyncConfigError):
                error.hint += f" Job {self.job_id} of feed {self.feed_id} may still be running."
            event |= {"status": "error", "error": error_to_event(error)}
        yield TriggerEvent(storable(event))

    async def on_kill(self) -> None:
        """Cancel the job of a killed task. Airflow does not call this when the triggerer restarts."""
        if self.cancel_on_kill or self._left_running():
            await self.cancel_if_killed(self._cancel_killed)

    async def _cancel_killed(self) -> None:
        if message := self._left_running():
            self.log.warning("The task was killed. %s", message)
            return
        try:
            job = await self._end_job()
        except BankSyncError as error:
            self.log.warning("Could not cancel job %s of feed %s: %s", self.job_id, self.feed_id, error)
        else:
            self._log_end(job, "the task was killed")

    async def _end_after_timeout(self, job: dict[str, Any] | None) -> dict[str, Any]:
        """Cancel the job if it is the task's, and return the event: the end of the job, or the timeout."""
        from airflow_provider_banksync.api.jobs import ended_by_itself
        from airflow_provider_banksync.tasks.trigger_events import encode_rows

        message = self._left_running()
        cancelled: bool | str | None = None
        if self.cancel_on_timeout and not message:
            try:
                ended = await self._end_job()
            except BankSyncError as error:
                cancelled = str(error)
            else:
                self._log_end(ended, "the task timed out")
                if ended_by_itself(ended):
                    return {"job": encode_rows(ended), "status": "ended"}
                cancelled = True
        return {
            "job": encode_rows(job),
            "status": "timeout",
            "cancelled": cancelled,
            "left_running": message,
        }

    def _left_running(self) -> str:
        from airflow_provider_banksync.api.jobs import Ownership, left_running

        ownership = Ownership(self.ownership)
        return left_running(self.feed_id, self.job_id, ownership, workspace_id=self.workspace_id)

    async def _end_job(self) -> dict[str, Any]:
        config = (await self.open_client()).config
        from airflow_provider_banksync.api.flows import syncs
        from airflow_provider_banksync.api.http import async_client

        # Hundreds may wait for the rate limit, and Airflow allows 30 seconds for a kill.
        async with async_client.AsyncClient(config.for_cancel()) as client:
            return await client.run(syncs.end_job(self.feed_id, self.job_id))

    def _log_end(self, job: dict[str, Any], reason: str) -> None:
        from airflow_provider_banksync.api.jobs import describe, ended_by_itself

        if ended_by_itself(job):
            self.log.info("%s. It ended before the trigger could cancel it.", describe(job))
        else:
            self.log.info("Cancelled job %s of feed %s: %s.", self.job_id, self.feed_id, reason)

    async def _wait(self) -> dict[str, Any]:
        async with await self.open_client() as client:
            from airflow_provider_banksync.api.flows import syncs

            policy, log_progress = self.poll_policy(self.deadline), progress_logger(self.log)
            return await client.run(
                syncs.wait_for_job(self.feed_id, self.job_id, policy, on_progress=log_progress)
            )
