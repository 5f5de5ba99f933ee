"""Transactions that are added to the generated ones: by a test, or by a sync."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.clock import SandboxClock, to_milliseconds
from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.validation import check_number, check_text
from airflow_provider_banksync.sandbox.world.transactions import Life, Posting, day_of

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.rules.jobs import Job
    from airflow_provider_banksync.sandbox.world.banks import BankRates
    from airflow_provider_banksync.sandbox.world.ledger import TransactionLedger
    from airflow_provider_banksync.sandbox.world.model import Account
    from airflow_provider_banksync.sandbox.world.seed import Seed

_MAX_UNITS = 10**18


@dataclass
class AddedTransactions:
    """Adds transactions to a ledger. Each sync adds ``per_sync`` to each account of its transactions feed."""

    seed: Seed
    clock: SandboxClock
    ledger: TransactionLedger
    rates: BankRates
    per_sync: int
    _count: int = field(default=0, init=False)

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
        """Add a row that appears now, and return its current id."""
        now = to_milliseconds(self.clock.now())
        if day is not None and not isinstance(day, date):
            raise SandboxError(f"day must be a date, not {day!r}")
        dated = day_of(now) if day is None else day.toordinal()
        if dated > day_of(now):
            raise SandboxError(f"day must not be after the sandbox's today, but {day} is")
        if settles_after is not None:
            check_number("settles_after", settles_after, 0.001, 31_536_000)
        texts = check_text("description", description), check_text("category", category), "other", "ADDED"
        posts_at = now + round((settles_after or 0) * 1000)
        units = to_minor_units(amount, account)
        # The balance of an earlier day stays as it was.
        life = Life(booked_at=posts_at)
        return self._add(account, Posting("", None, units, *texts, dated, now, posts_at, order=0, life=life))

    def schedule_for(self, job: Job) -> None:
        """Add the rows of a sync at its end, if it will complete. Call this again when the job's plan changes."""
        self.cancel_for(job)
        if job.plan.failure or job.cancelled_at is not None or job.feed.data_type != "transactions":
            return
        end = to_milliseconds(job.created_at + job.plan.total)
        for account in job.feed.accounts:
            for number in range(self.per_sync):
                cents = 1_000 + self.seed.draws("arrival", job.id, account.id, number).below(9_000)
                units = -account.currency.units_of_cents(cents)
                texts = "New since the sync", "Other", "other", job.id
                self._add(account, Posting("", None, units, *texts, day_of(end), end, end, order=0))

    def cancel_for(self, job: Job) -> None:
        """Remove the rows of a sync."""
        for account in job.feed.accounts if self.per_sync else ():
            self.ledger.remove_added(account, job.id)

    def _add(self, account: Account, posting: Posting) -> str:
        """Add a posting under new ids, and return its current id. The ledger sets its order."""
        self._count += 1
        row_id = self.seed.id("added", self._count)
        is_pending = posting.posts_at > posting.appears_at
        pending_id = self.seed.id("added pending", self._count) if is_pending else None
        linked = self.seed.draws("added link", self._count).chance(self.rates.latest.link)
        lives = self.rates.lives_on(day_of(posting.appears_at))
        self.ledger.add(
            account,
            posting._replace(
                id=row_id,
                pending_id=pending_id,
                life=posting.life._replace(linked=linked),
                extra=lives.other_fields(posting.description),
            ),
        )
        return pending_id or row_id


def to_minor_units(amount: Decimal | int | str, account: Account) -> int:
    """Parse an exact amount, in the smallest units of the account's currency."""
    currency = account.currency
    try:
        units = Decimal(amount).scaleb(currency.digits)
    except (InvalidOperation, TypeError, ValueError):
        raise SandboxError(f"amount must be a decimal number such as '-12.50', not {amount!r}") from None
    if isinstance(amount, float) or not units.is_finite() or units != units.to_integral_value():
        raise SandboxError(
            f"amount must be exact, with at most {currency.digits} decimals, as {currency.code} has, not {amount!r}"
        )
    if abs(units) >= _MAX_UNITS:
        raise SandboxError(
            f"amount must be below {_MAX_UNITS} of the currency's smallest units, not {amount!r}"
        )
    return int(units)
