"""The money that moves in an account: computed per account and week, never stored.

A card purchase appears as pending, vanishes one to three days later and comes back settled: under a new id, dated the
day it settled, naming the id it had. Everything else is settled from the start. What a client sees depends on the
moment of looking and on nothing else. Days are ordinals and moments are milliseconds here, because there are many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from airflow_provider_banksync.sandbox.habits import PATTERNS, Draft, everyday
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
_ROWS_KEPT = 60_000

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


class _Weeks(Generic[R]):
    """Remembers weeks, by account and number, up to so many rows; then it forgets the oldest."""

    def __init__(self) -> None:
        self._weeks: dict[tuple[str, int], list[list[R]]] = {}
        self._rows = 0

    def get(self, key: tuple[str, int]) -> list[list[R]] | None:
        return self._weeks.get(key)

    def keep(self, key: tuple[str, int], week: list[list[R]]) -> list[list[R]]:
        # A week without rows takes room as well, so each counts for one row more than it has.
        self._rows += sum(map(len, week)) + 1
        while self._rows > _ROWS_KEPT and self._weeks:
            self._rows -= sum(map(len, self._weeks.pop(next(iter(self._weeks))))) + 1
        self._weeks[key] = week
        return week


class Ledger:
    """The movements of all accounts of one world."""

    def __init__(self, seed: Seed, per_day: float | None = None) -> None:
        self._seed = seed
        # In thousandths, so that all days together come to exactly the number wanted.
        self._per_mille = None if per_day is None else round(per_day * 1000)
        self._weeks: _Weeks[Movement] = _Weeks()
        self._settled: _Weeks[Sighting] = _Weeks()
        self._added: dict[str, list[Movement]] = {}

    def add(self, account: Account, movement: Movement) -> None:
        """Let a movement happen that did not grow from the seed."""
        self._added.setdefault(account.id, []).append(movement)

    def withdraw(self, account: Account, reference: str) -> None:
        """Take back what was added under a reference."""
        self._added[account.id] = [
            each for each in self._added.get(account.id, ()) if each.reference != reference
        ]

    def sightings(self, account: Account, day: int, now: int) -> list[Sighting]:
        """Give the rows dated this day as they stand at ``now``, in the order in which they came."""
        if now >= day_start(day + LONGEST_PENDING + 1):
            grown = self._final(account, day // 7)[day % 7]
        else:
            grown = sorted(self._unsettled(account, day, now))
        if account.id not in self._added:
            return grown
        added = (_seen(movement, now) for movement in self._added[account.id])
        return sorted([*grown, *(each for each in added if each is not None and each.day == day)])

    def first_day(self, account: Account) -> int:
        """Give the first day that has rows, or could have."""
        opened = account.opened.toordinal()
        return min((opened, *(each.day for each in self._added.get(account.id, ()))))

    def late(self, account: Account, since: int, now: int) -> int | None:
        """Give the earliest day of what was added after ``since``: it may be dated long before it came."""
        added = (_seen(movement, now) for movement in self._added.get(account.id, ()))
        return min((each.day for each in added if each is not None and each.since > since), default=None)

    def _unsettled(self, account: Account, day: int, now: int) -> Iterator[Sighting]:
        for back in range(LONGEST_PENDING + 1):
            for movement in self._movements(account, day - back):
                seen = _seen(movement, now)
                if seen is not None and seen.day == day:
                    yield seen

    def _movements(self, account: Account, day: int) -> list[Movement]:
        return self._week(account, day // 7)[day % 7]

    def _final(self, account: Account, week: int) -> list[list[Sighting]]:
        """Sort a week's rows by the day they are dated when all has settled: no moment is needed then."""
        found = self._settled.get((account.id, week))
        if found is not None:
            return found
        days: list[list[Sighting]] = [[] for _ in range(7)]
        for day in range(week * 7 - LONGEST_PENDING, week * 7 + 7):
            for movement in self._movements(account, day):
                since = movement.settles or movement.appears
                dated = day_of(since)
                if dated // 7 == week:
                    days[dated % 7].append(Sighting(since, movement.order, dated, False, movement))
        for rows in days:
            rows.sort()
        return self._settled.keep((account.id, week), days)

    def _week(self, account: Account, week: int) -> list[list[Movement]]:
        found = self._weeks.get((account.id, week))
        return (
            found if found is not None else self._weeks.keep((account.id, week), self._compute(account, week))
        )

    def _compute(self, account: Account, week: int) -> list[list[Movement]]:
        habits = self._seed.dice("habits", account.id)
        pool = self._seed.digest(7 * _DAY_BYTES, "week", account.id, week)
        opened = account.opened.toordinal()
        drafts: list[list[Draft]] = []
        for day in range(week * 7, week * 7 + 7):
            start = day % 7 * _DAY_BYTES
            dice = Dice(int.from_bytes(pool[start : start + _DAY_BYTES], "big"))
            drafts.append([] if day < opened else self._drafts(account, habits, dice, day))
        return list(self._movements_of(account, week * 7, drafts))

    def _drafts(self, account: Account, habits: Dice, dice: Dice, day: int) -> list[Draft]:
        natural = list(PATTERNS[account.kind](habits.copy(), dice, day))
        if self._per_mille is None:
            return natural
        nth = day - account.opened.toordinal()
        wanted = (nth + 1) * self._per_mille // 1000 - nth * self._per_mille // 1000
        lacking = max(wanted - len(natural), 0)
        pool = self._seed.digest(lacking * _ROW_BYTES, "more", account.id, day)
        more = (
            everyday(account.kind, Dice(int.from_bytes(pool[start : start + _ROW_BYTES], "big")))
            for start in range(0, len(pool), _ROW_BYTES)
        )
        return [*natural[:wanted], *more]

    def _movements_of(
        self, account: Account, first: int, drafts: list[list[Draft]]
    ) -> Iterator[list[Movement]]:
        ids = self._seed.text(sum(map(len, drafts)) * ID_LENGTH * 2, "rows", account.id, first)
        numerator, denominator = account.currency.per_cent
        place = 0
        for day, drafted in enumerate(drafts, first):
            found = []
            begin = day_start(day) + _FIRST_MS
            stamp = f"REF{day}" if drafted else ""
            for order, draft in enumerate(drafted):
                appears = begin + draft.second * 1000
                is_card = draft.type == "card"
                found.append(
                    Movement(
                        ids[place : place + ID_LENGTH],
                        ids[place + ID_LENGTH : place + 2 * ID_LENGTH] if is_card else None,
                        draft.cents * numerator // denominator,
                        draft.description,
                        draft.category,
                        draft.type,
                        f"{stamp}{order:03d}",
                        day,
                        appears,
                        appears + draft.pending_seconds * 1000 if is_card else None,
                        order,
                    )
                )
                place += 2 * ID_LENGTH
            yield found


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
