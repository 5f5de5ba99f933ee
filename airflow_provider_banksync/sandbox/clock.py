"""The only place in the sandbox that knows what time it is."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.checks import check_moment, check_number
from airflow_provider_banksync.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable

BEGINNING = datetime(2024, 1, 1, tzinfo=timezone.utc)
"""The sandbox's world is a year old on this day: no clock may stand before it."""
END = datetime(2100, 1, 1, tzinfo=timezone.utc)
"""Here every clock stops: nobody tests later than that, and every day between would have to be looked through."""
_FASTEST = 1_000_000

_ZERO = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)


def iso(moment: datetime) -> str:
    """Write a moment the way the API does: ``2026-03-01T08:15:30.250Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_moment(text: str) -> datetime:
    """Read a moment such as ``2026-03-01T08:00:00Z``; SandboxError where it is none, or in no time zone."""
    # Python 3.10 does not read the Z that everybody writes.
    written = f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise SandboxError(f"not a time like 2026-03-01T08:00:00Z: {text}")
    return moment


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
        start = datetime.now(timezone.utc) if now is None else check_moment("now", now)
        if start < BEGINNING:
            raise SandboxError(
                f"now must not be before {BEGINNING:%Y-%m-%d}: the sandbox's data begins in 2023"
            )
        _check_end(start)
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
        finer = moment.microsecond % 1000
        return moment - timedelta(microseconds=finer) if finer else moment

    def advance(self, seconds: float) -> datetime:
        """Move the clock forward at once and return the new time. A clock does not run backwards."""
        try:
            step = timedelta(seconds=seconds)
        except (TypeError, ValueError, OverflowError):
            step = None
        if step is None or step < timedelta():
            raise SandboxError(f"the clock moves forward by a number of seconds, not by {seconds!r}")
        with self._lock:
            _check_end(self._moment(), step)
            self._base += step
        return self.now()

    def move_to(self, moment: datetime) -> datetime:
        """Move the clock forward to a moment (aware)."""
        return self.advance((check_moment("the moment", moment) - self.now()).total_seconds())

    def set_scale(self, scale: float) -> None:
        """Run faster or slower from now on; 0 stops the clock."""
        checked = _checked(scale)
        with self._lock:
            self._base, self._since = self._moment(), self._monotonic()
            self._scale = checked

    def _moment(self) -> datetime:
        if not self._scale:
            return self._base
        passed = (self._monotonic() - self._since) * self._scale
        return self._base + min(timedelta(seconds=passed), END - self._base)


def _checked(scale: float) -> float:
    return check_number("time scale", scale, 0, _FASTEST)


def _check_end(moment: datetime, step: timedelta = timedelta()) -> None:
    if step > END - moment:
        raise SandboxError(f"the sandbox's clock goes no further than {END:%Y-%m-%d}")
