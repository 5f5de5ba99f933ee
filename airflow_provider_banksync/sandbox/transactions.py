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
    from airflow_provider_banksync.sandbox.model import Account
    from airflow_provider_banksync.sandbox.movement import Sighting

_BEGINNING = '{"id":"'
BEGINNING = _BEGINNING.encode()
"""Of every row, and nothing else in it: in a text, quotes are escaped."""
_ACCOUNTS_KEPT = 2_048


class TransactionWriter:
    """Writes the transactions of accounts as JSON."""

    def __init__(self, drift: Drift) -> None:
        self._drift = drift
        self.rest = lru_cache(maxsize=_ACCOUNTS_KEPT)(self._rest)
        """The end of every row of an account, and the comma after it."""

    def write(self, account: Account, sightings: Iterable[Sighting]) -> list[bytes]:
        """Write rows, each with the comma that stands between it and the next."""
        rest = self.rest(account)
        return [row(sighting, account.currency.digits, rest) for sighting in sightings]

    def _rest(self, account: Account) -> bytes:
        shared = encode(
            {
                "currency": account.currency.code,
                "accountId": account.id,
                "accountName": account.name,
                "accountNumber": account.number,
                "bankId": account.bank.id,
                "bank": account.bank.name,
                **self._drift.transaction(account),
            }
        )
        return b",%b," % shared[1:]


def row(sighting: Sighting, digits: int, rest: bytes) -> bytes:
    """Write a row of money with so many digits."""
    _, _, day, pending, movement = sighting
    shown, former = movement.id, f'"{movement.pending_id}"' if movement.pending_id else "null"
    if pending:
        shown, former = movement.pending_id or movement.id, "null"
    units = movement.units
    amount, nothing = money_text(abs(units), digits), money_text(0, digits)
    text = (
        f'{_BEGINNING}{shown}","date":"{_day(day)}","authorizedDate":"{_day(movement.day)}"'
        f',"description":{_string(movement.description)},"amount":{"-" if units < 0 else ""}{amount}'
        f',"creditAmount":{amount if units > 0 else nothing},"debitAmount":{amount if units < 0 else nothing}'
        f',"category":{_string(movement.category)},"type":"{movement.type}","reference":"{movement.reference}"'
        f',"pending":{"true" if pending else "false"},"pendingTransactionId":{former}'
    )
    return text.encode() + rest


@lru_cache(maxsize=8_192)
def _day(day: int) -> str:
    return date.fromordinal(day).isoformat()


@lru_cache(maxsize=4_096)
def _string(text: str) -> str:
    return encode_basestring(text)


def array_of(rows: list[bytes]) -> Written:
    """Make a JSON array of rows, however many of them are in one piece."""
    if not rows:
        return Written([b"[]"])
    return Written([b"[", *rows[:-1], rows[-1][:-1], b"]"])


def money_text(units: int, digits: int) -> str:
    """Write an amount of smallest units, not below zero, with exactly its currency's digits."""
    if not digits:
        return str(units)
    whole, part = divmod(units, 10**digits)
    return f"{whole}.{part:0{digits}d}"
