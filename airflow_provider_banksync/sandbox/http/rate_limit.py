"""The rate limit of each key, and the record of what was requested."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.errors import ApiError
from airflow_provider_banksync.sandbox.http.faults import check_form, retry_after_text
from airflow_provider_banksync.sandbox.validation import check_number, check_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from airflow_provider_banksync.sandbox.clock import SandboxClock


@dataclass(frozen=True)
class RateLimit:
    """The requests that a key may send in any ``window`` sandbox seconds. A refused request does not count.

    ``retry_after`` is the form of the header that a refused client gets: "seconds" (real ones, whatever the clock's
    scale) or a "date" by the sandbox's clock. ``headers=True`` states the limit in the headers of every answer:
    ``X-RateLimit-Limit``, ``X-RateLimit-Remaining`` and ``X-RateLimit-Reset`` (seconds). BankSync documents none.
    """

    requests: int = 100
    window: float = 60.0
    retry_after: str = "seconds"
    headers: bool = False

    def __post_init__(self) -> None:
        check_whole("rate_limit", self.requests, 1, 1_000_000_000)
        check_number("the window of rate_limit", self.window, 0.001, 86_400)
        check_form("retry_after", self.retry_after)


@dataclass(frozen=True)
class RequestRecord:
    """One request and how the sandbox answered it. It holds the id of the key and never the key."""

    time: datetime
    method: str
    path: str
    query: Mapping[str, str]
    workspace_id: str | None
    """The X-Workspace-Id header as it was sent."""
    key_id: str | None
    """The id of the key or session that was sent, valid or not; None if it is unknown, or none was sent."""
    status: int
    """499 if the client hung up before it had sent its request, 0 if a fault left it without an answer."""
    fault: str | None = None
    """The faults of ``sandbox.faults`` that applied, and when, such as ``reset after``."""
    admitted: bool = False
    """Whether the rate limit let it through. Only such requests count against the limit."""


@dataclass(frozen=True)
class Traffic:
    """The requests with one key, or with all keys."""

    requests: int
    """All requests."""
    refused: int
    """The requests that got a 429."""
    peak: int
    """The maximum that the rate limit admitted in any window (60 s if there is no limit). It leaves out requests that
    a fault, the edge or a 401 answered earlier, and those that match no operation."""
    records: Sequence[RequestRecord]
    """The requests themselves, oldest first."""


class RateLimiter:
    """Counts the requests of each key, and refuses those above the limit."""

    def __init__(self, limit: RateLimit | None, clock: SandboxClock) -> None:
        self._limit = limit
        self._clock = clock
        self._admitted: dict[str, deque[datetime]] = {}

    def check(self, key_id: str, now: datetime) -> None:
        """Count a request. Raises ApiError if it is above the limit."""
        limit = self._limit
        if limit is None:
            return
        recent = self._admitted.setdefault(key_id, deque())
        while recent and (now - recent[0]).total_seconds() >= limit.window:
            recent.popleft()
        if len(recent) < limit.requests:
            recent.append(now)
            return
        left = limit.window - (now - recent[0]).total_seconds()
        if limit.retry_after == "seconds" and self._clock.scale:
            left /= self._clock.scale
        raise ApiError(
            429, "Rate limit exceeded", {"Retry-After": retry_after_text(left, limit.retry_after, now)}
        )

    def headers(self, key_id: str, now: datetime) -> dict[str, str]:
        """Return the headers that state the limit of a key. Empty if the sandbox does not state it."""
        limit, recent = self._limit, self._admitted.get(key_id)
        if limit is None or not limit.headers or not recent:
            return {}
        left = max(0.0, limit.window - (now - recent[0]).total_seconds()) / (self._clock.scale or 1)
        return {
            "X-RateLimit-Limit": str(limit.requests),
            "X-RateLimit-Remaining": str(limit.requests - len(recent)),
            "X-RateLimit-Reset": str(math.ceil(left)),
        }

    def traffic(self, records: Sequence[RequestRecord]) -> Traffic:
        """Sum up recorded requests."""
        times = sorted(record.time for record in records if record.admitted)
        window = self._limit.window if self._limit else 60.0
        peak = first = 0
        for last, moment in enumerate(times):
            while (moment - times[first]).total_seconds() >= window:
                first += 1
            peak = max(peak, last - first + 1)
        refused = sum(record.status == 429 for record in records)
        return Traffic(len(records), refused, peak, records)
