"""Pages of an account's transactions.

A cursor contains the snapshot of the first page. The following pages show the account as it was then, so a client
neither misses a row nor gets one twice. The cursor of the last page returns the rows that appeared or changed after the
snapshot, and those that the bank sends again. It does not tell of removed rows.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_banksync.sandbox.errors import ApiError
from airflow_provider_banksync.sandbox.world.transactions import Snapshot, day_of, json_array

if TYPE_CHECKING:
    from datetime import date

    from airflow_provider_banksync.sandbox.exact_json import RawJson
    from airflow_provider_banksync.sandbox.world.ledger import TransactionLedger
    from airflow_provider_banksync.sandbox.world.model import Account
    from airflow_provider_banksync.sandbox.world.seed import Seed

_NO_SNAPSHOT = Snapshot(-1, -1)
"""Stands for None in a cursor."""


class CursorPosition(NamedTuple):
    """Where to continue: the rows dated ``first`` to ``last`` that appeared after ``since``, as they were ``as_of``."""

    first: int
    last: int
    skip: int
    """The rows of the first day that were on earlier pages."""
    since: Snapshot | None
    as_of: Snapshot | None
    """None after the last page: then rows are read up to the present."""


@dataclass(frozen=True)
class Page:
    """A page of an account's transactions."""

    rows: RawJson
    count: int
    cursor: str
    has_more: bool


@dataclass(frozen=True)
class Paginator:
    """Reads pages of ``size`` rows from a ledger."""

    seed: Seed
    ledger: TransactionLedger
    size: int

    def window(self, account: Account, first: date, last: date, now: int) -> Page:
        """Read the first page of a window, both days included."""
        snapshot = self.ledger.snapshot_at(now)
        position = CursorPosition(first.toordinal(), last.toordinal(), 0, since=None, as_of=snapshot)
        return self._read(account, position, snapshot)

    def resume(self, account: Account, cursor: str, now: int) -> Page:
        """Read the page of a cursor."""
        position, snapshot = self._decode(account, cursor), self.ledger.snapshot_at(now)
        if position.as_of is None and position.since is not None:
            first = self.ledger.first_new_day(account, position.since)
            position = position._replace(first=min(position.first, first), last=day_of(now))
        return self._read(account, position, snapshot)

    def _read(self, account: Account, position: CursorPosition, now: Snapshot) -> Page:
        as_of = now if position.as_of is None else position.as_of
        day, skip = max(position.first, self.ledger.first_day(account)), position.skip
        last, room = min(position.last, day_of(as_of.ms)), self.size
        rows: list[bytes] = []
        while day <= last:
            block, next_day = self.ledger.rows_from(account, day, last, as_of, position.since)
            if skip + room < len(block):
                if room:
                    rows += block.encode(skip, skip + room)
                # The cursor names a day, because later reads may divide the days into other blocks.
                day = block.day(skip + room)
                skip += room - bisect_left(range(skip + room), day, key=block.day)
                rest = position._replace(first=day, skip=skip, as_of=as_of)
                return self._page(account, rows, self.size, rest, has_more=True)
            if skip < len(block):
                rows += block.encode(skip, len(block))
                room -= len(block) - skip
            day, skip = next_day, 0
        today = day_of(as_of.ms)
        rest = CursorPosition(today, today, 0, since=as_of, as_of=None)
        return self._page(account, rows, self.size - room, rest, has_more=False)

    def _page(
        self, account: Account, rows: list[bytes], count: int, rest: CursorPosition, *, has_more: bool
    ) -> Page:
        snapshots = (*(rest.since or _NO_SNAPSHOT), *(rest.as_of or _NO_SNAPSHOT))
        text = ".".join(map(str, (rest.first, rest.last, rest.skip, *snapshots)))
        signed = f"{self._signature(account, text)}{text}".encode()
        cursor = base64.urlsafe_b64encode(signed).decode("ascii").rstrip("=")
        return Page(json_array(rows), count, cursor, has_more)

    def _decode(self, account: Account, cursor: str) -> CursorPosition:
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            signed = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            signed = ""
        signature, text = signed[:8], signed[8:]
        # A cursor is valid for its account only.
        if signature != self._signature(account, text):
            raise ApiError(400, "Invalid cursor")
        first, last, skip, *numbers = map(int, text.split("."))
        since, as_of = (
            None if each == _NO_SNAPSHOT else each
            for each in (Snapshot(*numbers[:2]), Snapshot(*numbers[2:]))
        )
        return CursorPosition(first, last, skip, since, as_of)

    def _signature(self, account: Account, text: str) -> str:
        return self.seed.token(6, "cursor", account.id, text)
