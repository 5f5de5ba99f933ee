"""Transactions that did not grow from the seed: added by hand, or brought by a sync."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.checks import check_number, check_text
from airflow_provider_banksync.sandbox.clock import to_ms
from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.movement import Movement, day_of

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.clock import SandboxClock
    from airflow_provider_banksync.sandbox.jobs import Job
    from airflow_provider_banksync.sandbox.ledger import Ledger
    from airflow_provider_banksync.sandbox.model import Account
    from airflow_provider_banksync.sandbox.seed import Seed

_MOST_UNITS = 10**18


class Arrivals:
    """Adds transactions to a ledger. ``per_sync`` come to each account of a transaction feed with every sync."""

    def __init__(self, seed: Seed, clock: SandboxClock, ledger: Ledger, per_sync: int) -> None:
        self._seed = seed
        self._clock = clock
        self._ledger = ledger
        self._per_sync = per_sync
        self._count = 0

    def add(
        self,
        account: Account,
        amount: Decimal | int | str,
        description: str,
        *,
        day: date | None,
        category: str,
        settles_after: float | None,
    ) -> str:
        """Add a row that appears now; give the id that it has now."""
        now = to_ms(self._clock.now())
        if day is not None and not isinstance(day, date):
            raise SandboxError(f"day must be a date, not {day!r}")
        dated = day_of(now) if day is None else day.toordinal()
        if dated > day_of(now):
            raise SandboxError(f"day must not lie after the sandbox's today, but {day} does")
        if settles_after is not None:
            check_number("settles_after", settles_after, 0.001, 31_536_000)
        check_text("description", description)
        check_text("category", category)
        units = _units(amount, account)
        settles = None if settles_after is None else now + round(settles_after * 1000)
        movement = self._movement(units, description, category, dated, now, settles, "ADDED")
        self._ledger.add(account, movement)
        return movement.pending_id or movement.id

    def follow(self, job: Job) -> None:
        """Let a sync bring its rows when it completes, if it will; asked again, by what is known by then."""
        self.give_up(job)
        if job.course.failure or job.cancelled_at is not None or job.feed.data_type != "transactions":
            return
        end = to_ms(job.created_at + job.course.total)
        for account in job.feed.accounts:
            for number in range(self._per_sync):
                cents = 1_000 + self._seed.dice("arrival", job.id, account.id, number).below(9_000)
                units = -account.currency.units(cents)
                row = self._movement(units, "New since the sync", "Other", day_of(end), end, None, job.id)
                self._ledger.add(account, row)

    def give_up(self, job: Job) -> None:
        """Take back what a sync would have brought."""
        for account in job.feed.accounts if self._per_sync else ():
            self._ledger.withdraw(account, job.id)

    def _movement(
        self,
        units: int,
        description: str,
        category: str,
        day: int,
        appears: int,
        settles: int | None,
        reference: str,
    ) -> Movement:
        self._count += 1
        return Movement(
            id=self._seed.id("added", self._count),
            pending_id=None if settles is None else self._seed.id("added pending", self._count),
            units=units,
            description=description,
            category=category,
            type="other",
            reference=reference,
            day=day,
            appears=appears,
            settles=settles,
            order=0,  # the ledger's affair: they count in the order in which they are added
        )


def _units(amount: Decimal | int | str, account: Account) -> int:
    digits = account.currency.digits
    try:
        units = Decimal(amount).scaleb(digits)
    except (InvalidOperation, TypeError, ValueError):
        raise SandboxError(f"amount must be a decimal number such as '-12.50', not {amount!r}") from None
    if isinstance(amount, float) or not units.is_finite() or units != units.to_integral_value():
        raise SandboxError(
            f"amount must be exact, with at most {digits} decimals, as {account.currency.code} has, not {amount!r}"
        )
    if abs(units) >= _MOST_UNITS:
        raise SandboxError(
            f"amount must be below {_MOST_UNITS} of the currency's smallest units, not {amount!r}"
        )
    return int(units)
