"""The progress of many requests, for the log of the task."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.rate_limit.registry import limiter_for
from airflow_provider_banksync.api.redaction import counted

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator

    from airflow_provider_banksync.api.http.async_client import AsyncClient
    from airflow_provider_banksync.api.rate_limit.limiter import RateLimiter

#: Seconds between two log lines.
PROGRESS_INTERVAL = 30.0


@dataclass
class Progress:
    """How much of a read is done.

    :param things: what is counted: "accounts" or "lists".
    """

    total: int
    things: str
    done: int = 0
    rows: int = 0
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return f"Read {self.done} of {self.total} {self.things}, {counted(self.rows, 'row')}."

    def describe_rest(self, limiter: RateLimiter) -> str:
        """Return how much is left and for how long, and whether it waits for the rate limit."""
        left = self.total - self.done
        wait = limiter.estimate_wait(left)  # at least one request for each
        reason = f"Waiting for the rate limit ({limiter.limit} requests/min): " if wait else ""
        if not wait and self.done:
            wait = (time.monotonic() - self.started) * left / self.done
        return f"{reason}{left} {self.things} left" + (f", about {_duration(wait)}." if wait else ".")

    @contextlib.asynccontextmanager
    async def logged(self, client: AsyncClient, log: logging.Logger | Any) -> AsyncIterator[None]:
        """Log the progress from time to time."""

        async def log_lines() -> None:
            while True:
                await asyncio.sleep(PROGRESS_INTERVAL)
                log.info("%s %s", self, self.describe_rest(limiter_for(client.config)))

        lines = asyncio.ensure_future(log_lines())
        try:
            yield
        finally:
            lines.cancel()
            await asyncio.gather(lines, return_exceptions=True)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
