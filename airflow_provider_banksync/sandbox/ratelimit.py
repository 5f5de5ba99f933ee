"""How many requests a key may send, and how many it did."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.checks import check_number, check_whole
from airflow_provider_banksync.sandbox.errors import TooManyError
from airflow_provider_banksync.sandbox.fault import check_form, retry_after_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow_provider_banksync.sandbox.clock import SandboxClock
    from airflow_provider_banksync.sandbox.journal import RequestRecord

REFUSED = 429


@dataclass(frozen=True)
class RateLimit:
    """So many requests per key in any stretch of ``window`` sandbox seconds; what is refused does not count.

    ``retry_after`` is the form of the header that a refused client gets: "seconds" (real ones, whatever the clock's
    scale) or a "date" by the sandbox's clock.
    """

    requests: int = 100
    window: float = 60.0
    retry_after: str = "seconds"

    def __post_init__(self) -> None:
        check_whole("rate_limit", self.requests, 1, 1_000_000_000)
        check_number("the window of rate_limit", self.window, 0.001, 86_400)
        check_form("retry_after", self.retry_after)


@dataclass(frozen=True)
class Traffic:
    """What came in with one key, or with all of them."""

    requests: int
    """All of them."""
    refused: int
    """Those that were answered 429."""
    peak: int
    """The most that the rate limit let through in any stretch of its window (60 s where there is no limit). What a
    fault, the edge or a 401 answered before that, and what no operation is for, is not among them."""
    records: Sequence[RequestRecord]
    """Which, oldest first."""


class RateLimiter:
    """Counts the requests of each key and refuses what is too many."""

    def __init__(self, limit: RateLimit | None, clock: SandboxClock) -> None:
        self._limit = limit
        self._clock = clock
        self._let_in: dict[str, deque[datetime]] = {}

    def admit(self, key_id: str, now: datetime) -> None:
        """Count a request; TooManyError where it is one too many."""
        limit = self._limit
        if limit is None:
            return
        recent = self._let_in.setdefault(key_id, deque())
        while recent and (now - recent[0]).total_seconds() >= limit.window:
            recent.popleft()
        if len(recent) < limit.requests:
            recent.append(now)
            return
        left = limit.window - (now - recent[0]).total_seconds()
        if limit.retry_after == "seconds" and self._clock.scale:
            left /= self._clock.scale
        raise TooManyError(
            "Rate limit exceeded", {"Retry-After": retry_after_text(left, limit.retry_after, now)}
        )

    def traffic(self, records: Sequence[RequestRecord]) -> Traffic:
        """Sum up the requests of a journal."""
        admitted = sorted(record.time for record in records if record.admitted)
        window = self._limit.window if self._limit else 60.0
        refused = sum(record.status == REFUSED for record in records)
        return Traffic(len(records), refused, _peak(admitted, window), records)


def _peak(times: Sequence[datetime], window: float) -> int:
    peak = first = 0
    for last, moment in enumerate(times):
        while (moment - times[first]).total_seconds() >= window:
            first += 1
        peak = max(peak, last - first + 1)
    return peak
