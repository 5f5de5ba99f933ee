"""Wait for one job on the triggerer."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.compat import BaseTrigger, TriggerEvent
from airflow_provider_banksync.task import error_payload, progress_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_banksync.api.aio import AsyncClient


class BankSyncJobTrigger(BaseTrigger):
    """Fires once, when the job has ended, when the time is up, or when waiting on makes no sense.

    The event is a dict: ``status`` (``ended``, ``timeout``, ``error``), ``feed_id``, ``job_id``, ``deadline``,
    ``limit``, and

    - ``job``, with ``ended`` and ``timeout``: the job as last seen, as JSON text, so that no digit gets lost;
    - ``cancelled``, with ``timeout``: True, the reason why it could not be, or None where it was not to be;
    - ``error``, with ``error``: the error's ``type`` and ``message``.

    :param feed_id: feed that the job belongs to.
    :param job_id: job to wait for.
    :param deadline: moment when to give up, in seconds since the epoch, so that it survives a restart or a move to
        another triggerer.
    :param limit: what the deadline comes from, for the event.
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal that the feed lives in; None: the connection's workspace.
    :param poll_interval: seconds between the first looks; grows by half each time.
    :param max_poll_interval: seconds between looks at most.
    :param cancel_on_kill: cancel the job when somebody kills the deferred task (Airflow 3.3 and later tell triggers).
    :param cancel_on_timeout: cancel the job when the time is up, here: the task may get a worker long after that.
    """

    def __init__(
        self,
        *,
        feed_id: str,
        job_id: str,
        deadline: float,
        limit: str = "timeout",
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        poll_interval: float = 5,
        max_poll_interval: float = 60,
        cancel_on_kill: bool = False,
        cancel_on_timeout: bool = False,
    ) -> None:
        super().__init__()
        self.feed_id = feed_id
        self.job_id = job_id
        self.deadline = deadline
        self.limit = limit
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and every argument; the connection's secret is in none of them."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "feed_id": self.feed_id,
                "job_id": self.job_id,
                "deadline": self.deadline,
                "limit": self.limit,
                "banksync_conn_id": self.banksync_conn_id,
                "workspace_id": self.workspace_id,
                "poll_interval": self.poll_interval,
                "max_poll_interval": self.max_poll_interval,
                "cancel_on_kill": self.cancel_on_kill,
                "cancel_on_timeout": self.cancel_on_timeout,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event."""
        from airflow_provider_banksync.exceptions import BankSyncError, BankSyncJobTimeoutError

        try:
            event = self._event("ended", job=await self._wait())
        except BankSyncJobTimeoutError as error:
            cancelled = await self._cancel("it took too long") if self.cancel_on_timeout else None
            event = self._event("timeout", job=error.job, cancelled=cancelled)
        except BankSyncError as error:
            event = self._event("error", error=error_payload(error))
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Cancel the job that nobody waits for any more. A mere restart of the triggerer does not come here."""
        if self.cancel_on_kill:
            await self._cancel("its task was killed")

    async def _cancel(self, why: str) -> bool | str:
        """Cancel the job; True, or why it could not be."""
        from airflow_provider_banksync.exceptions import BankSyncError

        try:
            config = (await self._client()).config
            from airflow_provider_banksync.api import aio, conversations

            # Not in the queue of the rate budget, where hundreds may wait: Airflow gives a kill 30 seconds.
            async with aio.AsyncClient(config, in_budget=False) as client:
                await client.run(conversations.cancel_job(self.feed_id, self.job_id))
        except BankSyncError as error:
            self.log.warning("Could not cancel job %s of feed %s: %s", self.job_id, self.feed_id, error)
            return str(error)
        self.log.info("Cancelled job %s of feed %s: %s.", self.job_id, self.feed_id, why)
        return True

    async def _wait(self) -> dict[str, Any]:
        async with await self._client() as client:
            from airflow_provider_banksync.api import conversations

            polling = conversations.Polling(
                interval=self.poll_interval,
                longest=self.max_poll_interval,
                deadline=self.deadline,
                clock=time.time,
                rng=random.random,
            )
            return await client.run(
                conversations.wait_for_job(
                    self.feed_id, self.job_id, polling, on_progress=progress_log(self.log)
                )
            )

    async def _client(self) -> AsyncClient:
        from airflow_provider_banksync.async_client import open_client

        return await open_client(self.banksync_conn_id, self.workspace_id)

    def _event(self, status: str, *, job: Any = None, **more: Any) -> dict[str, Any]:
        from airflow_provider_banksync.api import codec

        event = {
            "status": status,
            "feed_id": self.feed_id,
            "job_id": self.job_id,
            "deadline": self.deadline,
            "limit": self.limit,
            **more,
        }
        if job is not None:
            event["job"] = codec.dumps(job).decode()
        return event


def job_of_event(event: Any) -> dict[str, Any]:
    """Return the ended job that an event of `BankSyncJobTrigger` tells of.

    :raises BankSyncJobTimeoutError: the time was up; `.job` is the job as last seen.
    :raises BankSyncError: what the trigger met; or the event is none that this version knows.
    """
    from airflow_provider_banksync.api import codec, jobs
    from airflow_provider_banksync.exceptions import BankSyncError, BankSyncJobTimeoutError
    from airflow_provider_banksync.task import raise_error

    if not isinstance(event, dict):
        raise BankSyncError(f"the trigger sent {type(event).__name__}, not the event of a job.")
    if event.get("status") == "error" and isinstance(event.get("error"), dict):
        raise_error(event["error"])
    if event.get("status") not in ("ended", "timeout") or not isinstance(event.get("job"), str):
        raise BankSyncError(f"the trigger sent an event of an unknown kind: status {event.get('status')!r}.")
    job: dict[str, Any] = codec.loads(event["job"])
    if event["status"] == "timeout":
        raise BankSyncJobTimeoutError(
            f"the time to wait was over, and not the {jobs.describe(job)}.", job=job
        )
    return job
