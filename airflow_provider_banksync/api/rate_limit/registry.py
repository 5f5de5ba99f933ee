"""One rate limiter for each API key and process."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING

from airflow_provider_banksync.api.rate_limit.limiter import RateLimiter
from airflow_provider_banksync.api.rate_limit.shared import SharedRateLimiter

if TYPE_CHECKING:
    from airflow_provider_banksync.api.config import ClientConfig

_limiters: dict[tuple[object, ...], RateLimiter] = {}
_limiters_lock = threading.Lock()
#: Limiters of the parent process. A child must not even close their SQLite connections.
_inherited: list[RateLimiter] = []


def limiter_for(config: ClientConfig) -> RateLimiter:
    """Return this process's limiter for the key. If connections with the same key differ, the lowest limit counts."""
    identity = hashlib.sha256(f"{config.base_url} {config.secret}".encode()).hexdigest()
    limit, window, store = config.rate_limit, config.rate_window, config.rate_limit_store
    key = (identity, window, store)
    with _limiters_lock:
        if key not in _limiters:
            _limiters[key] = (
                SharedRateLimiter(
                    limit,
                    window,
                    store=store,
                    password=config.rate_limit_store_password,
                    name=f"banksync_{identity[:16]}",
                )
                if store
                else RateLimiter(limit, window)
            )
        limiter = _limiters[key]
    limiter.lower_limit(limit)
    return limiter


def _reset_after_fork() -> None:
    """Start with new limiters in a forked child. A thread of the parent may hold a lock of the old limiters."""
    global _limiters_lock  # noqa: PLW0603 - the child needs another lock
    _limiters_lock = threading.Lock()
    _inherited.extend(_limiters.values())
    _limiters.clear()


os.register_at_fork(after_in_child=_reset_after_fork)
