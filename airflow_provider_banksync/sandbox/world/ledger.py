"""The transactions of all accounts, as they were at a snapshot. Computed for each account and span, never stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.world.activity import DailyActivity, FixedRateActivity
from airflow_provider_banksync.sandbox.world.transactions import (
    MAX_PENDING_DAYS,
    ROWS_PER_GROUP,
    Posting,
    RowBlock,
    Snapshot,
    day_of,
    day_start,
    encode_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.world.api_rows import Drift
    from airflow_provider_banksync.sandbox.world.model import Account
    from airflow_provider_banksync.sandbox.world.seed import Seed

_FIRST_ADDED = 1_000_000
"""The order of added postings begins here. All others are below it."""


class TransactionLedger:
    """The generated postings, ``per_day`` on average or those of a small business, and the added ones."""

    def __init__(self, seed: Seed, drift: Drift, per_day: float | None = None) -> None:
        self._drift = drift
        self._activity = (
            DailyActivity(seed, drift)
            if per_day is None
            # In thousandths, so that the number of rows does not depend on a float.
            else FixedRateActivity(seed, drift, round(per_day * 1000))
        )
        self._added: dict[str, list[Posting]] = {}
        self._changed_days: dict[str, set[int]] = {}
        """For each account the dates of its added rows."""
        self._last_added = _FIRST_ADDED

    def snapshot_at(self, ms: int) -> Snapshot:
        """Return the snapshot of a read at this time."""
        return Snapshot(ms, self._last_added)

    def add(self, account: Account, posting: Posting) -> None:
        """Add a posting."""
        self._last_added += 1
        self._added.setdefault(account.id, []).append(posting._replace(order=self._last_added))
        self._changed_days.setdefault(account.id, set()).update(posting.days())

    def remove_added(self, account: Account, reference: str) -> None:
        """Remove the added postings with a reference."""
        rest = [each for each in self._added.get(account.id, ()) if each.reference != reference]
        self._added[account.id] = rest
        self._changed_days[account.id] = {day for each in rest for day in each.days()}

    def rows_from(
        self, account: Account, day: int, last: int, now: Snapshot, since: Snapshot | None = None
    ) -> tuple[RowBlock, int]:
        """Return the rows of some days from ``day`` on, as they were at ``now``, and the first day after those days.

        With ``since``, only the rows that appeared after it. Rows are ordered by day, and within a day by the time at
        which they appeared. The order does not depend on the number of days in each block.
        """
        span = day // self._activity.days
        first_recent = day_of(now.ms) - MAX_PENDING_DAYS
        # Days whose rows are all posted, and without added rows, are read together.
        changed = self._changed_days.get(account.id, set())
        end = min(last + 1, (span + 1) * self._activity.days, first_recent)
        end = min((each for each in changed if day <= each < end), default=end)
        if end > day:
            block = self._activity.block(account, span)
            rows = block.between_days(day, end, None if since is None else since.ms)
        else:
            end = day + 1 if day < first_recent else last + 1
            rows = self._recent_rows(account, day, end - 1, now, since)
        opened = account.opened.toordinal()
        # Before the account was opened, only added rows exist.
        return rows, end if end >= opened else min({opened} | {each for each in changed if each >= end})

    def count(self, account: Account, first: int, last: int, now: Snapshot) -> int:
        """Count the rows of a window, both days included, as they were at ``now``, without encoding them."""
        rows, day, last = 0, max(first, self.first_day(account)), min(last, day_of(now.ms))
        while day <= last:
            block, day = self.rows_from(account, day, last, now)
            rows += len(block)
        return rows

    def first_day(self, account: Account) -> int:
        """Return the first day that may have rows."""
        return min({account.opened.toordinal()} | self._changed_days.get(account.id, set()))

    def earliest_late_day(self, account: Account, since: Snapshot, now: Snapshot) -> int | None:
        """Return the earliest date of the rows that were added after ``since``. It may be long before ``since``."""
        added = (posting.version_at(now.ms) for posting in self._added.get(account.id, ()))
        return min((row.day for row in added if row is not None and since.is_before(row)), default=None)

    def _recent_rows(
        self, account: Account, first: int, last: int, now: Snapshot, since: Snapshot | None
    ) -> RowBlock:
        """Return the rows of days that have pending or added rows."""
        postings = (*self._activity.postings_between(account, first, last), *self._added_by(account, now))
        versions = (posting.version_at(now.ms) for posting in postings)
        rows = [row for row in versions if row is not None and first <= row.day <= last]
        rows = sorted(
            (row for row in rows if since is None or since.is_before(row)),
            key=lambda row: (row.day, row.since, row.order),
        )
        digits, shared_fields = account.currency.digits, self._drift.shared_fields(account)

        def encode_group(number: int, first: int, last: int) -> bytes:
            start = number * ROWS_PER_GROUP
            return encode_rows(rows[start + first : start + last], digits, shared_fields)

        return RowBlock([day_start(row.day) for row in rows], encode_group, 0, len(rows))

    def _added_by(self, account: Account, now: Snapshot) -> Iterator[Posting]:
        return (each for each in self._added.get(account.id, ()) if each.order <= now.last_added)
