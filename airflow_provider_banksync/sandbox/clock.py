"""The only place in the sandbox that knows what time it is."""

from __future__ import annotations

import math
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable

BEGINNING = datetime(2024, 1, 1, tzinfo=timezone.utc)
"""The sandbox's world is a year old on this day: no clock may stand before it."""


_ZERO = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)


def iso(moment: datetime) -> str:
    """Write a moment the way the API does: ``2026-03-01T08:15:30.250Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_moment(text: str) -> datetime:
    """Read a moment such as ``2026-03-01T08:00:00Z``; SandboxError where it is none."""
    # Python 3.10 does not read the Z that everybody writes.
    written = f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        raise SandboxError(f"not a time like 2026-03-01T08:00:00Z: {text}") from None


def to_ms(moment: datetime) -> int:
    """Count the milliseconds since 1970."""
    return (moment - _ZERO) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """Give the moment so many milliseconds after 1970."""
    return _ZERO + milliseconds * _MILLISECOND


class SandboxClock:
    """A clock that can be sped up, stopped and moved.

    ``scale`` is how many sandbox seconds pass in a real one; 0 stops the clock, and then only ``advance`` moves it.
    ``now`` is where it starts (an aware datetime; the real time by default). Safe to use from several threads.
    """

    def __init__(
        self,
        *,
        scale: float = 1.0,
        now: datetime | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        start = now or datetime.now(timezone.utc)
        if start.tzinfo is None:
            raise SandboxError("now must carry a time zone, e.g. datetime(2026, 3, 1, tzinfo=timezone.utc)")
        if start < BEGINNING:
            raise SandboxError(
                f"now must not be before {BEGINNING:%Y-%m-%d}: the sandbox's data begins in 2023"
            )
        self._lock = threading.Lock()
        self._monotonic = monotonic
        self._scale = _checked(scale)
        self._base = start.astimezone(timezone.utc)
        self._since = monotonic()
        self.start = self.now()
        """Where the clock stood when it was made."""

    @property
    def scale(self) -> float:
        """How many sandbox seconds pass in a real one."""
        return self._scale

    def now(self) -> datetime:
        """Tell the sandbox's time in UTC, to the millisecond, which is all that the API's timestamps carry."""
        with self._lock:
            moment = self._moment()
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def advance(self, seconds: float) -> datetime:
        """Move the clock forward at once and return the new time. A clock does not run backwards."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise SandboxError(f"the clock moves forward by a number of seconds, not by {seconds}")
        with self._lock:
            self._base += timedelta(seconds=seconds)
        return self.now()

    def move_to(self, moment: datetime) -> datetime:
        """Move the clock forward to a moment (aware)."""
        if moment.tzinfo is None:
            raise SandboxError(
                "the moment must carry a time zone, e.g. datetime(2026, 3, 1, tzinfo=timezone.utc)"
            )
        return self.advance((moment - self.now()).total_seconds())

    def set_scale(self, scale: float) -> None:
        """Run faster or slower from now on; 0 stops the clock."""
        checked = _checked(scale)
        with self._lock:
            self._base, self._since = self._moment(), self._monotonic()
            self._scale = checked

    def _moment(self) -> datetime:
        return self._base + timedelta(seconds=(self._monotonic() - self._since) * self._scale)


def _checked(scale: float) -> float:
    if not (math.isfinite(scale) and scale >= 0):
        raise SandboxError(f"time scale must be 0 (a stopped clock) or a positive number, not {scale}")
    return scale
