"""How a trigger comes by its client: without stopping the event loop, however many triggers start at once."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from airflow_provider_banksync.api.aio import AsyncClient

#: How many triggers of a loop read their connection at the same time. The others take turns: a thousand that go on in
#: one step of the loop would stop it for as long as all of them take together.
AT_ONCE = 8
#: What a client is made of and slow to load. DAG files do without it, so the first trigger of a process finds it not
#: loaded.
_NEEDED = (
    "airflow_provider_banksync.hooks.banksync",
    "airflow_provider_banksync.api.aio",
    "airflow_provider_banksync.api.conversations",
    "airflow.providers.common.compat.connection",
    "asgiref.sync",
    "msgspec",
    "pyrate_limiter",
)
_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()
_loaded = False


class _Queue:
    """Where the triggers of one loop wait: for their turn, and for the first of them to load the client."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(AT_ONCE)
        self.loading = asyncio.Lock()

    async def load(self) -> None:
        """Load the client in a thread. In one, as each that runs keeps the loop from doing so."""
        async with self.loading:
            if not _loaded:
                await asyncio.to_thread(_load)


async def open_client(banksync_conn_id: str, workspace_id: str | None = None) -> AsyncClient:
    """Return a client for the running event loop, to be used with ``async with``.

    :param workspace_id: workspace to work in; None leaves the connection's.
    :raises BankSyncConfigError: there is no such connection, or naming the field that is missing or wrong.
    """
    loop = asyncio.get_running_loop()
    if (queue := _queues.get(loop)) is None:
        queue = _queues[loop] = _Queue()
    async with queue.turns:
        if not _loaded:
            await queue.load()
        from airflow_provider_banksync.hooks.banksync import BankSyncHook

        return await BankSyncHook(banksync_conn_id, workspace_id=workspace_id).get_async_conn()


def _load() -> None:
    global _loaded  # noqa: PLW0603 - what is loaded is so for the whole process
    for module in _NEEDED:
        import_module(module)
    _loaded = True
