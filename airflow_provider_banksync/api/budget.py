"""The requests that a key may send in a minute, shared by all that use the key in this process.

Threads, tasks, event loops and triggers of one process take from one budget. Each request is given its moment at once,
first come, first served, and waits for it: nobody polls, and the budget is used to its last request. The log of what
was sent is pyrate-limiter's. With a store (`stores`), several processes take from one budget.
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

from airflow_provider_banksync.api import stores
from airflow_provider_banksync.api.retry import LONGEST_RETRY_AFTER
from airflow_provider_banksync.exceptions import BankSyncBudgetError, BankSyncConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

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
#: A shared store is asked again after this share of a window where it has no moment within the next window.
ASK_AGAIN = 0.25
#: How long (seconds) a shared store that failed is done without.
WITHOUT_STORE = 60.0


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
        self._rate = Rate(limit, int((window + MARGIN) * 1000))
        self._bucket: stores.Bucket = InMemoryBucket([self._rate])
        self._paused_until = float("-inf")

    #: Its methods may wait for a disk or a network: not for an event loop's own thread.
    blocks = False

    def waits(self, patience: float | None = None) -> Iterator[float]:
        """Take one request from the budget: yield how long to wait, again until it may be sent.

        :param patience: seconds after which the request makes no sense any more; None: none.
        :raises BankSyncBudgetError: it would have to wait longer than that.
        """
        too_late = None if patience is None else self._clock() + patience
        while (moment := self._reserve()) is None:
            self._check(self._clock() + ASK_AGAIN * self.window, too_late)
            yield ASK_AGAIN * self.window * (0.9 + 0.2 * self._rng())
        try:
            self._check(moment, too_late)
        except BankSyncBudgetError:
            self._give_back(moment)
            raise
        try:
            yield max(0.0, moment - self._clock())
        except GeneratorExit:
            # Nobody waits for it any more: a task was killed, a trigger moved.
            self._give_back(moment)
            raise
        while (left := self._paused_until - self._clock()) > 0:
            self._check(self._paused_until, too_late)
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

    def _check(self, moment: float, too_late: float | None) -> None:
        if too_late is not None and moment > too_late:
            raise BankSyncBudgetError(
                f"the rate budget of the key is spent for the next {moment - self._clock():.0f} s."
            )

    def _give_back(self, moment: float) -> None:
        with self._lock:
            booked = int(moment * 1000)
            items = self._bucket.items  # type: ignore[attr-defined]  # it is the one in memory
            for item in reversed(items):
                if item.timestamp == booked:
                    items.remove(item)
                    return

    def _reserve(self) -> float | None:
        with self._lock:
            return self._take(self._clock())

    def _take(self, moment: float) -> float | None:
        """Book the next free moment at or after this one."""
        return self._book(moment, math.inf)

    def _book(self, moment: float, latest_start: float) -> float | None:
        """Book the next free moment at or after this one; None, and nothing is booked, if it is after the latest."""
        from pyrate_limiter import RateItem

        self._bucket.leak(int(self._clock() * 1000))
        latest = self._bucket.peek(0)
        item = RateItem("request", max(int(moment * 1000), latest.timestamp if latest else 0))
        while item.timestamp <= latest_start * 1000:
            if self._bucket.put(item):
                return float(item.timestamp) / 1000
            item.timestamp += max(1, int(self._bucket.waiting(item)))
        return None


class SharedBudget(RateBudget):
    """A budget that several processes spend, with its log in a store that all of them reach.

    A process that dies leaves what it had booked unspent: so none books more than one window ahead. While the store
    cannot be used, the process goes on with a budget of its own.

    :param store: address of the store, as `stores.check_store` returns it.
    :param name: tells the budgets of several keys in one store apart.
    """

    blocks = True

    def __init__(
        self,
        limit: int,
        window: float = 60.0,
        *,
        store: str,
        name: str,
        clock: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(limit, window, clock=clock, rng=rng)
        self._store = store
        self._name = name
        self._opened: tuple[stores.Bucket, AbstractContextManager[object]] | None = None
        self._without_until = float("-inf")
        self._own = self._bucket

    def _give_back(self, moment: float) -> None:
        """Leave it: the moment is no more than a window away."""

    def _take(self, moment: float) -> float | None:
        now = self._clock()
        latest_start = max(now, moment) + self.window + 2 * MARGIN
        if now >= self._without_until:
            try:
                if self._opened is None:
                    self._opened = stores.open_store(self._store, self._rate, self._name)
                self._bucket, held = self._opened
                with held:
                    self._forget_the_impossible(now)
                    return self._book(moment, latest_start)
            except BankSyncConfigError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever the library raises; its words may hold a password
                self._opened = None
                self._without_until = now + WITHOUT_STORE
                log.warning(
                    "rate_limit_store cannot be used (%s): for %.0f s this process has a budget of its own.",
                    type(error).__name__,
                    WITHOUT_STORE,
                )
        self._bucket = self._own
        return self._book(moment, latest_start)

    def _forget_the_impossible(self, now: float) -> None:
        """Empty the log where it holds what nobody books so far ahead: somebody's clock was wrong."""
        latest = self._bucket.peek(0)
        if latest and latest.timestamp / 1000 > now + 2 * (self.window + LONGEST_RETRY_AFTER):
            log.warning("rate_limit_store holds requests of the far future: it is emptied.")
            self._bucket.flush()


_budgets: dict[tuple[object, ...], RateBudget] = {}
_budgets_lock = threading.Lock()
#: Those of a parent process: a SQLite connection must not even be closed by a child.
_of_the_parent: list[RateBudget] = []


def budget_for(config: ClientConfig) -> RateBudget:
    """Return the budget of the connection's key in this process; a forked process begins its own."""
    identity = hashlib.sha256(f"{config.base_url} {config.secret}".encode()).hexdigest()
    limit, window, store = config.rate_limit, config.rate_window, config.rate_limit_store
    key = (identity, limit, window, store)
    with _budgets_lock:
        if key not in _budgets:
            _budgets[key] = (
                SharedBudget(limit, window, store=store, name=f"banksync_{identity[:16]}")
                if store
                else RateBudget(limit, window)
            )
        return _budgets[key]


def _begin_anew() -> None:
    """Forget, in a forked child, what the parent's threads were in the middle of: a lock may be held by one of them."""
    global _budgets_lock  # noqa: PLW0603 - the lock itself has to be another one
    _budgets_lock = threading.Lock()
    _of_the_parent.extend(_budgets.values())
    _budgets.clear()


os.register_at_fork(after_in_child=_begin_anew)
