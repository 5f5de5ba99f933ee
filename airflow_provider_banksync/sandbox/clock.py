"""The sandbox's clock: the only module of the sandbox that reads the time."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.validation import check_moment, check_number

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_TIME = datetime(2024, 1, 1, tzinfo=timezone.utc)
"""The earliest start of a clock. The sandbox's data begins a year before."""
MAX_TIME = datetime(2100, 1, 1, tzinfo=timezone.utc)
"""Every clock stops here. The limit bounds the days that a listing has to generate."""
_MAX_SCALE = 1_000_000
_MAX_STEP = 10_000_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)


def format_timestamp(moment: datetime) -> str:
    """Write a time as the API does: ``2026-03-01T08:15:30.250Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_moment(text: str) -> datetime:
    """Parse a time such as ``2026-03-01T08:00:00Z``. Raises SandboxError without a time zone."""
    # Python 3.10 does not parse a final Z.
    iso = f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise SandboxError(f"not a time like 2026-03-01T08:00:00Z: {text}")
    return moment


def to_milliseconds(moment: datetime) -> int:
    """Return the milliseconds since 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def from_milliseconds(milliseconds: int) -> datetime:
    """Return the time that is this many milliseconds after 1970."""
    return _EPOCH + milliseconds * _MILLISECOND


class SandboxClock:
    """A clock that you can speed up, stop and move forward. Safe to use from several threads.

    :param scale: sandbox seconds in a real second; 0 stops the clock, and then only ``advance`` moves it.
    :param now: where the clock starts (an aware datetime); the real time by default.
    """

    def __init__(
        self,
        *,
        scale: float = 1.0,
        now: datetime | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        start = datetime.now(timezone.utc) if now is None else check_moment("now", now)
        if start < MIN_TIME:
            raise SandboxError(f"now must not be before {MIN_TIME:%Y-%m-%d}, because the data begins in 2023")
        _check_end(start)
        self._lock = threading.Lock()
        self._monotonic = monotonic
        self._scale = check_number("time scale", scale, 0, _MAX_SCALE)
        self._base = start.astimezone(timezone.utc)
        self._since = monotonic()
        self.start = self.now()

    @property
    def scale(self) -> float:
        """Sandbox seconds in a real second."""
        return self._scale

    def now(self) -> datetime:
        """Return the sandbox's time in UTC, in whole milliseconds, as the API's timestamps are."""
        with self._lock:
            moment = self._exact_now()
        rest = moment.microsecond % 1000
        return moment - timedelta(microseconds=rest) if rest else moment

    def advance(self, seconds: float) -> datetime:
        """Move the clock forward at once and return the new time. It never moves backwards."""
        step = timedelta(seconds=check_number("the clock's step forward", seconds, 0, _MAX_STEP))
        with self._lock:
            _check_end(self._exact_now(), step)
            self._base += step
        return self.now()

    def move_to(self, moment: datetime) -> datetime:
        """Move the clock forward to a time (aware)."""
        return self.advance((check_moment("the moment", moment) - self.now()).total_seconds())

    def set_scale(self, scale: float) -> None:
        """Run faster or slower from now on; 0 stops the clock."""
        check_number("time scale", scale, 0, _MAX_SCALE)
        with self._lock:
            self._base, self._since = self._exact_now(), self._monotonic()
            self._scale = scale

    def _exact_now(self) -> datetime:
        if not self._scale:
            return self._base
        passed = (self._monotonic() - self._since) * self._scale
        return self._base + min(timedelta(seconds=passed), MAX_TIME - self._base)


def _check_end(moment: datetime, step: timedelta = timedelta()) -> None:
    if step > MAX_TIME - moment:
        raise SandboxError(f"the sandbox's clock goes no further than {MAX_TIME:%Y-%m-%d}")
