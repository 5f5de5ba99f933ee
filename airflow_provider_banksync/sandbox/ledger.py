"""The money that moves in an account: computed per account and day, never stored.

A card purchase appears as pending, vanishes one to three days later and comes back settled: under a new id, dated the
day it settled, naming the id it had. Everything else is settled from the start. What a client sees depends on the
moment of looking and on nothing else.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.model import Account, Kind
from airflow_provider_banksync.sandbox.names import CUSTOMERS, MERCHANTS, STAFF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_banksync.sandbox.seed import Dice, Seed

LONGEST_PENDING = 3
"""Days after which the last purchase of a day has settled."""


@dataclass(frozen=True)
class Movement:
    """Money going in (positive) or out, in US cents before the account's currency is applied."""

    key: str
    day: date
    cents: int
    description: str
    category: str
    type: str
    appears: datetime
    settles: datetime | None = None


@dataclass(frozen=True)
class Sighting:
    """One row as it is seen at a moment: a movement, pending or settled, and since when it looks like that."""

    movement: Movement
    pending: bool
    day: date
    since: datetime


@dataclass(frozen=True)
class _Draft:
    cents: int
    description: str
    category: str
    type: str


class Ledger:
    """The movements of all accounts of one world."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        self._remembered = lru_cache(maxsize=4096)(self._compute)

    def sightings(self, account: Account, day: date, now: datetime) -> list[Sighting]:
        """Give the rows dated this day as they stand at ``now``, in the order in which they came."""
        seen = list(self._dated(account, day, now))
        seen.sort(key=lambda sighting: (sighting.since, sighting.movement.key))
        return seen

    def _dated(self, account: Account, day: date, now: datetime) -> Iterator[Sighting]:
        for movement in self._movements(account, day):
            settled = movement.settles is None
            waiting = movement.settles is not None and now < movement.settles
            if movement.appears <= now and (settled or waiting):
                yield Sighting(movement, pending=waiting, day=day, since=movement.appears)
        for back in range(1, LONGEST_PENDING + 1):
            for movement in self._movements(account, day - timedelta(days=back)):
                moment = movement.settles
                if moment is not None and moment.date() == day and moment <= now:
                    yield Sighting(movement, pending=False, day=day, since=moment)

    def _movements(self, account: Account, day: date) -> tuple[Movement, ...]:
        if day < account.opened:
            return ()
        return self._remembered(account.id, account.kind, day)

    def _compute(self, account_id: str, kind: Kind, day: date) -> tuple[Movement, ...]:
        dice = self._seed.dice("day", account_id, day)
        habits = self._seed.dice("habits", account_id)
        return tuple(
            _movement(dice, day, number, draft)
            for number, draft in enumerate(_PATTERNS[kind](habits, dice, day))
        )


def _movement(dice: Dice, day: date, number: int, draft: _Draft) -> Movement:
    appears = datetime.combine(day, time(6), timezone.utc) + timedelta(seconds=dice.below(50_000))
    settles = None
    if draft.type == "card":
        settles = appears + timedelta(days=dice.between(1, LONGEST_PENDING - 1), seconds=dice.below(20_000))
    return Movement(
        key=f"{day:%Y%m%d}-{number}",
        day=day,
        cents=draft.cents,
        description=draft.description,
        category=draft.category,
        type=draft.type,
        appears=appears,
        settles=settles,
    )


def _purchases(dice: Dice, day: date, at_most: int) -> Iterator[_Draft]:
    for _ in range(dice.below((at_most if day.weekday() < 5 else 1) + 1)):
        merchant, category, low, high = dice.pick(MERCHANTS)
        yield _Draft(-dice.between(low, high), merchant, category, "card")


def _checking(habits: Dice, dice: Dice, day: date) -> Iterator[_Draft]:
    rent, salary, payday = (
        habits.between(90_000, 420_000),
        habits.between(210_000, 480_000),
        habits.between(24, 28),
    )
    last = monthrange(day.year, day.month)[1]
    if day.day == 1:
        yield _Draft(-rent, "Rent Harbour Estates", "Rent", "standing_order")
    if day.day == payday:
        for name in STAFF[: habits.between(1, 3)]:
            yield _Draft(-salary - dice.below(9_000), f"Salary {name}", "Payroll", "transfer")
    if day.day == last:
        yield _Draft(-1_250, "Account maintenance fee", "Bank fees", "fee")
    if day.weekday() == 4:
        yield _Draft(-dice.between(10_000, 80_000), "Transfer to reserve", "Transfer", "transfer")
    if day.weekday() < 5 and dice.chance(0.45):
        yield _Draft(dice.between(18_000, 640_000), dice.pick(CUSTOMERS), "Revenue", "credit")
    yield from _purchases(dice, day, 2)


def _savings(habits: Dice, dice: Dice, day: date) -> Iterator[_Draft]:
    if day.weekday() == 4:
        yield _Draft(dice.between(10_000, 80_000), "Transfer from current account", "Transfer", "transfer")
    if day.day == 1:
        yield _Draft(habits.between(900, 14_000), "Interest", "Interest", "interest")


def _credit(habits: Dice, dice: Dice, day: date) -> Iterator[_Draft]:
    if day.day == habits.between(15, 22):
        yield _Draft(dice.between(60_000, 400_000), "Payment received, thank you", "Transfer", "transfer")
    yield from _purchases(dice, day, 3)


def _investment(habits: Dice, dice: Dice, day: date) -> Iterator[_Draft]:
    if day.day == habits.between(2, 6):
        yield _Draft(dice.between(50_000, 250_000), "Cash deposit", "Transfer", "transfer")
    if day.month % 3 == 0 and day.day == 20:
        yield _Draft(dice.between(1_200, 32_000), "Dividend", "Dividends", "dividend")


def _loan(habits: Dice, dice: Dice, day: date) -> Iterator[_Draft]:
    if day.day == 5:
        yield _Draft(habits.between(40_000, 150_000), "Loan repayment", "Loan", "transfer")
        yield _Draft(-dice.between(3_000, 20_000), "Interest charged", "Interest", "interest")


_PATTERNS: dict[Kind, Callable[[Dice, Dice, date], Iterator[_Draft]]] = {
    Kind.CHECKING: _checking,
    Kind.SAVINGS: _savings,
    Kind.CREDIT: _credit,
    Kind.INVESTMENT: _investment,
    Kind.LOAN: _loan,
}
