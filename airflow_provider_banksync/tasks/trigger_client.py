"""Open a trigger's client without blocking the event loop, also if many triggers start at the same time."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from airflow_provider_banksync.api.http.async_client import AsyncClient

#: Maximum triggers of a loop that read their connection at the same time. A thousand of them would block the loop.
MAX_CONCURRENT_READS = 8
#: Modules that are slow to load. DAG files do not load them, so the first trigger of a process does.
_SLOW_MODULES = (
    "airflow_provider_banksync.hooks.banksync",
    "airflow_provider_banksync.api.http.async_client",
    "airflow_provider_banksync.api.flows.writes",
    "airflow_provider_banksync.api.flows.conditions",
    "airflow_provider_banksync.api.flows.polling",
    "airflow_provider_banksync.api.family.runner",
    "airflow.providers.common.compat.connection",
    "asgiref.sync",
    "msgspec",
    "pyrate_limiter",
    "requests.utils",
)
#: For each loop: the slots of the triggers that read their connection, and the lock of the one that loads the modules.
_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[asyncio.Semaphore, asyncio.Lock]] = (
    WeakKeyDictionary()
)
_loaded = False


async def load_client_modules() -> None:
    """Load the modules of a client, once in a process. A thread does this, because it would block the loop."""
    if not _loaded:
        _, loading = _queue_of_loop()
        async with loading:
            if not _loaded:
                await asyncio.to_thread(_import_slow_modules)


async def open_client(banksync_conn_id: str, workspace_id: str | None = None) -> AsyncClient:
    """Return a client for the running event loop. Use it with ``async with``.

    :param workspace_id: workspace to work in; None for the connection's.
    :raises BankSyncConfigError: the connection does not exist, or one of its fields is missing or wrong.
    """
    slots, _ = _queue_of_loop()
    async with slots:
        await load_client_modules()
        from airflow_provider_banksync.hooks.banksync import BankSyncHook

        return await BankSyncHook(banksync_conn_id, workspace_id=workspace_id).get_async_conn()


def _queue_of_loop() -> tuple[asyncio.Semaphore, asyncio.Lock]:
    loop = asyncio.get_running_loop()
    if loop not in _queues:
        _queues[loop] = asyncio.Semaphore(MAX_CONCURRENT_READS), asyncio.Lock()
    return _queues[loop]


def _import_slow_modules() -> None:
    global _loaded  # noqa: PLW0603 - modules are loaded for the whole process
    for module in _SLOW_MODULES:
        import_module(module)
    _loaded = True
