"""Drives a run over many feeds with several requests under way: on an event loop, or on one in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.aio import AsyncClient
from airflow_provider_banksync.exceptions import BankSyncError

if TYPE_CHECKING:
    from airflow_provider_banksync.api.config import ClientConfig
    from airflow_provider_banksync.api.family import FamilyRun

#: Requests under way at a time. Each waits for its turn in the rate budget, where no more than these are ahead of
#: what else uses the key; and they are enough to use up any budget.
WIDTH = 8
#: The same for a task that is being killed, which does not wait for the budget; and how long one request may take.
KILL_WIDTH = 32
KILL_TIMEOUT = 5.0
#: How long cancelling may take in all. Airflow allows 30 seconds in the triggerer, and as much or more in a worker.
KILL_SECONDS = 25.0


async def drive(run: FamilyRun, client: AsyncClient, width: int = WIDTH) -> None:
    """See the run to its end.

    :raises BankSyncError: one that concerns every feed; what was under way is dropped.
    """
    tasks: set[asyncio.Task[None]] = set()
    try:
        while not run.over:
            while len(tasks) < width and (step := run.next_step()) is not None:
                tasks.add(asyncio.ensure_future(client.run(step)))
            pause = run.seconds_to_next()
            if not tasks:
                await asyncio.sleep(pause)
                continue
            # With all hands busy, nothing that falls due could be done.
            timeout = pause if len(tasks) < width else None
            done, tasks = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            run.report()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def withdraw(run: FamilyRun, config: ClientConfig, seconds: float = KILL_SECONDS) -> bool:
    """Cancel every job that the run started and that has not ended; all at once, outside the rate budget.

    :return: whether that was done within the time.
    """
    run.kill()
    quick = replace(config, timeout=min(KILL_TIMEOUT, config.timeout), max_retries=2)
    async with AsyncClient(quick, in_budget=False) as client:
        try:
            await asyncio.wait_for(drive(run, client, KILL_WIDTH), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            return False
    return True


class Crew:
    """Drives a run in a thread of its own, so that the thread that waits can be interrupted by a signal at any time.

    :param config: where to, as whom.
    """

    def __init__(self, run: FamilyRun, config: ClientConfig) -> None:
        self._run = run
        self._config = config
        self._ended: Future[Any] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="banksync-family", daemon=True)

    def drive(self) -> None:
        """Wait for the end of the run.

        :raises BankSyncError: one that concerns every feed.
        :raises CancelledError: it was stopped.
        """
        self._thread.start()
        try:
            self._ended.result()
        finally:
            self.stop()

    def stop(self) -> None:
        """Drop what is under way; jobs go on."""
        self._stopping = True
        loop, task = self._loop, self._task
        if loop is None or task is None:
            return
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended, or does so now
            loop.call_soon_threadsafe(task.cancel)
        self._thread.join(KILL_TIMEOUT)

    def withdraw(self, seconds: float = KILL_SECONDS) -> bool:
        """Stop, and cancel what the run has started.

        :return: whether all was cancelled within the time.
        """
        self.stop()
        done = []

        def work() -> None:
            with contextlib.suppress(BankSyncError):  # the caller tells what is left
                done.append(asyncio.run(withdraw(self._run, self._config, seconds)))

        thread = threading.Thread(target=work, name="banksync-family-kill", daemon=True)
        thread.start()
        thread.join(seconds + KILL_TIMEOUT)
        return any(done)

    def _work(self) -> None:
        try:
            asyncio.run(self._main())
        except (asyncio.CancelledError, CancelledError):
            self._ended.set_exception(CancelledError())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _main(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._stopping:
            raise asyncio.CancelledError
        async with AsyncClient(self._config) as client:
            await drive(self._run, client)
