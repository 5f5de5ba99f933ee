"""Reads a connection again after the server refused its key, because a person may have replaced the key meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_banksync.api.config import ClientConfig

log = logging.getLogger(__name__)
#: Minimum seconds between two reads.
READ_INTERVAL = 60.0


class KeyRenewal:
    """The latest key of a connection, for all clients of one hook.

    :param conn_id: for messages.
    :param read: reads the connection.
    :param read_async: the same for event loops.
    """

    def __init__(
        self,
        conn_id: str,
        read: Callable[[], ClientConfig],
        read_async: Callable[[], Awaitable[ClientConfig]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conn_id = conn_id
        self._read = read
        self._read_async = read_async
        self._clock = clock
        self._latest: ClientConfig | None = None
        self._next_read = float("-inf")
        self._lock = threading.Lock()

    def renew(self, refused: ClientConfig) -> ClientConfig | None:
        """Return the refused settings with the connection's new key, or None if there is no new key."""
        with self._lock:
            if self._must_read(refused):
                try:
                    self._latest = self._read()
                except Exception as error:  # noqa: BLE001 - the caller raises the 401, which matters more
                    self._log_failure(error)
            return self._with_latest_key(refused)

    async def renew_async(self, refused: ClientConfig) -> ClientConfig | None:
        """Do the same without blocking the event loop."""
        if self._must_read(refused):
            try:
                self._latest = await self._read_async()
            except Exception as error:  # noqa: BLE001 - as above
                self._log_failure(error)
        return self._with_latest_key(refused)

    def _must_read(self, refused: ClientConfig) -> bool:
        now = self._clock()
        has_another_key = self._latest is not None and self._latest.secret != refused.secret
        if has_another_key or now < self._next_read:
            return False
        self._next_read = now + READ_INTERVAL
        return True

    def _with_latest_key(self, refused: ClientConfig) -> ClientConfig | None:
        latest = self._latest
        if latest is None or latest.secret == refused.secret:
            return None
        # A new key is not sent to the old server, and a task does not change its workspace halfway.
        if (latest.base_url, latest.bearer) != (refused.base_url, refused.bearer) or (
            latest.workspace_id not in (None, refused.workspace_id)
        ):
            log.warning(
                "Connection %r has a new key, but also another host, auth or workspace. This task does not use it.",
                self._conn_id,
            )
            return None
        log.info(
            "BankSync refused the key (401). Connection %r has a new key, which is used now.", self._conn_id
        )
        return replace(refused, secret=latest.secret)

    def _log_failure(self, error: Exception) -> None:
        log.warning(
            "BankSync refused the key (401). Reading connection %r again failed (%s).",
            self._conn_id,
            type(error).__name__,
        )
