"""A rate limit that several processes share."""

from __future__ import annotations

import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from pyrate_limiter import RateItem

from airflow_provider_banksync.api.rate_limit import buckets
from airflow_provider_banksync.api.rate_limit.limiter import (
    RECHECK_SHARE,
    WINDOW_MARGIN,
    RateLimiter,
    next_queue_number,
)
from airflow_provider_banksync.api.retry_policy import MAX_RETRY_AFTER
from airflow_provider_banksync.api.validation import SQLITE_SCHEME
from airflow_provider_banksync.exceptions import BankSyncConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

log = logging.getLogger(__name__)
_R = TypeVar("_R")
#: Seconds after which a store that failed is tried again.
BACKEND_RETRY_AFTER = 60.0
#: Seconds between two readings of the store's clock.
CLOCK_INTERVAL = 60.0


class StoreClock:
    """The time of a store, in seconds since the epoch. Between two readings, this machine's monotonic clock counts.

    Machines whose clocks differ would count each other's requests in the wrong window.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._next_reading = float("-inf")

    def __call__(self) -> float:
        """Return the time."""
        return time.monotonic() + self._offset

    def synchronize(self, bucket: buckets.MovableBucket) -> None:
        """Read the store's clock, once in `CLOCK_INTERVAL`."""
        before = time.monotonic()
        if before >= self._next_reading:
            store_time = bucket.store_time()
            after = time.monotonic()
            self._offset, self._next_reading = store_time - (before + after) / 2, after + CLOCK_INTERVAL


class SharedRateLimiter(RateLimiter):
    """A rate limit with its log in a store that several processes use.

    A request reserves the next free time in the store. It checks again at that time, because earlier requests may have
    left late. The reservations of a process that dies stay unused, so nothing is reserved more than one window ahead.
    While the store is unavailable, the process uses a log of its own.

    :param store: address of the store, from `validate_rate_limit_store`.
    :param name: separates the rate limits of several keys in one store.
    :param password: of a Redis server.
    :param clock: returns seconds since the epoch. None means the clock of the Redis server, or of this machine for a
        file, which only this machine uses.
    """

    def __init__(
        self,
        limit: int,
        window: float = 60.0,
        *,
        store: str,
        name: str,
        password: str | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(
            limit, window, clock=clock or (time.time if store.startswith(SQLITE_SCHEME) else StoreClock())
        )
        # A thread of its own: the loop's threads also look up host names. One, because of the lock.
        self.thread = ThreadPoolExecutor(1, "banksync-rate-limit")
        self._store = store
        self._password = password
        self._name = name
        self._backend: tuple[buckets.MovableBucket, AbstractContextManager[object]] | None = None
        self._unavailable_until = float("-inf")
        self._reservations: dict[int, int] = {}

    def acquire(self, max_wait: float | None = None, queue_number: int | None = None) -> Iterator[float]:
        """Yield delays as `RateLimiter.acquire` does. The queue is in the store."""
        if self._backend is None:
            with self._lock:
                self._with_bucket(lambda _: None)  # the first time, it sets the clock
        too_late = math.inf if max_wait is None else self._clock() + max_wait
        queue_number = next_queue_number() if queue_number is None else queue_number
        try:
            while (at := self._try_acquire(queue_number)) is not None:
                self._check_max_wait(at, too_late)
                yield max(0.0, at - self._clock())
        finally:
            # Without the lock, whose holder may be waiting for the store.
            self._reservations.pop(queue_number, None)

    def lower_limit(self, limit: int) -> None:
        """Use a lower limit. Existing reservations stay."""
        if limit < self.limit:
            super().lower_limit(limit)
            self._backend = None

    def _try_acquire(self, queue_number: int) -> float | None:
        with self._lock:
            now = self._clock()
            reserved = self._reservations.get(queue_number)
            if reserved is None:
                return self._reserve_slot(queue_number)
            if self._paused_until > now:
                # Reserve again after the pause, so that not all requests are sent at its end.
                del self._reservations[queue_number]
                return now + self._sleep_time(self._paused_until)
            if reserved / 1000 > now:
                return reserved / 1000
            return self._with_bucket(lambda bucket: self._use_reservation(bucket, queue_number, reserved))

    def _reserve_slot(self, queue_number: int) -> float | None:
        reserved = self._with_bucket(lambda bucket: self._reserve(bucket, self._paused_until))
        now = self._clock()
        if reserved is None:
            return now + RECHECK_SHARE * self.window * (0.9 + 0.2 * self._rng())
        if reserved / 1000 > now:
            self._reservations[queue_number] = reserved
            return reserved / 1000
        self._in_flight[queue_number] = reserved
        return None

    def _use_reservation(
        self, bucket: buckets.MovableBucket, queue_number: int, reserved: int
    ) -> float | None:
        """Move the reservation to now and return None, or return the time when there is likely to be room."""
        now = max(reserved, int(self._clock() * 1000))
        before = bucket.timestamps(now - self._rate.interval, now)
        if reserved not in before:  # the store was unavailable or emptied, or the request is very late
            self._reservations.pop(queue_number, None)
            return now / 1000
        before.remove(reserved)
        if len(before) >= self.limit:
            expires: int = before[len(before) - self.limit] + self._rate.interval + 1
            return expires / 1000
        bucket.move(reserved, now)
        self._in_flight[queue_number] = now
        return None

    def _reserve_for_others(self, requests: int, at: float) -> None:
        for _ in range(requests):
            self._with_bucket(lambda bucket: self._reserve(bucket, at))

    def _move_entry(self, logged: int, counted: int) -> None:
        self._with_bucket(lambda bucket: bucket.move(logged, counted))

    def _with_bucket(self, ask: Callable[[buckets.MovableBucket], _R]) -> _R:
        """Call a function with the store's bucket, or with this process's own while the store is unavailable."""
        if self._clock() >= self._unavailable_until:
            try:
                if self._backend is None:
                    self._backend = buckets.open_backend(self._store, self._rate, self._name, self._password)
                bucket, lock = self._backend
                with lock:
                    if isinstance(self._clock, StoreClock):
                        self._clock.synchronize(bucket)
                    return ask(bucket)
            except BankSyncConfigError:
                raise
            except Exception as error:  # noqa: BLE001 - any error of a library; its text may contain a password
                self._backend = None
                self._unavailable_until = self._clock() + BACKEND_RETRY_AFTER
                log.warning(
                    "rate_limit_store does not work (%s). For %.0f s, this process counts only its own requests.",
                    type(error).__name__,
                    BACKEND_RETRY_AFTER,
                )
        return ask(self._bucket)

    def _reserve(self, bucket: buckets.MovableBucket, earliest: float) -> int | None:
        """Reserve the next free time and return it. Return None if it is more than a window ahead."""
        now = self._clock()  # read it here, as waiting for the lock may take long
        self._drop_future_entries(bucket, now)
        bucket.leak(int(now * 1000))
        last = bucket.peek(0)
        item = RateItem("request", max(int(max(now, earliest) * 1000), last.timestamp if last else 0))
        while item.timestamp <= (max(now, earliest) + self.window * (1 + 2 * WINDOW_MARGIN)) * 1000:
            if bucket.put(item):
                return item.timestamp
            item.timestamp += max(1, int(bucket.waiting(item)))
        return None

    def _drop_future_entries(self, bucket: buckets.MovableBucket, now: float) -> None:
        """Empty a log with entries that are too far ahead. The clock of a machine was wrong."""
        latest = bucket.peek(0)
        if latest and latest.timestamp / 1000 > now + 2 * (self.window + MAX_RETRY_AFTER):
            log.warning(
                "rate_limit_store has entries far in the future. Emptying it. Check the clocks of the machines."
            )
            bucket.flush()
