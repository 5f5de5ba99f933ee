"""Reading an account's transactions page by page, and going on later where the last page ended.

A cursor remembers the moment at which the first page was read. The pages after it show the account as it stood then,
whatever arrives meanwhile, so nothing is skipped and nothing comes twice. The last page's cursor stands for that
moment: sent later, it gives what has arrived since, and a settled row counts as arriving when it settles.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.errors import BadRequestError
from airflow_provider_banksync.sandbox.ledger import Moment, day_of

if TYPE_CHECKING:
    from datetime import date

    from airflow_provider_banksync.sandbox.ledger import Ledger, Sighting
    from airflow_provider_banksync.sandbox.model import Account
    from airflow_provider_banksync.sandbox.seed import Seed


@dataclass(frozen=True)
class Place:
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

    sightings: list[Sighting]
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
            place = replace(place, first=min(place.first, late or place.first), last=day_of(now))
        return self._read(account, place, moment)

    def _read(self, account: Account, place: Place, now: Moment) -> Page:
        as_of = now if place.as_of is None else place.as_of
        # Before its account was opened there is nothing, unless it was added.
        day = max(place.first, self._ledger.first_day(account))
        last, skip = min(place.last, day_of(as_of.ms)), place.skip
        page: list[Sighting] = []
        while day <= last:
            fresh, after = self._fresh(account, day, last, place.since, as_of)
            room = skip + self._size - len(page)
            page += fresh[skip:room]
            # One row more than there is room for, in this stretch or a later one, and there is another page.
            if room < len(fresh):
                # Its place is told by its day: into what stretches the days are cut, can be another way by then.
                next_day = fresh[room].day
                skip = sum(row.day == next_day for row in fresh[:room])
                rest = Place(next_day, place.last, skip, place.since, as_of)
                return Page(page, self._encode(account, rest), has_more=True)
            day, skip = after, 0
        today = day_of(as_of.ms)
        return Page(page, self._encode(account, Place(today, today, 0, as_of, None)), has_more=False)

    def _fresh(
        self, account: Account, day: int, last: int, since: Moment | None, as_of: Moment
    ) -> tuple[list[Sighting], int]:
        """Give the rows of a stretch of days that begins with ``day``, and the day after it."""
        rows, after = self._ledger.stretch(account, day, as_of)
        if after > last + 1:
            rows = [row for row in rows if row.day <= last]
        if since is not None:
            rows = [row for row in rows if since.precedes(row)]
        return rows, after

    def _encode(self, account: Account, place: Place) -> str:
        fields = [place.first, place.last, place.skip, place.since, place.as_of]
        text = json.dumps(fields, separators=(",", ":"))
        return (
            base64.urlsafe_b64encode(f"{self._mark(account, text)}{text}".encode())
            .decode("ascii")
            .rstrip("=")
        )

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
        first, last, skip, since, as_of = json.loads(text)
        return Place(first, last, skip, since and Moment(*since), as_of and Moment(*as_of))

    def _mark(self, account: Account, text: str) -> str:
        return self._seed.token(6, "cursor", account.id, text)
