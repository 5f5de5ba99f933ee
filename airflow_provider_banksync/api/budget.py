"""The requests that a key may send in a minute, shared by all that use the key in this process.

Threads, tasks, event loops and triggers of one process take from one budget. Each request is given its moment at once,
first come, first served, and waits for it: nobody polls, and the budget is used to its last request. The log of what
was sent is pyrate-limiter's.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import random
import threading
import time
from typing import TYPE_CHECKING

from airflow_provider_banksync.api.retry import LONGEST_RETRY_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_banksync.api.config import ClientConfig

log = logging.getLogger(__name__)

#: The server counts when a request arrives, we when it leaves: the window is this much longer (seconds) for that.
MARGIN = 0.25
#: A pause after a 429 that does not say how long to wait.
DEFAULT_PAUSE = 1.0
#: Those who waited for the end of a pause come back spread over this share of a window, not in step.
SPREAD = 0.05
#: Share of the limit that each 429 counts as spent by somebody else, for one window.
SPENT_BY_OTHERS = 0.1


class RateBudget:
    """A sliding window of requests.

    :param limit: how many requests may be sent in a window.
    :param window: seconds.
    :param clock: monotonic seconds.
    :param rng: gives numbers from 0 to 1.
    """

    def __init__(
        self,
        limit: int,
        window: float = 60.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        from pyrate_limiter import InMemoryBucket, Rate

        self.limit = limit
        self.window = window
        self._clock = clock
        self._rng = rng
        self._lock = threading.Lock()
        self._bucket = InMemoryBucket([Rate(limit, int((window + MARGIN) * 1000))])
        self._paused_until = float("-inf")

    def waits(self) -> Iterator[float]:
        """Take one request from the budget: yield how long to wait, again until it may be sent."""
        moment = self._reserve()
        try:
            yield max(0.0, moment - self._clock())
        except GeneratorExit:
            # Nobody waits for it any more: a task was killed, a trigger moved.
            self._give_back(moment)
            raise
        while (left := self._paused_until - self._clock()) > 0:
            yield left + self._rng() * SPREAD * self.window

    def refused(self, retry_after: float | None) -> None:
        """Hear of a 429: somebody else spends from the same budget.

        All pause for as long as the server says, and a part of the next window counts as spent by the others; it comes
        back by itself when that window has passed.
        """
        pause = min(DEFAULT_PAUSE if retry_after is None else retry_after, LONGEST_RETRY_AFTER)
        with self._lock:
            now = self._clock()
            paused = now < self._paused_until
            self._paused_until = max(self._paused_until, now + pause)
            if paused:  # the many that were under way are refused together, and count once
                return
            for _ in range(math.ceil(self.limit * SPENT_BY_OTHERS)):
                self._take(self._paused_until)
        log.warning("The rate limit was reached: all requests of this key pause for %.1f s.", pause)

    def _give_back(self, moment: float) -> None:
        with self._lock:
            booked = int(moment * 1000)
            for item in reversed(self._bucket.items):
                if item.timestamp == booked:
                    self._bucket.items.remove(item)
                    return

    def _reserve(self) -> float:
        with self._lock:
            return self._take(self._clock())

    def _take(self, moment: float) -> float:
        """Book the next free moment at or after this one."""
        from pyrate_limiter import RateItem

        self._bucket.leak(int(self._clock() * 1000))
        latest = self._bucket.peek(0)
        item = RateItem("request", max(int(moment * 1000), latest.timestamp if latest else 0))
        while not self._bucket.put(item):
            wait = self._bucket.waiting(item)
            item.timestamp += max(1, int(wait))  # type: ignore[arg-type]  # an in-memory bucket never gives an awaitable
        return float(item.timestamp) / 1000


_budgets: dict[tuple[str, int, float], RateBudget] = {}
_budgets_lock = threading.Lock()


def budget_for(config: ClientConfig) -> RateBudget:
    """Return the budget of the connection's key in this process; a forked process begins its own."""
    identity = hashlib.sha256(f"{config.base_url} {config.secret}".encode()).hexdigest()
    key = (identity, config.rate_limit, config.rate_window)
    with _budgets_lock:
        if key not in _budgets:
            _budgets[key] = RateBudget(config.rate_limit, config.rate_window)
        return _budgets[key]


def _begin_anew() -> None:
    """Forget, in a forked child, what the parent's threads were in the middle of: a lock may be held by one of them."""
    global _budgets_lock  # noqa: PLW0603 - the lock itself has to be another one
    _budgets_lock = threading.Lock()
    _budgets.clear()


os.register_at_fork(after_in_child=_begin_anew)
