"""The money that moves in an account: computed per account and span of days, never stored.

What a client sees depends on the moment of looking, on what was added by then, and on nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.dense import Density
from airflow_provider_banksync.sandbox.habitual import Habits
from airflow_provider_banksync.sandbox.movement import LONGEST_PENDING, Moment, day_of
from airflow_provider_banksync.sandbox.stretch import Recent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.model import Account
    from airflow_provider_banksync.sandbox.movement import Movement, Sighting
    from airflow_provider_banksync.sandbox.seed import Seed
    from airflow_provider_banksync.sandbox.stretch import Source, Stretch
    from airflow_provider_banksync.sandbox.transactions import TransactionWriter

_ADDED = 1_000_000
"""The order of an added row among those of one moment is above this, and that of all others below it."""


class Ledger:
    """The movements of all accounts of one world: as many a day as are wanted, or what a small business has."""

    def __init__(self, seed: Seed, writer: TransactionWriter, per_day: float | None = None) -> None:
        self._writer = writer
        # In thousandths, so that no float decides how many there are.
        self._source: Source = (
            Habits(seed, writer) if per_day is None else Density(seed, writer, round(per_day * 1000))
        )
        self._added: dict[str, list[Movement]] = {}
        self._touched: dict[str, set[int]] = {}
        """For each account the days that something added is dated."""
        self._last_added = _ADDED

    def moment(self, ms: int) -> Moment:
        """Give the moment of looking now."""
        return Moment(ms, self._last_added)

    def add(self, account: Account, movement: Movement) -> None:
        """Let a movement happen that did not grow from the seed."""
        self._last_added += 1
        self._added.setdefault(account.id, []).append(movement._replace(order=self._last_added))
        self._touched.setdefault(account.id, set()).update(movement.days())

    def withdraw(self, account: Account, reference: str) -> None:
        """Take back what was added under a reference."""
        kept = [each for each in self._added.get(account.id, ()) if each.reference != reference]
        self._added[account.id] = kept
        self._touched[account.id] = {day for each in kept for day in each.days()}

    def stretch(
        self, account: Account, day: int, last: int, now: Moment, since: Moment | None = None
    ) -> tuple[Stretch, int]:
        """Give the rows from this day on as they stood at ``now``, for some days, and the first day after those.

        Given ``since``, only those that came to look like that after it. They come day by day, and within a day in the
        order in which they came: however the days, up to the last, are cut into stretches.
        """
        span = day // self._source.days
        settled = day_of(now.ms) - LONGEST_PENDING
        after = min(last + 1, (span + 1) * self._source.days, settled)
        # Where all has settled and nothing was added, one look serves many days.
        touched = self._touched.get(account.id, set())
        after = min((each for each in touched if day <= each < after), default=after)
        if after > day:
            block = self._source.block(account, span)
            return block.cut(day, after, None if since is None else since.ms), self._next_day(account, after)
        after = day + 1 if day < settled else last + 1
        rows = self._seen(account, day, after - 1, now)
        fresh = rows if since is None else [row for row in rows if since.precedes(row)]
        return Recent(self._writer, account, fresh), self._next_day(account, after)

    def count(self, account: Account, first: int, last: int, now: Moment) -> int:
        """Count the rows of a window of days, both included, as they stood at ``now``."""
        # Jobs are listed by the dozen, and each is counted: so the rows are not made that nobody reads.
        unsettled = max(first, day_of(now.ms) - LONGEST_PENDING)
        recent = self._source.around(account, unsettled, last) if unsettled <= last else ()
        rows = sum(_is_seen(movement, unsettled, last, now) for movement in recent)
        rows += sum(_is_seen(movement, first, last, now) for movement in self._added_by(account, now))
        return rows + self._source.count(account, first, min(last, unsettled - 1))

    def first_day(self, account: Account) -> int:
        """Give the first day that has rows, or could have."""
        return min({account.opened.toordinal()} | self._touched.get(account.id, set()))

    def late(self, account: Account, since: Moment, now: Moment) -> int | None:
        """Give the earliest day of what was added after ``since``: it may be dated long before it came."""
        added = (movement.seen(now.ms) for movement in self._added.get(account.id, ()))
        return min((each.day for each in added if each is not None and since.precedes(each)), default=None)

    def _seen(self, account: Account, first: int, last: int, now: Moment) -> list[Sighting]:
        """Give the rows of days that have not all settled, or that something was added to."""
        movements = (*self._source.around(account, first, last), *self._added_by(account, now))
        seen = (movement.seen(now.ms) for movement in movements)
        rows = [each for each in seen if each is not None and first <= each.day <= last]
        return sorted(rows, key=lambda row: (row.day, row.since, row.order))

    def _added_by(self, account: Account, now: Moment) -> Iterator[Movement]:
        return (each for each in self._added.get(account.id, ()) if each.order <= now.added)

    def _next_day(self, account: Account, day: int) -> int:
        """Give the next day that can have rows: before the account was opened, only those of added rows can."""
        opened = account.opened.toordinal()
        if day >= opened:
            return day
        return min({opened} | {each for each in self._touched.get(account.id, set()) if each >= day})


def _is_seen(movement: Movement, first: int, last: int, now: Moment) -> bool:
    """Say whether it is there at a moment, dated on one of these days."""
    if movement.appears > now.ms:
        return False
    settles = movement.settles
    return first <= (movement.day if settles is None or settles > now.ms else day_of(settles)) <= last
