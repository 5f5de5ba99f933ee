"""The driver of a family sync on an event loop, with several requests in flight."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow_provider_banksync.api.http.async_client import AsyncClient

if TYPE_CHECKING:
    from airflow_provider_banksync.api.config import ClientConfig
    from airflow_provider_banksync.api.family.sync import FamilySync

#: Requests in flight. They are enough to use every rate limit, and few enough that other users of the key do not have
#: to wait long for their turn.
MAX_IN_FLIGHT = 8
#: The same for a task that is being killed, which does not wait for the rate limit; and the seconds for one request.
MAX_CANCELS_IN_FLIGHT = 32
CANCEL_REQUEST_TIMEOUT = 5.0
#: Seconds for the whole cancellation. Airflow allows 30 seconds in the triggerer, and at least that in a worker.
CANCEL_DEADLINE = 25.0
#: Seconds between two notes that the process runs.
TICK = 1.0


async def run_concurrently(sync: FamilySync, client: AsyncClient, max_in_flight: int = MAX_IN_FLIGHT) -> None:
    """Run the steps until every feed has its result.

    :raises BankSyncError: an error that concerns every feed. Steps in flight are dropped.
    """
    tasks: set[asyncio.Task[None]] = set()
    sync.tick()
    ticks = asyncio.ensure_future(_tick(sync))
    try:
        while not sync.is_done:
            while len(tasks) < max_in_flight and (step := sync.next_step()) is not None:
                tasks.add(asyncio.ensure_future(client.run(step)))
            idle = sync.idle_seconds()
            if not tasks:
                await asyncio.sleep(idle)
                continue
            timeout = idle if len(tasks) < max_in_flight else None  # no room for a step that falls due
            done, tasks = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            sync.log_progress()
    finally:
        for task in (*tasks, ticks):
            task.cancel()
        await asyncio.gather(*tasks, ticks, return_exceptions=True)


async def _tick(sync: FamilySync) -> None:
    while True:
        await asyncio.sleep(TICK)
        sync.tick()


async def cancel_started_jobs(sync: FamilySync, config: ClientConfig) -> bool:
    """Cancel every running job that the family sync started, without waiting for the rate limit.

    :return: whether that was finished in time.
    """
    sync.cancel()
    quick = config.for_cancel(min(CANCEL_REQUEST_TIMEOUT, config.timeout), max_retries=2)
    async with AsyncClient(quick) as client:
        try:
            await asyncio.wait_for(run_concurrently(sync, client, MAX_CANCELS_IN_FLIGHT), CANCEL_DEADLINE)
        except (TimeoutError, asyncio.TimeoutError):
            return False
    return True
