"""How a transaction looks to a client, written fast: what all rows of an account share is encoded once."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.encoding import Written, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_banksync.sandbox.drift import Drift
    from airflow_provider_banksync.sandbox.ledger import Sighting
    from airflow_provider_banksync.sandbox.model import Account, Row

_HOLE = Written("%s")
_TEMPLATES_KEPT = 2_048


class TransactionWriter:
    """Writes the transactions of accounts as JSON."""

    def __init__(self, drift: Drift) -> None:
        self._drift = drift
        self._templates: dict[str, str] = {}

    def write(self, account: Account, sightings: Iterable[Sighting]) -> Written:
        """Write a JSON array of rows."""
        template = self._templates.get(account.id) or self._prepare(account)
        digits = account.currency.digits
        nothing = money_text(0, digits)
        rows = []
        for _, _, day, pending, movement in sightings:
            units = movement.units
            amount = money_text(abs(units), digits)
            pending_id = f'"{movement.pending_id}"' if movement.pending_id else "null"
            rows.append(
                template
                % (
                    pending_id if pending else f'"{movement.id}"',
                    _day_text(day),
                    _day_text(movement.day),
                    _string(movement.description),
                    amount if units >= 0 else f"-{amount}",
                    amount if units > 0 else nothing,
                    amount if units < 0 else nothing,
                    _string(movement.category),
                    _string(movement.type),
                    f'"{movement.reference}"',
                    "true" if pending else "false",
                    "null" if pending else pending_id,
                )
            )
        return Written(f"[{','.join(rows)}]")

    def _prepare(self, account: Account) -> str:
        if len(self._templates) >= _TEMPLATES_KEPT:
            self._templates.clear()
        # Per cent signs of a name are doubled before the holes are cut, so that they come through as they are.
        text = encode(self._shape(account)).decode().replace("%", "%%").replace("%%s", "%s")
        self._templates[account.id] = text
        return text

    def _shape(self, account: Account) -> Row:
        """Give the fields of a row, in order; ``write`` fills the holes in that same order."""
        return {
            "id": _HOLE,
            "date": _HOLE,
            "authorizedDate": _HOLE,
            "description": _HOLE,
            "amount": _HOLE,
            "creditAmount": _HOLE,
            "debitAmount": _HOLE,
            "currency": account.currency.code,
            "category": _HOLE,
            "type": _HOLE,
            "reference": _HOLE,
            "pending": _HOLE,
            "pendingTransactionId": _HOLE,
            "accountId": account.id,
            "accountName": account.name,
            "accountNumber": account.number,
            "bankId": account.bank.id,
            "bank": account.bank.name,
            **self._drift.transaction(account),
        }


def money_text(units: int, digits: int) -> str:
    """Write an amount of smallest units, not below zero, with exactly its currency's digits."""
    if not digits:
        return str(units)
    whole, part = divmod(units, 10**digits)
    return f"{whole}.{part:0{digits}d}"


@lru_cache(maxsize=8_192)
def _day_text(day: int) -> str:
    return f'"{date.fromordinal(day).isoformat()}"'


@lru_cache(maxsize=4_096)
def _string(text: str) -> str:
    return encode_basestring(text)
