"""The rate limit of one key in this process: a sliding window of requests with a queue.

All threads, tasks, event loops and triggers of the process share a limiter, first come, first served. From its position
in the queue, a request knows when its turn is likely to come, and sleeps until then.

A request may leave later than planned, and the server counts it later still. So a request is logged when it is sent,
and its log entry moves to the time of the answer, because the server has counted it before it answers. Its place in
the window becomes free one window after that, and so never too early.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
import time
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from pyrate_limiter import Rate, RateItem

from airflow_provider_banksync.api.rate_limit import buckets
from airflow_provider_banksync.api.retry_policy import MAX_RETRY_AFTER, MAX_TOTAL_BACKOFF
from airflow_provider_banksync.exceptions import BankSyncBudgetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import ThreadPoolExecutor

    from airflow_provider_banksync.api.rate_limit.headers import LimitHeaders

log = logging.getLogger(__name__)
#: Our window is longer than the server's by this share, as clocks differ.
WINDOW_MARGIN = 0.004
#: If answers are slow, we assume the server has counted a request this many seconds after it was sent. Otherwise the
#: limiter would leave too much of the limit unused.
MAX_COUNT_DELAY = 1.0
#: Total lateness allowed, in seconds per request of the limit, before `MAX_COUNT_DELAY` is used. A server that is stuck
#: for a moment has not counted the requests that it has not answered.
LATENCY_ALLOWANCE = 9.0
#: Seconds to pause after a 429 without ``Retry-After``, or with 0.
DEFAULT_PAUSE = 1.0
#: After a pause, requests resume over this share of a window, not all at once.
WAKE_UP_JITTER = 0.05
#: After a 429, this share of the limit counts as used by other clients, for one window.
SHARE_OF_OTHER_CLIENTS = 0.1
#: A request checks its turn again after at most this share of a window, as the queue may have become shorter.
RECHECK_SHARE = 0.25
#: Seconds between two attempts to send, at least.
_MIN_DELAY = 0.001
_queue_numbers = itertools.count()


def next_queue_number() -> int:
    """Return a queue number. A request that is retried keeps its number, and so its position."""
    return next(_queue_numbers)


class RateLimiter:
    """A sliding window of requests.

    :param limit: requests per window.
    :param window: length of the window in seconds.
    :param clock: returns monotonic seconds.
    :param rng: returns random numbers from 0 to 1.
    """

    #: The thread in which an event loop calls methods that may wait for a disk or a network. None: they never wait.
    thread: ThreadPoolExecutor | None = None

    def __init__(
        self,
        limit: int,
        window: float = 60.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.limit = limit
        self.window = window
        self._clock = clock
        self._rng = rng
        self._lock = threading.Lock()
        self._rate = Rate(limit, int(window * (1 + WINDOW_MARGIN) * 1000))
        self._bucket: buckets.MovableBucket = buckets.MemoryBucket([self._rate])
        self._in_flight: dict[int, int] = {}
        self._latency_allowance = limit * LATENCY_ALLOWANCE
        self._queue: list[int] = []
        self._next_turn = float("-inf")
        self._paused_until = float("-inf")
        self._ignore_429_until = float("-inf")
        self._refused_at: dict[str, float] = {}
        self._accepted_at = float("-inf")

    def acquire(self, max_wait: float | None = None, queue_number: int | None = None) -> Iterator[float]:
        """Yield delays in seconds. The caller sleeps each of them. When there are no more, it may send one request.

        :param max_wait: seconds that the request may wait. None means no limit.
        :param queue_number: the request's number, from `next_queue_number`.
        :raises BankSyncBudgetError: the request would have to wait longer than `max_wait`.
        """
        too_late = math.inf if max_wait is None else self._clock() + max_wait
        queue_number = next_queue_number() if queue_number is None else queue_number
        with self._lock:
            insort(self._queue, queue_number)
        try:
            while (at := self._try_acquire(queue_number)) is not None:
                self._check_max_wait(at, too_late)
                yield self._sleep_time(at)
        finally:
            # This also runs if the request is too late, or if its task was cancelled.
            with self._lock:
                del self._queue[bisect_left(self._queue, queue_number)]

    def record_answer(
        self, queue_number: int, sent: float, answered: float, accepted_path: str | None = None
    ) -> None:
        """Record that a request has ended. The server counted it between two times of ``time.monotonic``.

        :param answered: when the headers of the answer arrived, or when it was clear that none would.
        :param accepted_path: the path of the request, if it got an answer and this was no 429.
        """
        with self._lock:
            if accepted_path is not None:
                self._refused_at.pop(_source(accepted_path), None)
                self._accepted_at = self._clock()
            logged = self._in_flight.pop(queue_number, None)
            if logged is not None:
                ago = time.monotonic() - self._when_counted(sent, answered)
                # Read our clock second, so that the result is too late rather than too early.
                at = int((self._clock() - ago) * 1000)
                if logged < at:
                    self._move_entry(logged, at)

    def _when_counted(self, sent: float, answered: float) -> float:
        """Return a time by which the server has counted a request.

        This is the time of the answer. If the allowance is used up, it is at most `MAX_COUNT_DELAY` after sending.
        """
        allowance = self._latency_allowance + MAX_COUNT_DELAY - (answered - sent)
        if allowance < 0:
            return min(answered, sent + MAX_COUNT_DELAY)
        self._latency_allowance = min(allowance, self.limit * LATENCY_ALLOWANCE)
        return answered

    def record_429(self, retry_after: float | None, path: str = "") -> None:
        """Record a 429: another client uses the same key.

        All requests pause for as long as the server says. Then a part of the limit counts as used by other clients, for
        one window. A 429 that concerns only an account or a bank has no effect.

        :param path: the path of the request.
        """
        pause = min(retry_after or DEFAULT_PAUSE, MAX_RETRY_AFTER)
        with self._lock:
            now = self._clock()
            if not self._concerns_key(retry_after, _source(path), now):
                return
            self._paused_until = max(self._paused_until, now + pause)
            if now < self._ignore_429_until:
                return  # several 429s of requests that were in flight at the same time count as one
            self._ignore_429_until = max(self._paused_until, now + SHARE_OF_OTHER_CLIENTS * self.window)
            self._reserve_for_others(math.ceil(self.limit * SHARE_OF_OTHER_CLIENTS), self._paused_until)
        log.warning(
            "The server reported its rate limit (429). All requests of this key pause for %.1f s.", pause
        )

    def _concerns_key(self, retry_after: float | None, source: str, now: float) -> bool:
        """Record a 429 of an account, and return whether it is the key's rate limit that is used up.

        It is not if the server asks for more than a few minutes, or refuses the same account again while it accepts
        requests for others; unless it also refuses another bank, and accepts nothing in between.
        """
        refused_before = self._refused_at.get(source)
        bank = _bank(source)
        self._refused_at = {
            other: at for other, at in self._refused_at.items() if now - at < self.window + MAX_RETRY_AFTER
        }
        is_confirmed = any(
            _bank(other) != bank and at > max(self._accepted_at, now - self.window)
            for other, at in self._refused_at.items()
        )
        self._refused_at[source] = now
        is_alone = refused_before is not None and self._accepted_at > refused_before
        return is_confirmed or not (is_alone or (retry_after or 0.0) > MAX_TOTAL_BACKOFF)

    def estimate_wait(self, requests: int) -> float:
        """Return about how many seconds it takes to send so many more requests; 0 if none waits for the limit now."""
        with self._lock:
            wait = self._next_turn - self._clock()
            return wait + (requests - 1) // self.limit * self.window if self._queue and wait > 0 else 0.0

    def lower_limit(self, limit: int) -> None:
        """Use a lower limit, which another connection with the same key has."""
        with self._lock:
            if limit < self.limit:
                self.limit = limit
                self._rate = Rate(limit, self._rate.interval)
                self._bucket.rates = [self._rate]

    def obey_headers(self, stated: LimitHeaders) -> None:
        """Use the limit that the server tells, if it is lower than ours. Pause if the server has no request left."""
        if stated.limit is not None and stated.window in (None, self.window) and stated.limit < self.limit:
            log.warning(
                "BankSync allows this key %d requests in %.0f s, not %d. Set rate_limit_per_minute in the connection.",
                stated.limit,
                self.window,
                self.limit,
            )
            self.lower_limit(stated.limit)
        if stated.remaining == 0 and stated.reset is not None and stated.reset <= MAX_RETRY_AFTER:
            with self._lock:
                self._paused_until = max(self._paused_until, self._clock() + stated.reset)

    def _try_acquire(self, queue_number: int) -> float | None:
        """Log the request and return None, or return the time when its turn is likely to come."""
        with self._lock:
            now = self._clock()
            self._bucket.leak(int(now * 1000))
            at = self._estimate_turn(bisect_left(self._queue, queue_number), now)
            if at <= now and self._bucket.put(RateItem("request", int(now * 1000))):
                self._in_flight[queue_number] = int(now * 1000)
                return None
            self._next_turn = max(at, now + _MIN_DELAY)
            return self._next_turn

    def _move_entry(self, logged: int, counted: int) -> None:
        self._bucket.move(logged, counted)

    def _estimate_turn(self, position: int, now: float) -> float:
        """Return when the request at a position of the queue may be sent, if all before it are sent."""
        used = self._bucket.count()
        windows, rank = divmod(position, self.limit)
        at = max(now, self._paused_until)
        must_expire = rank - (self.limit - used)
        if must_expire >= 0:
            expires: int = self._bucket.peek(used - 1 - must_expire).timestamp + self._rate.interval + 1
            at = max(at, expires / 1000)
        return at + windows * self._rate.interval / 1000

    def _sleep_time(self, at: float) -> float:
        now = self._clock()
        if self._paused_until > now:
            return self._paused_until - now + self._rng() * WAKE_UP_JITTER * self.window
        return min(at - now, RECHECK_SHARE * self.window)

    def _reserve_for_others(self, requests: int, at: float) -> None:
        for _ in range(requests):
            self._bucket.put(RateItem("others", int(at * 1000)))

    def _check_max_wait(self, at: float, too_late: float) -> None:
        if at > too_late:
            raise BankSyncBudgetError(
                f"the rate limit of the key is used up for the next {at - self._clock():.0f} s.",
                hint="Raise rate_limit_per_minute if the key's plan allows more, or send fewer requests at a time.",
            )


def _source(path: str) -> str:
    """Return the path of the account, bank or feed that a path belongs to."""
    segments = path.split("/")
    return "/".join(segments[: 6 if segments[4:5] == ["accounts"] else 4])


def _bank(source: str) -> str:
    return "/".join(source.split("/")[:4])
