"""The balances of accounts. They agree with the posted rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.clock import from_milliseconds, to_milliseconds
from airflow_provider_banksync.sandbox.world.transactions import day_start

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_banksync.sandbox.world.ledger import TransactionLedger
    from airflow_provider_banksync.sandbox.world.model import Account


@dataclass
class Balances:
    """The balances of a sandbox. The seed gives the balance at the start of the clock."""

    ledger: TransactionLedger
    start: datetime
    _differences: dict[str, list[tuple[int, int]]] = field(default_factory=dict, init=False)
    """For each account the planted differences: their time, and smallest units."""

    def plant(self, account: Account, units: int, day: int) -> None:
        """Add a difference that no row explains to the balance, from a day on."""
        self._differences.setdefault(account.origin_id, []).append((day_start(day), units))

    def account_at(self, account: Account, now: datetime) -> tuple[Account, datetime]:
        """Return an account with its balance, and the time of the balance: that of the last delivery."""
        ms = self.ledger.delivered_until(account, to_milliseconds(now))
        change = account.currency.amount(self.change_at(account, ms))
        changed = replace(account, balance=account.balance + change, available=account.available + change)
        return changed, from_milliseconds(ms)

    def change_at(self, account: Account, ms: int) -> int:
        """Return the difference between the balance at a time and that of the seed, in smallest units."""
        start = to_milliseconds(self.start)
        planted = sum(units for at, units in self._differences.get(account.origin_id, ()) if at <= ms)
        if ms < start:
            return planted - self.ledger.booked_units(account, ms, start)
        return planted + (self.ledger.booked_units(account, start, ms) if ms > start else 0)
