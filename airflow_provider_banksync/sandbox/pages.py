"""Reading an account's transactions page by page, and going on later where the last page ended.

A cursor remembers the moment at which the first page was read. The pages after it show the account as it stood then,
whatever arrives meanwhile, so nothing is skipped and nothing comes twice. The last page's cursor stands for that
moment: sent later, it gives what has arrived since, and a settled row counts as arriving when it settles.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_banksync.sandbox.errors import BadRequestError
from airflow_provider_banksync.sandbox.movement import Moment, day_of
from airflow_provider_banksync.sandbox.transactions import array_of

if TYPE_CHECKING:
    from datetime import date

    from airflow_provider_banksync.sandbox.encoding import Written
    from airflow_provider_banksync.sandbox.ledger import Ledger
    from airflow_provider_banksync.sandbox.model import Account
    from airflow_provider_banksync.sandbox.seed import Seed


_NEVER = Moment(-1, -1)
"""Stands in a cursor for no moment."""


class Place(NamedTuple):
    """Where to read on: rows dated ``first`` to ``last`` that came after ``since``, as they stood at ``as_of``."""

    first: int
    last: int
    skip: int
    """How many rows of the first day were on earlier pages."""
    since: Moment | None
    as_of: Moment | None
    """None once all was read: then the present counts, and the days go on to today."""


@dataclass(frozen=True)
class Page:
    """Some rows and the place after them."""

    rows: Written
    count: int
    cursor: str
    has_more: bool


class Pager:
    """Pages of ``size`` rows over the ledger of one world."""

    def __init__(self, seed: Seed, ledger: Ledger, size: int) -> None:
        self._seed = seed
        self._ledger = ledger
        self._size = size

    def window(self, account: Account, first: date, last: date, now: int) -> Page:
        """Read the first page of a window of days, both included."""
        moment = self._ledger.moment(now)
        place = Place(first.toordinal(), last.toordinal(), skip=0, since=None, as_of=moment)
        return self._read(account, place, moment)

    def resume(self, account: Account, cursor: str, now: int) -> Page:
        """Read the page that a cursor leads to."""
        place, moment = self._decode(account, cursor), self._ledger.moment(now)
        if place.as_of is None and place.since is not None:
            late = self._ledger.late(account, place.since, moment)
            place = place._replace(first=min(place.first, late or place.first), last=day_of(now))
        return self._read(account, place, moment)

    def _read(self, account: Account, place: Place, now: Moment) -> Page:
        as_of = now if place.as_of is None else place.as_of
        # Before its account was opened there is nothing, unless it was added.
        day = max(place.first, self._ledger.first_day(account))
        last, skip = min(place.last, day_of(as_of.ms)), place.skip
        rows: list[bytes] = []
        room = self._size
        while day <= last:
            stretch, after = self._ledger.stretch(account, day, last, as_of, place.since)
            # One row more than there is room for, in this stretch or a later one, and there is another page.
            if skip + room < len(stretch):
                if room:
                    rows += stretch.write(skip, skip + room)
                # Its place is told by its day: into what stretches the days are cut, can be another way by then.
                day = stretch.day(skip + room)
                skip += room - bisect_left(range(skip + room), day, key=stretch.day)
                rest = place._replace(first=day, skip=skip, as_of=as_of)
                return Page(array_of(rows), self._size, self._encode(account, rest), has_more=True)
            if skip < len(stretch):
                rows += stretch.write(skip, len(stretch))
                room -= len(stretch) - skip
            day, skip = after, 0
        today = day_of(as_of.ms)
        rest = Place(today, today, 0, as_of, None)
        return Page(array_of(rows), self._size - room, self._encode(account, rest), has_more=False)

    def _encode(self, account: Account, place: Place) -> str:
        numbers = (place.first, place.last, place.skip, *(place.since or _NEVER), *(place.as_of or _NEVER))
        text = ".".join(map(str, numbers))
        marked = f"{self._mark(account, text)}{text}".encode()
        return base64.urlsafe_b64encode(marked).decode("ascii").rstrip("=")

    def _decode(self, account: Account, cursor: str) -> Place:
        try:
            opened = base64.b64decode(
                cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True
            ).decode("ascii")
        except (binascii.Error, ValueError):
            raise BadRequestError("Invalid cursor") from None
        mark, text = opened[:8], opened[8:]
        # The mark ties a cursor to its account: one from another account, or made up, must not read anything.
        if mark != self._mark(account, text):
            raise BadRequestError("Invalid cursor")
        first, last, skip, *moments = map(int, text.split("."))
        since, as_of = Moment(*moments[:2]), Moment(*moments[2:])
        return Place(
            first, last, skip, None if since == _NEVER else since, None if as_of == _NEVER else as_of
        )

    def _mark(self, account: Account, text: str) -> str:
        return self._seed.token(6, "cursor", account.id, text)
