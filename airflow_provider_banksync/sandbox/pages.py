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
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.ledger import Ledger, Sighting
    from airflow_provider_banksync.sandbox.model import Account
    from airflow_provider_banksync.sandbox.seed import Seed

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Place:
    """Where to read on: rows dated ``first`` to ``last`` that came after ``since``, as they stood at ``as_of``."""

    first: date
    last: date
    skip: int
    """How many rows of the first day were on earlier pages."""
    since: datetime | None
    as_of: datetime | None
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

    def window(self, account: Account, first: date, last: date, now: datetime) -> Page:
        """Read the first page of a window of days, both included."""
        return self._read(account, Place(first, last, skip=0, since=None, as_of=now), now)

    def resume(self, account: Account, cursor: str, now: datetime) -> Page:
        """Read the page that a cursor leads to."""
        return self._read(account, self._decode(account, cursor), now)

    def _read(self, account: Account, place: Place, now: datetime) -> Page:
        as_of = place.as_of or now
        last = as_of.date() if place.as_of is None else min(place.last, as_of.date())
        place = replace(place, first=max(place.first, account.opened), last=last, as_of=as_of)
        page: list[Sighting] = []
        for day, index, sighting in self._rows(account, place, as_of):
            if len(page) == self._size:
                return Page(page, self._encode(account, replace(place, first=day, skip=index)), has_more=True)
            page.append(sighting)
        rest = Place(first=as_of.date(), last=as_of.date(), skip=0, since=as_of, as_of=None)
        return Page(page, self._encode(account, rest), has_more=False)

    def _rows(self, account: Account, place: Place, as_of: datetime) -> Iterator[tuple[date, int, Sighting]]:
        day, skip = place.first, place.skip
        while day <= place.last:
            rows = self._ledger.sightings(account, day, as_of)
            fresh = [row for row in rows if place.since is None or row.since > place.since]
            for index in range(skip, len(fresh)):
                yield day, index, fresh[index]
            day, skip = day + _DAY, 0

    def _encode(self, account: Account, place: Place) -> str:
        fields = [
            place.first.toordinal(),
            place.last.toordinal(),
            place.skip,
            _to_ms(place.since),
            _to_ms(place.as_of),
        ]
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
        return Place(date.fromordinal(first), date.fromordinal(last), skip, _from_ms(since), _from_ms(as_of))

    def _mark(self, account: Account, text: str) -> str:
        return self._seed.token(6, "cursor", account.id, text)


_ZERO = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _to_ms(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _ZERO) // timedelta(milliseconds=1)


def _from_ms(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else _ZERO + timedelta(milliseconds=milliseconds)
