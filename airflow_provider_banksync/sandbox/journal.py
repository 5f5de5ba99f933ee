"""What was asked of the sandbox, for tests to read."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

KEPT = 100_000
"""How many requests a journal remembers; a long benchmark must not fill the memory."""


@dataclass(frozen=True)
class RequestRecord:
    """One request and how it was answered. It names the key by its id and never holds the key."""

    time: datetime
    method: str
    path: str
    query: Mapping[str, str]
    workspace_id: str | None
    """The X-Workspace-Id header as it was sent."""
    key_id: str | None
    """Of the key or session that was sent, good or not; None where it is unknown, or none was sent."""
    status: int
    """499 where the client hung up before it had sent its request, 0 where a fault left it without an answer."""
    fault: str | None = None
    """Which faults of ``sandbox.faults`` happened to it and when, e.g. ``reset after``."""
    admitted: bool = False
    """Whether it came as far as the rate limit and was let through: only that counts against the limit."""


class Journal:
    """The newest requests of one sandbox, oldest first."""

    def __init__(self) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=KEPT)

    def add(self, record: RequestRecord) -> None:
        """Remember a request."""
        self._records.append(record)

    def records(self) -> list[RequestRecord]:
        """Give the requests so far; the list is the caller's own."""
        return list(self._records)

    def clear(self) -> None:
        """Forget them all."""
        self._records.clear()
