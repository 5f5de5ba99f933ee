"""What the live API has been seen to do differently from its documentation, and may do tomorrow.

Off, it changes nothing. On, about half of all banks and accounts answer in the other form, rows carry fields that
nobody documented, and banks come from sources that nobody has heard of: always the same ones.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.clock import iso

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_banksync.sandbox.model import Account, Bank, Row
    from airflow_provider_banksync.sandbox.seed import Seed

SOURCES = ("snaptrade", "mx", "truelayer")


class Drift:
    """Says of each thing whether, and how, it differs."""

    def __init__(self, seed: Seed, *, on: bool) -> None:
        self._seed = seed
        self._on = on

    def bank(self, bank: Bank, row: Row) -> Row:
        """Give a bank's row the way the live API would."""
        if not self._on:
            return row
        dice = self._seed.dice("drift", bank.id)
        changed = {**row, "syncHealth": {"score": dice.between(60, 100), "flags": []}}
        if dice.chance(0.5):
            changed["connectionStatus"] = {"connected": not bank.broken}
        if dice.chance(0.3):
            changed["source"] = dice.pick(SOURCES)
        return changed

    def account(self, account: Account, row: Row) -> Row:
        """Give an account's row the way the live API would."""
        if not self._on:
            return row
        changed = {**row, "bankName": account.bank.name, "balanceAsOf": iso(account.updated_at)}
        if account.balance < 0:
            changed["creditLimit"] = account.available - account.balance
        return changed

    def balance(self, account: Account, now: datetime, row: Row) -> Row:
        """Give a balance the way the live API would: in one of two forms."""
        if not self._on or self._seed.dice("drift", account.id).chance(0.5):
            return row
        return {
            "date": iso(now),
            "bank": account.bank.name,
            "accountName": account.name,
            "accountType": account.kind.value,
            "accountId": account.id,
            "bankId": account.bank.id,
            "amount": account.balance,
            "availableBalance": account.available,
            "pendingBalance": account.balance - account.available,
            "currency": account.currency.code,
        }

    def transaction(self, account: Account) -> Row:
        """Give the fields that a transaction has beyond the documented ones."""
        if not self._on:
            return {}
        # Eighteen decimals, and an object where others have text: neither must be lost on the way.
        return {"fxRate": Decimal("1.000000000000000001"), "enrichment": {"confidence": None, "tags": ["🧾"]}}

    def job(self, row: Row) -> Row:
        """Give a job's row the way the live API would."""
        return {**row, "attempt": 1, "meta": {"region": "eu-1"}} if self._on else row

    def job_type(self, job_id: str, usual: str) -> str:
        """Say what set off a job of BankSync's own: its schedule, or a bank that called."""
        return "webhook" if self._on and self._seed.dice("drift", job_id).chance(0.3) else usual
