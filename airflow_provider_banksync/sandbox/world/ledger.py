"""The transactions of all accounts, as they were at a snapshot. Computed for each account and span, never stored.

Only what commands changed is stored: added postings, edited postings, and the times in which an account was stale.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_banksync.sandbox.world.activity import DailyActivity, FixedRateActivity
from airflow_provider_banksync.sandbox.world.transactions import (
    NEVER,
    ROWS_PER_GROUP,
    Posting,
    RowBlock,
    RowVersion,
    Snapshot,
    day_of,
    day_start,
    encode_rows,
    slice_group,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_banksync.sandbox.world.api_rows import Drift
    from airflow_provider_banksync.sandbox.world.banks import BankRates, Banks
    from airflow_provider_banksync.sandbox.world.model import Account
    from airflow_provider_banksync.sandbox.world.seed import Seed

_FIRST_ADDED = 1_000_000
"""The order of added and edited postings begins here. All others are below it."""
_CACHED_SPANS = 2_048
"""A span of an account has about 20 rows."""
_RESEND_MS = 4 * 3_600_000
"""Banks send the rows of the last days again at four in the morning."""
_NO_ROWS = RowBlock((), lambda *_: b"", 0, 0)


class _Outage(NamedTuple):
    """A time in which nothing of an account is delivered. The end is ``NEVER`` until it has ended."""

    start: int
    end: int = NEVER
    order: int = 0
    """Sorts its end among the added rows."""

    def is_after(self, since: Snapshot) -> bool:
        """Return whether it ended after a snapshot."""
        return self.end > since.ms or self.order > since.last_added


class TransactionLedger:
    """The generated postings, ``per_day`` on average or those of a small business, and the added ones."""

    def __init__(self, seed: Seed, drift: Drift, rates: BankRates, per_day: float | None = None) -> None:
        self._seed = seed
        self._drift = drift
        self._rates = rates
        self._activity = (
            DailyActivity(seed, rates)
            if per_day is None
            # In thousandths, so that the number of rows does not depend on a float.
            else FixedRateActivity(seed, drift, rates, round(per_day * 1000))
        )
        self._block = lru_cache(maxsize=_CACHED_SPANS)(self._build_block)
        self._added: dict[str, list[Posting]] = {}
        self._edits: dict[str, dict[str, list[Posting]]] = {}
        """For each account the edited postings, by id: as it was generated or added, and after each edit."""
        self._changed_days: dict[str, set[int]] = {}
        """For each account the dates of its added and edited rows."""
        self._outages: dict[str, list[_Outage]] = {}
        self._last_added = _FIRST_ADDED

    def snapshot_at(self, ms: int) -> Snapshot:
        """Return the snapshot of a read at this time."""
        return Snapshot(ms, self._last_added)

    def change_rates(self, banks: Banks, day: int) -> None:
        """Change the rates of the rows that appear from a day on."""
        self._rates.change(banks, day)
        self._activity.forget()
        self._block.cache_clear()

    def add(self, account: Account, posting: Posting) -> None:
        """Add a posting."""
        self._last_added += 1
        self._added.setdefault(account.origin_id, []).append(posting._replace(order=self._last_added))
        self._find_changed_days(account)

    def edit(self, account: Account, old: Posting, new: Posting) -> None:
        """Replace a posting, which ``find`` returned, from now on."""
        self._last_added += 1
        versions = self._edits.setdefault(account.origin_id, {}).setdefault(old.id, [old])
        versions.append(new._replace(order=self._last_added))
        self._find_changed_days(account)

    def remove_added(self, account: Account, reference: str) -> None:
        """Remove the added postings with a reference."""
        rest = [each for each in self._added.get(account.origin_id, ()) if each.reference != reference]
        self._added[account.origin_id] = rest
        self._find_changed_days(account)

    def make_stale(self, account: Account, now: int) -> None:
        """Deliver nothing new of an account from now on."""
        if self.delivered_until(account, now) == now:
            self._outages.setdefault(account.origin_id, []).append(_Outage(now))

    def end_stale(self, account: Account, now: int) -> None:
        """Deliver what an account has missed."""
        outages = self._outages.get(account.origin_id)
        if outages and outages[-1].end == NEVER:
            self._last_added += 1
            outages[-1] = outages[-1]._replace(end=now, order=self._last_added)

    def delivered_until(self, account: Account, ms: int) -> int:
        """Return the time up to which the rows of an account are delivered: earlier than now if it is stale."""
        outages = self._outages.get(account.origin_id, ())
        return next((each.start for each in outages if each.start <= ms < each.end), ms)

    def rows_from(
        self, account: Account, day: int, last: int, now: Snapshot, since: Snapshot | None = None
    ) -> tuple[RowBlock, int]:
        """Return the rows of some days from ``day`` on, as they were at ``now``, and the first day after those days.

        With ``since``, only the rows that appeared or changed after it, or that the bank sends again. Rows are ordered
        by day, and within a day by the time at which they appeared. The order does not depend on the number of days in
        each block.
        """
        changed = self._changed_days.get(account.origin_id, set())
        if since is not None and day <= day_of(since.ms):
            rows, end = self._new_rows(account, day, last, now, since)
        else:
            span = day // self._activity.days
            first_recent = day_of(self.delivered_until(account, now.ms)) - self._rates.days_until_final
            # Days whose rows do not change any more, and without added or edited rows, are read together.
            end = min(last + 1, (span + 1) * self._activity.days, first_recent)
            end = min((each for each in changed if day <= each < end), default=end)
            if end > day:
                rows = self._final_rows(account, span).between_days(day, end)
            else:
                end = day + 1 if day < first_recent else last + 1
                rows = self._recent_rows(account, day, end - 1, now)
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
        return min({account.opened.toordinal()} | self._changed_days.get(account.origin_id, set()))

    def first_new_day(self, account: Account, since: Snapshot) -> int:
        """Return the earliest date of the rows that may be new after ``since``. It may be long before ``since``."""
        changed = [
            day
            for versions in self._stored(account)
            if versions[-1].order > since.last_added
            for each in versions
            for day in each.days()
        ]
        return min([*changed, self._first_undelivered_day(account, since)])

    def booked_units(self, account: Account, after: int, until: int) -> int:
        """Return the sum of what changes the balance after one time, up to another."""
        snapshot = Snapshot(until, self._last_added)
        postings = self._postings(account, day_of(after), day_of(until), snapshot)
        return sum(units for each in postings for at, units in each.bookings() if after < at <= until)

    def find(self, account: Account, row_id: str, now: int) -> tuple[Posting, RowVersion] | None:
        """Return the posting of a row that is listed now, and its version. The newest rows are searched first."""
        snapshot, last = self.snapshot_at(self.delivered_until(account, now)), day_of(now)
        while last >= self.first_day(account):
            first = max(last - self._activity.days, self.first_day(account))
            for posting in self._postings(account, first, last, snapshot):
                row = self._renamed(account, posting).version_at(snapshot.ms)
                if row is not None and row.id == row_id:
                    return posting, row
            last = first - 1
        return None

    def row_id(self, account: Account, posting: Posting) -> str:
        """Return the id that the API lists for a posted row."""
        return self._renamed(account, posting).id

    def _new_rows(
        self, account: Account, day: int, last: int, now: Snapshot, since: Snapshot
    ) -> tuple[RowBlock, int]:
        """Return rows of days up to that of ``since``, and the day after them."""
        first_new = self._first_undelivered_day(account, since)
        if day >= first_new:
            end = min(last, day_of(since.ms)) + 1
            return self._recent_rows(account, day, end - 1, now, since), end
        changed = self._changed_days.get(account.origin_id, set())
        if day in changed:
            return self._recent_rows(account, day, day, now, since), day + 1
        return _NO_ROWS, min({first_new} | {each for each in changed if each > day})

    def _first_undelivered_day(self, account: Account, since: Snapshot) -> int:
        """Return the first day of which the bank itself may send rows after ``since``."""
        outages = self._outages.get(account.origin_id, ())
        missed = [each.start for each in outages if each.is_after(since)]
        return (
            day_of(min([*missed, since.ms])) - self._rates.days_until_final - self._rates.latest.resend_days
        )

    def _final_rows(self, account: Account, span: int) -> RowBlock:
        """Return the rows of a span, as they are after all changes."""
        # The faster way of a fixed rate needs the same number of rows in each group.
        if (
            isinstance(self._activity, FixedRateActivity)
            and not self._rates.moves_rows
            and account.id == account.origin_id
        ):
            return self._activity.block(account, span)
        return self._block(account, span)

    def _build_block(self, account: Account, span: int) -> RowBlock:
        first, last = span * self._activity.days, (span + 1) * self._activity.days - 1
        postings = self._activity.postings_between(account, first, last)
        versions = (self._renamed(account, each).final() for each in postings)
        return self._encodable(account, versions, first, last)

    def _recent_rows(
        self, account: Account, first: int, last: int, now: Snapshot, since: Snapshot | None = None
    ) -> RowBlock:
        """Return the rows of days whose rows may change, or were added or edited."""
        until = self.delivered_until(account, now.ms)
        postings = self._postings(account, first, last, now)
        versions = (self._renamed(account, each).version_at(until) for each in postings)
        if since is not None:
            versions = (
                row if row is not None and self._is_new(account, row, since, now) else None
                for row in versions
            )
        return self._encodable(account, versions, first, last)

    def _encodable(
        self, account: Account, versions: Iterable[RowVersion | None], first: int, last: int
    ) -> RowBlock:
        """Return the rows that are dated on these days, in order."""
        rows = [row for row in versions if row is not None and first <= row.day <= last]
        rows.sort(key=lambda row: (row.day, row.since, row.order))
        digits, shared_fields = account.currency.digits, self._drift.shared_fields(account)
        encoded: dict[int, bytes] = {}

        def encode_group(number: int, first: int, last: int) -> bytes:
            if number not in encoded:
                start = number * ROWS_PER_GROUP
                encoded[number] = encode_rows(rows[start : start + ROWS_PER_GROUP], digits, shared_fields)
            return slice_group(encoded[number], first, last)

        return RowBlock([day_start(row.day) for row in rows], encode_group, 0, len(rows))

    def _is_new(self, account: Account, row: RowVersion, since: Snapshot, now: Snapshot) -> bool:
        appeared, outages = row.since, self._outages.get(account.origin_id, ())
        missed = next((each for each in outages if each.start < appeared <= each.end), None)
        if missed is not None:
            appeared = missed.end
        if appeared > since.ms or row.order > since.last_added or (missed and missed.is_after(since)):
            return True
        last_sent = min(day_of(now.ms - _RESEND_MS), day_of(appeared) + self._rates.latest.resend_days)
        return last_sent > day_of(appeared) and day_start(last_sent) + _RESEND_MS > since.ms

    def _postings(self, account: Account, first: int, last: int, now: Snapshot) -> Iterator[Posting]:
        """Return at least the postings that are dated on these days, as they were edited at ``now``."""
        edits = self._edits.get(account.origin_id, {})
        generated = self._activity.postings_between(account, first, last)
        for each in chain(generated, self._added.get(account.origin_id, ())):
            if each.order <= now.last_added and each.id not in edits:
                yield each
        for versions in edits.values():
            known = [each for each in versions if each.order <= now.last_added]
            yield from known[-1:]

    def _renamed(self, account: Account, posting: Posting) -> Posting:
        """Return a posting with the ids that it has at a bank that was linked anew."""
        if account.id == account.origin_id:
            return posting
        new_id = self._seed.id("linked anew", account.id, posting.id)
        pending = posting.pending_id
        pending_id = self._seed.id("linked anew", account.id, pending) if pending else None
        return posting._replace(id=new_id, pending_id=pending_id)

    def _stored(self, account: Account) -> Iterator[list[Posting]]:
        """Return the versions of each added or edited posting."""
        edits = self._edits.get(account.origin_id, {})
        yield from edits.values()
        yield from ([each] for each in self._added.get(account.origin_id, ()) if each.id not in edits)

    def _find_changed_days(self, account: Account) -> None:
        stored = self._stored(account)
        days = {day for versions in stored for each in versions for day in each.days()}
        self._changed_days[account.origin_id] = days
