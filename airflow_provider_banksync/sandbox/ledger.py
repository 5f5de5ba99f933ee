"""The money that moves in an account: computed per account and span of days, never stored.

A card purchase appears as pending, vanishes one to three days later and comes back settled: under a new id, dated the
day it settled, naming the id it had. Everything else is settled from the start. What a client sees depends on the
moment of looking and on nothing else. Days are ordinals and moments are milliseconds here, because there are many.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from airflow_provider_banksync.sandbox.habits import PATTERNS, Draft, everyday
from airflow_provider_banksync.sandbox.model import Kind
from airflow_provider_banksync.sandbox.seed import ID_LENGTH, Dice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.model import Account
    from airflow_provider_banksync.sandbox.seed import Seed

DAY_MS = 86_400_000
LONGEST_PENDING = 3
"""Days after which the last purchase of a day has settled."""
_EPOCH_DAY = 719_163
_FIRST_MS = 6 * 3_600_000
"""Nothing appears before six in the morning."""
_DAY_BYTES = 96
_ROW_BYTES = 12
_SPAN = 28
"""Days that are computed at once: one by one, the hashing of each would cost more than its rows."""
_ROWS_KEPT = 60_000

_ADDED = 1_000_000
"""The order of an added row among those of one moment is above this, and that of all others below it."""

R = TypeVar("R")


def day_start(day: int) -> int:
    """Give the moment at which a day begins."""
    return (day - _EPOCH_DAY) * DAY_MS


def day_of(moment: int) -> int:
    """Give the day that a moment lies in."""
    return moment // DAY_MS + _EPOCH_DAY


class Movement(NamedTuple):
    """Money going in (positive) or out, in the smallest units of the account's currency."""

    id: str
    pending_id: str | None
    """The id that it had, or has, while it is pending."""
    units: int
    description: str
    category: str
    type: str
    reference: str
    day: int
    appears: int
    settles: int | None
    order: int


class Sighting(NamedTuple):
    """One row as it is seen at a moment. Sorts by when it came to look like that."""

    since: int
    order: int
    day: int
    pending: bool
    movement: Movement


class Moment(NamedTuple):
    """When somebody looked: the time, and which row had been added last by then.

    Where the clock stands still, only the second tells what is new from what was there.
    """

    ms: int
    added: int

    def precedes(self, row: Sighting) -> bool:
        """Say whether the row came to look like that after this moment."""
        return row.since > self.ms or row.order > self.added


class _Spans(Generic[R]):
    """Remembers the rows of spans of days, by account and number, up to so many; then it forgets the oldest."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, int], list[R]] = {}
        self._rows = 0

    def get(self, key: tuple[str, int]) -> list[R] | None:
        return self._spans.get(key)

    def keep(self, key: tuple[str, int], rows: list[R]) -> list[R]:
        # A span without rows takes room as well, so each counts for one row more than it has.
        self._rows += len(rows) + 1
        while self._rows > _ROWS_KEPT and self._spans:
            self._rows -= len(self._spans.pop(next(iter(self._spans)))) + 1
        self._spans[key] = rows
        return rows


class Ledger:
    """The movements of all accounts of one world."""

    def __init__(self, seed: Seed, per_day: float | None = None) -> None:
        self._seed = seed
        # In thousandths, so that all days together come to exactly the number wanted.
        self._per_mille = None if per_day is None else round(per_day * 1000)
        self._spans: _Spans[Movement] = _Spans()
        self._settled: _Spans[Sighting] = _Spans()
        self._added: dict[str, list[Movement]] = {}
        self._last_added = _ADDED

    def moment(self, ms: int) -> Moment:
        """Give the moment of looking now."""
        return Moment(ms, self._last_added)

    def add(self, account: Account, movement: Movement) -> None:
        """Let a movement happen that did not grow from the seed."""
        self._last_added += 1
        self._added.setdefault(account.id, []).append(movement._replace(order=self._last_added))

    def withdraw(self, account: Account, reference: str) -> None:
        """Take back what was added under a reference."""
        self._added[account.id] = [
            each for each in self._added.get(account.id, ()) if each.reference != reference
        ]

    def stretch(self, account: Account, day: int, now: Moment) -> tuple[list[Sighting], int]:
        """Give the rows from this day on as they stood at ``now``, for some days, and the first day after those.

        They come day by day, and within a day in the order in which they came: however the days are cut into stretches.
        """
        last = day - day % _SPAN + _SPAN - 1
        if now.ms < day_start(last + LONGEST_PENDING + 1):
            return self._between(account, day, day, now), self._next_day(account, day + 1)
        span = self._final(account, day // _SPAN)
        rows = span if day % _SPAN == 0 else [row for row in span if row.day >= day]
        added = self._added_between(account, day, last, now)
        return sorted([*rows, *added], key=_place) if added else rows, self._next_day(account, last + 1)

    def count(self, account: Account, first: int, last: int, now: Moment) -> int:
        """Count the rows of a window of days, both included, as they stood at ``now``."""
        rows, day = 0, max(first, self.first_day(account))
        while day <= last and now.ms >= day_start(day - day % _SPAN + _SPAN + LONGEST_PENDING):
            stretch, after = self.stretch(account, day, now)
            rows += len(stretch) if after <= last + 1 else sum(row.day <= last for row in stretch)
            day = after
        return rows + (self._count_unsettled(account, day, last, now) if day <= last else 0)

    def _count_unsettled(self, account: Account, first: int, last: int, now: Moment) -> int:
        # Jobs are listed by the dozen, and each is counted: so the rows are not made that nobody reads.
        rows = len(self._added_between(account, first, last, now))
        for span in range((first - LONGEST_PENDING) // _SPAN, last // _SPAN + 1):
            for movement in self._span(account, span):
                if movement.day < first - LONGEST_PENDING or movement.appears > now.ms:
                    continue
                settles = movement.settles
                day = movement.day if settles is None or settles > now.ms else day_of(settles)
                rows += first <= day <= last
        return rows

    def _between(self, account: Account, first: int, last: int, now: Moment) -> list[Sighting]:
        """Give the rows of days that have not all settled."""
        spans = range((first - LONGEST_PENDING) // _SPAN, last // _SPAN + 1)
        seen = (_seen(movement, now.ms) for span in spans for movement in self._span(account, span))
        rows = [each for each in seen if each is not None and first <= each.day <= last]
        return sorted([*rows, *self._added_between(account, first, last, now)], key=_place)

    def _added_between(self, account: Account, first: int, last: int, now: Moment) -> list[Sighting]:
        added = self._added.get(account.id)
        if not added:
            return []
        seen = (_seen(movement, now.ms) for movement in added if movement.order <= now.added)
        return [each for each in seen if each is not None and first <= each.day <= last]

    def _next_day(self, account: Account, day: int) -> int:
        """Give the next day that can have rows: before the account was opened, only those of added rows can."""
        opened = account.opened.toordinal()
        if day >= opened:
            return day
        return min((opened, *(each.day for each in self._added.get(account.id, ()) if each.day >= day)))

    def first_day(self, account: Account) -> int:
        """Give the first day that has rows, or could have."""
        opened = account.opened.toordinal()
        return min((opened, *(each.day for each in self._added.get(account.id, ()))))

    def late(self, account: Account, since: Moment, now: Moment) -> int | None:
        """Give the earliest day of what was added after ``since``: it may be dated long before it came."""
        added = (_seen(movement, now.ms) for movement in self._added.get(account.id, ()))
        return min((each.day for each in added if each is not None and since.precedes(each)), default=None)

    def _final(self, account: Account, span: int) -> list[Sighting]:
        """Give a span's rows as they are once all has settled: then no moment is needed to tell."""
        found = self._settled.get((account.id, span))
        if found is not None:
            return found
        begin = day_start(span * _SPAN)
        end = begin + _SPAN * DAY_MS
        rows = []
        # What is dated in this span was seen first in it or in the one before.
        for movement in (*self._span(account, span - 1), *self._span(account, span)):
            since = movement.settles or movement.appears
            if begin <= since < end:
                rows.append(Sighting(since, movement.order, since // DAY_MS + _EPOCH_DAY, False, movement))
        rows.sort()
        return self._settled.keep((account.id, span), rows)

    def _span(self, account: Account, span: int) -> list[Movement]:
        """Give the movements that first appear in a span."""
        found = self._spans.get((account.id, span))
        if found is None:
            found = self._spans.keep((account.id, span), self._compute(account, span))
        return found

    def _compute(self, account: Account, span: int) -> list[Movement]:
        opened = account.opened.toordinal()
        days = range(span * _SPAN, (span + 1) * _SPAN)
        if self._per_mille is None:
            drafts = self._habitual(account, opened, days)
        else:
            drafts = self._dense(account, opened, days, self._per_mille)
        return list(self._movements_of(account, days.start, drafts))

    def _habitual(self, account: Account, opened: int, days: range) -> list[list[Draft]]:
        """Draft what the account's habits bring."""
        habits, pattern = self._seed.dice("habits", account.id), PATTERNS[account.kind]
        pool = self._seed.digest(_SPAN * _DAY_BYTES, "days", account.id, days.start)
        drafts: list[list[Draft]] = []
        for start, day in zip(range(0, len(pool), _DAY_BYTES), days, strict=True):
            dice = Dice(int.from_bytes(pool[start : start + _DAY_BYTES], "big"))
            drafts.append([] if day < opened else list(pattern(habits.copy(), dice, day)))
        return drafts

    def _dense(self, account: Account, opened: int, days: range, per_mille: int) -> list[list[Draft]]:
        """Draft as many movements as were asked for, all of the everyday sort."""
        until = [max(day - opened, 0) * per_mille // 1000 for day in (*days, days.stop)]
        pool = self._seed.digest((until[-1] - until[0]) * _ROW_BYTES, "rows", account.id, days.start)
        spends = account.kind is Kind.CHECKING or account.kind is Kind.CREDIT
        made = [
            everyday(spends, int.from_bytes(pool[start : start + _ROW_BYTES], "big"))
            for start in range(0, len(pool), _ROW_BYTES)
        ]
        return [made[first - until[0] : last - until[0]] for first, last in pairwise(until)]

    def _movements_of(self, account: Account, first: int, drafts: list[list[Draft]]) -> Iterator[Movement]:
        ids = self._seed.text(sum(map(len, drafts)) * ID_LENGTH * 2, "ids", account.id, first)
        numerator, denominator = account.currency.per_cent
        place = 0
        for day, drafted in enumerate(drafts, first):
            begin = day_start(day) + _FIRST_MS
            for order, draft in enumerate(drafted):
                appears = begin + draft.second * 1000
                is_card = draft.type == "card"
                half = place + ID_LENGTH
                yield Movement(
                    ids[place:half],
                    ids[half : half + ID_LENGTH] if is_card else None,
                    draft.cents * numerator // denominator,
                    draft.description,
                    draft.category,
                    draft.type,
                    f"REF{day}{order:03d}",
                    day,
                    appears,
                    appears + draft.pending_seconds * 1000 if is_card else None,
                    order,
                )
                place = half + ID_LENGTH


def _place(row: Sighting) -> tuple[int, int, int]:
    return row.day, row.since, row.order


def _seen(movement: Movement, now: int) -> Sighting | None:
    """Give a movement as it is seen at ``now``: not yet, pending or settled."""
    if now < movement.appears:
        return None
    settles = movement.settles
    if settles is None:
        return Sighting(movement.appears, movement.order, movement.day, False, movement)
    if now < settles:
        return Sighting(movement.appears, movement.order, movement.day, True, movement)
    return Sighting(settles, movement.order, day_of(settles), False, movement)
