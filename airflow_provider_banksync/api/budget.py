"""The requests that a key may send in a minute, shared by all that use the key in this process.

Threads, tasks, event loops and triggers of one process take from one budget, first come, first served: whoever waits
knows from its place in the queue when its turn is likely to come, and sleeps until then. The log of what was sent is
pyrate-limiter's. With a store (`stores`), several processes take from one budget.

A request may leave later than at its moment, and the server counts it later still: on a busy machine, by more than any
margin. So what is sent is logged at once, and moved to the moment of its answer when that comes: the server has counted
it by then. What it makes room for comes a window after that, and so never too early, whatever the delays.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import os
import random
import threading
import time
from bisect import bisect_left, insort
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_banksync.api import stores
from airflow_provider_banksync.api.retry import LONGEST_RETRY_AFTER
from airflow_provider_banksync.exceptions import BankSyncBudgetError, BankSyncConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from airflow_provider_banksync.api.config import ClientConfig

log = logging.getLogger(__name__)

_R = TypeVar("_R")
#: Our window is longer than the server's by this share of it: clocks do not run alike.
MARGIN = 0.004
#: Where answers take long on the whole, a request counts as counted after this time (seconds), although its answer is
#: still to come: else too much of the budget would stay unspent.
LATEST_COUNT = 1.0
#: So much more (seconds) may all answers of a window take before that begins: a server, or a machine, that is stuck for
#: a moment has not counted what it has not answered.
SPARE = 9.0
#: A pause after a 429 that does not say how long to wait, or says "not at all".
DEFAULT_PAUSE = 1.0
#: Those who waited for the end of a pause come back spread over this share of a window, not in step.
SPREAD = 0.05
#: Share of the limit that a 429 counts as spent by somebody else, for one window.
SPENT_BY_OTHERS = 0.1
#: Nobody sleeps longer than this share of a window without a look at the queue, which may have become shorter.
ASK_AGAIN = 0.25
#: How long (seconds) a shared store that failed is done without.
WITHOUT_STORE = 60.0
#: One more look, where the estimate was early by less than that.
_TICK = 0.001

_tickets = itertools.count()


def ticket() -> int:
    """Return a place in the queue; a request that is tried again keeps its own."""
    return next(_tickets)


class RateBudget:
    """A sliding window of requests.

    :param limit: how many requests may be sent in a window.
    :param window: seconds.
    :param clock: monotonic seconds.
    :param rng: gives numbers from 0 to 1.
    """

    #: Its methods may wait for a disk or a network: not for an event loop's own thread.
    blocks = False

    def __init__(
        self,
        limit: int,
        window: float = 60.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        from pyrate_limiter import Rate

        from airflow_provider_banksync.api.buckets import MemoryBucket

        self.limit = limit
        self.window = window
        self._clock = clock
        self._rng = rng
        self._lock = threading.Lock()
        self._rate = Rate(limit, int(window * (1 + MARGIN) * 1000))
        self._bucket: stores.Bucket = MemoryBucket([self._rate])
        self._under_way: dict[int, int] = {}
        self._spare = limit * SPARE
        self._queue: list[int] = []
        self._paused_until = float("-inf")
        self._refusals_counted_until = float("-inf")

    def waits(self, patience: float | None = None, place: int | None = None) -> Iterator[float]:
        """Take one request from the budget: yield how long to wait, as often as needed, until it may be sent.

        :param patience: seconds after which the request makes no sense any more; None: it always does.
        :param place: the request's `ticket`, if it has one already.
        :raises BankSyncBudgetError: it would have to wait longer than `patience`; nothing is spent.
        """
        too_late = math.inf if patience is None else self._clock() + patience
        place = ticket() if place is None else place
        with self._lock:
            insort(self._queue, place)
        try:
            while (moment := self._take(place)) is not None:
                self._check(moment, too_late)
                yield self._nap(moment)
        finally:
            # Sent, too late, or nobody waits for it any more: a task was killed, a trigger moved.
            with self._lock:
                del self._queue[bisect_left(self._queue, place)]

    def counted(self, place: int, sent: float, answered: float) -> None:
        """Hear that a request is over: the server counted it between these two moments (``time.monotonic``).

        :param place: the request's `ticket`.
        :param answered: when the head of the answer came; where none came, when that was clear.
        """
        with self._lock:
            logged = self._under_way.pop(place, None)
            if logged is not None:
                ago = time.monotonic() - self._latest(sent, answered)
                at = int(
                    (self._clock() - ago) * 1000
                )  # the clock after the other: rather too late than too early
                if logged < at:
                    self._move(logged, at)

    def _latest(self, sent: float, answered: float) -> float:
        """Return when a request was counted at the latest; the answer itself as long as the budget can bear it."""
        spare = self._spare + LATEST_COUNT - (answered - sent)
        if spare < 0:
            return min(answered, sent + LATEST_COUNT)
        self._spare = min(spare, self.limit * SPARE)
        return answered

    def refused(self, retry_after: float | None) -> None:
        """Hear of a 429: somebody else spends from the same budget.

        All pause for as long as the server says, and a part of the next window counts as spent by the others; it comes
        back by itself when that window has passed.
        """
        pause = min(retry_after or DEFAULT_PAUSE, LONGEST_RETRY_AFTER)
        with self._lock:
            now = self._clock()
            self._paused_until = max(self._paused_until, now + pause)
            if now < self._refusals_counted_until:
                return  # the many that were under way are refused together, and count once
            self._refusals_counted_until = max(self._paused_until, now + SPENT_BY_OTHERS * self.window)
            self._spend(math.ceil(self.limit * SPENT_BY_OTHERS), self._paused_until)
        log.warning("The rate limit was reached: all requests of this key pause for %.1f s.", pause)

    def tighten(self, limit: int) -> None:
        """Lower the limit, where two connections with the same key disagree about it."""
        from pyrate_limiter import Rate

        with self._lock:
            if limit < self.limit:
                self.limit = limit
                self._rate = Rate(limit, self._rate.interval)
                self._bucket.rates = [self._rate]

    def _take(self, place: int) -> float | None:
        """Send now, and return None; or return the moment when the turn is likely to come."""
        from pyrate_limiter import RateItem

        with self._lock:
            now = self._clock()
            self._bucket.leak(int(now * 1000))
            moment = self._turn_of(bisect_left(self._queue, place), now)
            if moment <= now and self._bucket.put(RateItem("request", int(now * 1000))):
                self._under_way[place] = int(now * 1000)
                return None
            return max(moment, now + _TICK)

    def _move(self, logged: int, counted: int) -> None:
        self._bucket.move(logged, counted)

    def _turn_of(self, position: int, now: float) -> float:
        """Tell when the request at this position of the queue may be sent, if nobody leaves it."""
        spent = self._bucket.count()
        windows, rank = divmod(position, self.limit)
        moment = max(now, self._paused_until)
        must_leave = rank - (self.limit - spent)
        if must_leave >= 0:
            leaves = self._bucket.peek(spent - 1 - must_leave).timestamp + self._rate.interval + 1
            moment = max(moment, leaves / 1000)
        return moment + windows * self._rate.interval / 1000

    def _nap(self, moment: float) -> float:
        """Return how long to sleep towards a moment."""
        now = self._clock()
        if self._paused_until > now:
            return self._paused_until - now + self._rng() * SPREAD * self.window
        return min(moment - now, ASK_AGAIN * self.window)

    def _spend(self, requests: int, moment: float) -> None:
        from pyrate_limiter import RateItem

        for _ in range(requests):
            self._bucket.put(RateItem("others", int(moment * 1000)))

    def _check(self, moment: float, too_late: float) -> None:
        if moment > too_late:
            raise BankSyncBudgetError(
                f"the rate budget of the key is spent for the next {moment - self._clock():.0f} s.",
                hint="Raise rate_limit_per_minute if the key's plan allows more, or ask for less at a time.",
            )


class SharedBudget(RateBudget):
    """A budget that several processes spend, with its log in a store that all of them reach.

    A request is booked in the store, for the next free moment; when that has come, it leaves if there is still room:
    those before it may have been counted later than they had booked. A process that dies leaves what it had booked
    unspent: so nothing is booked more than one window ahead. While the store cannot be used, the process goes on with a
    log of its own.

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
        self._booked: dict[int, int] = {}

    def waits(self, patience: float | None = None, place: int | None = None) -> Iterator[float]:
        """Take one request from the budget, as in `RateBudget`; the queue is the store's."""
        too_late = math.inf if patience is None else self._clock() + patience
        place = ticket() if place is None else place
        try:
            while (moment := self._take(place)) is not None:
                self._check(moment, too_late)
                yield max(0.0, moment - self._clock())
        finally:
            self._booked.pop(place, None)  # no lock: whoever holds it may be waiting for the store

    def tighten(self, limit: int) -> None:
        """Lower the limit; what is booked already stays."""
        if limit < self.limit:
            super().tighten(limit)
            self._opened = None

    def _take(self, place: int) -> float | None:
        with self._lock:
            now = self._clock()
            booked = self._booked.get(place)
            if booked is None:
                return self._take_anew(place)
            if self._paused_until > now:
                # What was booked for the time of the pause is booked anew, after it: not all at once at its end.
                del self._booked[place]
                return now + self._nap(self._paused_until)
            if booked / 1000 > now:
                return booked / 1000
            return self._in_log(lambda bucket: self._leave(bucket, place, booked))

    def _take_anew(self, place: int) -> float | None:
        booked = self._in_log(lambda bucket: self._book(bucket, self._paused_until))
        now = self._clock()
        if booked is None:
            return now + ASK_AGAIN * self.window * (0.9 + 0.2 * self._rng())
        if booked / 1000 > now:
            self._booked[place] = booked
            return booked / 1000
        self._under_way[place] = booked
        return None

    def _leave(self, bucket: stores.Bucket, place: int, booked: int) -> float | None:
        """Send now what was booked, and return None; or return the moment when there is likely to be room."""
        now = max(booked, int(self._clock() * 1000))
        before = bucket.moments(now - self._rate.interval, now)
        if booked not in before:  # the store was away or emptied, or this comes far too late
            self._booked.pop(place, None)
            return now / 1000
        before.remove(booked)
        if len(before) >= self.limit:
            return (before[len(before) - self.limit] + self._rate.interval + 1) / 1000
        bucket.move(booked, now)
        self._under_way[place] = now
        return None

    def _spend(self, requests: int, moment: float) -> None:
        for _ in range(requests):
            self._in_log(lambda bucket: self._book(bucket, moment))

    def _move(self, logged: int, counted: int) -> None:
        self._in_log(lambda bucket: bucket.move(logged, counted))

    def _in_log(self, ask: Callable[[stores.Bucket], _R]) -> _R:
        """Ask the store's log; while the store cannot be used, this process's own."""
        if self._clock() >= self._without_until:
            try:
                if self._opened is None:
                    self._opened = stores.open_store(self._store, self._rate, self._name)
                bucket, held = self._opened
                with held:
                    return ask(bucket)
            except BankSyncConfigError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever the library raises; its words may hold a password
                self._opened = None
                self._without_until = self._clock() + WITHOUT_STORE
                log.warning(
                    "rate_limit_store cannot be used (%s): for %.0f s this process has a budget of its own.",
                    type(error).__name__,
                    WITHOUT_STORE,
                )
        return ask(self._bucket)

    def _book(self, bucket: stores.Bucket, earliest: float) -> int | None:
        """Book the next free moment; None, and nothing is booked, if it is too far away."""
        from pyrate_limiter import RateItem

        now = self._clock()  # not before: the lock may have taken its time
        self._forget_the_impossible(bucket, now)
        bucket.leak(int(now * 1000))
        last = bucket.peek(0)
        item = RateItem("request", max(int(max(now, earliest) * 1000), last.timestamp if last else 0))
        while item.timestamp <= (max(now, earliest) + self.window * (1 + 2 * MARGIN)) * 1000:
            if bucket.put(item):
                return item.timestamp
            item.timestamp += max(1, int(bucket.waiting(item)))
        return None

    def _forget_the_impossible(self, bucket: stores.Bucket, now: float) -> None:
        """Empty the log where it holds what nobody books so far ahead: somebody's clock was wrong."""
        latest = bucket.peek(0)
        if latest and latest.timestamp / 1000 > now + 2 * (self.window + LONGEST_RETRY_AFTER):
            log.warning("rate_limit_store holds requests of the far future: it is emptied.")
            bucket.flush()


_budgets: dict[tuple[object, ...], RateBudget] = {}
_budgets_lock = threading.Lock()
#: Those of a parent process: a SQLite connection must not even be closed by a child.
_of_the_parent: list[RateBudget] = []


def budget_for(config: ClientConfig) -> RateBudget:
    """Return the budget of the connection's key in this process; a forked process begins its own.

    Where connections with the same key name several limits, the lowest counts.
    """
    identity = hashlib.sha256(f"{config.base_url} {config.secret}".encode()).hexdigest()
    limit, window, store = config.rate_limit, config.rate_window, config.rate_limit_store
    key = (identity, window, store)
    with _budgets_lock:
        if key not in _budgets:
            _budgets[key] = (
                SharedBudget(limit, window, store=store, name=f"banksync_{identity[:16]}")
                if store
                else RateBudget(limit, window)
            )
        budget = _budgets[key]
    budget.tighten(limit)
    return budget


def _begin_anew() -> None:
    """Forget, in a forked child, what the parent's threads were in the middle of: a lock may be held by one of them."""
    global _budgets_lock  # noqa: PLW0603 - the lock itself has to be another one
    _budgets_lock = threading.Lock()
    _of_the_parent.extend(_budgets.values())
    _budgets.clear()


os.register_at_fork(after_in_child=_begin_anew)
