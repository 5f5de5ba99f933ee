"""Triggers. `BankSyncTrigger` is the base of all of them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger

from airflow_provider_banksync.api.validation import validate_flag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_banksync.api.flows.polling import PollPolicy
    from airflow_provider_banksync.api.http.async_client import AsyncClient

#: Seconds that `on_kill` waits. Airflow allows 30.
KILL_TIMEOUT = 28.0

#: Cancellations of killed tasks' jobs. A slow Airflow needs longer to answer than `on_kill` may wait.
_running: set[asyncio.Future[None]] = set()


class BankSyncTrigger(BaseTrigger):
    """Base of the triggers. A trigger is a dataclass, and Airflow stores its fields."""

    banksync_conn_id: str
    workspace_id: str | None
    poll_interval: float
    max_poll_interval: float

    def __post_init__(self) -> None:
        """Check the flags, and initialize Airflow's base class."""
        super().__init__()
        for field in fields(self):  # type: ignore[arg-type]  # a dataclass
            if field.init and field.type == "bool" and hasattr(self, field.name):
                validate_flag(field.name, getattr(self, field.name))

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class and all arguments. No secret of the connection is among them."""
        from airflow_provider_banksync.tasks.xcom import storable

        names = [field.name for field in fields(self) if field.init]  # type: ignore[arg-type]  # a dataclass
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {name: storable(getattr(self, name)) for name in names}

    async def open_client(self) -> AsyncClient:
        """Return a client of the trigger's connection and workspace."""
        from airflow_provider_banksync.tasks.trigger_client import open_client

        return await open_client(self.banksync_conn_id, self.workspace_id)

    def poll_policy(self, deadline: float) -> PollPolicy:
        """Return when to poll, until the deadline (seconds since the epoch)."""
        from airflow_provider_banksync.api.flows.polling import PollPolicy

        return PollPolicy(
            initial_interval=self.poll_interval,
            max_interval=self.max_poll_interval,
            deadline=deadline,
            clock=time.time,
            rng=random.random,
        )

    async def cancel_if_killed(self, cancel: Callable[[], Awaitable[None]]) -> None:
        """Cancel the trigger's jobs if the task was killed, for example by a user who marked it as failed.

        Airflow 3.3 also calls `on_kill` in a triggerer that was paused, or had lost the database, while another one
        took over its triggers. In that case, the task still waits for the jobs, and nothing is cancelled. The check
        goes on after `on_kill` has returned.

        :param cancel: cancels the jobs.
        """

        async def cancel_after_check() -> None:
            if await self._was_killed():
                await cancel()

        running = asyncio.ensure_future(cancel_after_check())
        _running.add(running)
        running.add_done_callback(_running.discard)
        end = time.monotonic() + KILL_TIMEOUT
        while not running.done() and (left := end - time.monotonic()) > 0:
            # Airflow repeats its cancellation, once a second or so, until the trigger has ended.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running}, timeout=left)
        if running.done():
            running.result()
        else:
            self.log.warning(
                "Airflow or BankSync has not answered within %.0f s. If the task was killed, this triggerer cancels its"
                " jobs as soon as both answer.",
                KILL_TIMEOUT,
            )

    async def _was_killed(self) -> bool:
        """Ask Airflow whether the task is no longer deferred. If the answer is unknown, return False."""
        try:
            state = await asyncio.to_thread(self._task_state)
        except Exception as error:  # noqa: BLE001 - without an answer, for whatever reason, nothing is cancelled
            self.log.warning(
                "Cancelled nothing: the state of the task is unknown (%s: %s). If the task was killed, cancel its jobs"
                " in BankSync.",
                type(error).__name__,
                error,
            )
            return False
        if state == "deferred":
            self.log.info(
                "Cancelled nothing: the task is still deferred, and another triggerer waits for it."
            )
        return state != "deferred"

    def _task_state(self) -> str | None:
        from airflow_provider_banksync.compat import task_state

        return task_state(self.task_instance)
