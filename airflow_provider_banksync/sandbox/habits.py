"""What accounts are used for: what a day brings, by the kind of account."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_banksync.sandbox.model import Kind
from airflow_provider_banksync.sandbox.names import CUSTOMERS, MERCHANTS, STAFF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_banksync.sandbox.seed import Dice

_WORKING_SECONDS = 50_000
_ALMOST_A_DAY = 20_000


class Draft(NamedTuple):
    """A movement of money in US cents, before it has an id, a currency and a day."""

    cents: int
    description: str
    category: str
    type: str
    second: int
    """When on its day, counted from the first moment at which anything happens."""
    pending_seconds: int = 0
    """How long a card purchase stays pending."""


def income(drawn: int) -> Draft:
    """Make money come in, out of a large number. When it comes stays open, here and in ``purchase``."""
    drawn, choice = divmod(drawn, len(CUSTOMERS))
    return Draft(18_000 + drawn % 622_001, CUSTOMERS[choice], "Revenue", "credit", 0)


def purchase(drawn: int) -> Draft:
    """Make a purchase by card, pending for whole days, out of a large number."""
    drawn, choice = divmod(drawn, len(MERCHANTS))
    merchant, category, low, high = MERCHANTS[choice]
    drawn, more = divmod(drawn, high - low + 1)
    return Draft(-low - more, merchant, category, "card", 0, (1 + drawn % 3) * 86_400)


def _draft(dice: Dice, cents: int, description: str, category: str, sort: str) -> Draft:
    return Draft(cents, description, category, sort, dice.below(_WORKING_SECONDS))


def _purchase(dice: Dice) -> Draft:
    merchant, category, low, high = dice.pick(MERCHANTS)
    cents, second = -dice.between(low, high), dice.below(_WORKING_SECONDS)
    return Draft(
        cents, merchant, category, "card", second, dice.between(1, 2) * 86_400 + dice.below(_ALMOST_A_DAY)
    )


def _purchases(dice: Dice, weekday: int, at_most: int) -> Iterator[Draft]:
    for _ in range(dice.below((at_most if weekday < 5 else 1) + 1)):
        yield _purchase(dice)


def _checking(habits: Dice, dice: Dice, day: int) -> Iterator[Draft]:
    today, weekday = date.fromordinal(day), (day - 1) % 7
    if today.day == 1:
        rent = habits.between(90_000, 420_000)
        yield _draft(dice, -rent, "Rent Harbour Estates", "Rent", "standing_order")
    elif today.day >= 24:
        yield from _end_of_month(habits, dice, today)
    if weekday == 4:
        yield _draft(dice, -dice.between(10_000, 80_000), "Transfer to reserve", "Transfer", "transfer")
    if weekday < 5 and dice.chance(0.45):
        yield _draft(dice, dice.between(18_000, 640_000), dice.pick(CUSTOMERS), "Revenue", "credit")
    yield from _purchases(dice, weekday, 2)


def _end_of_month(habits: Dice, dice: Dice, today: date) -> Iterator[Draft]:
    salary, payday, staff = habits.between(210_000, 480_000), habits.between(24, 28), habits.between(1, 3)
    if today.day == payday:
        for name in STAFF[:staff]:
            yield _draft(dice, -salary - dice.below(9_000), f"Salary {name}", "Payroll", "transfer")
    if today.day == monthrange(today.year, today.month)[1]:
        yield _draft(dice, -1_250, "Account maintenance fee", "Bank fees", "fee")


def _savings(habits: Dice, dice: Dice, day: int) -> Iterator[Draft]:
    if (day - 1) % 7 == 4:
        cents = dice.between(10_000, 80_000)
        yield _draft(dice, cents, "Transfer from current account", "Transfer", "transfer")
    if date.fromordinal(day).day == 1:
        yield _draft(dice, habits.between(900, 14_000), "Interest", "Interest", "interest")


def _credit(habits: Dice, dice: Dice, day: int) -> Iterator[Draft]:
    if date.fromordinal(day).day == habits.between(15, 22):
        cents = dice.between(60_000, 400_000)
        yield _draft(dice, cents, "Payment received, thank you", "Transfer", "transfer")
    yield from _purchases(dice, (day - 1) % 7, 3)


def _investment(habits: Dice, dice: Dice, day: int) -> Iterator[Draft]:
    today = date.fromordinal(day)
    if today.day == habits.between(2, 6):
        yield _draft(dice, dice.between(50_000, 250_000), "Cash deposit", "Transfer", "transfer")
    if today.month % 3 == 0 and today.day == 20:
        yield _draft(dice, dice.between(1_200, 32_000), "Dividend", "Dividends", "dividend")


def _loan(habits: Dice, dice: Dice, day: int) -> Iterator[Draft]:
    if date.fromordinal(day).day == 5:
        yield _draft(dice, habits.between(40_000, 150_000), "Loan repayment", "Loan", "transfer")
        yield _draft(dice, -dice.between(3_000, 20_000), "Interest charged", "Interest", "interest")


PATTERNS: dict[Kind, Callable[[Dice, Dice, int], Iterator[Draft]]] = {
    Kind.CHECKING: _checking,
    Kind.SAVINGS: _savings,
    Kind.CREDIT: _credit,
    Kind.INVESTMENT: _investment,
    Kind.LOAN: _loan,
}
"""The movements of a day, by the kind of account; ``habits`` are the same every day."""
