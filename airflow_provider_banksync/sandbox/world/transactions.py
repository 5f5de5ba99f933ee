"""Transactions: postings, their row versions over time, their JSON, and blocks of rows.

Days are ordinals and times are milliseconds, because there are many of them.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_banksync.sandbox.exact_json import RawJson

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DAY_MS = 86_400_000
EPOCH_ORDINAL = 719_163
NEVER = 2**62
"""The time of what does not happen."""
ROWS_PER_GROUP = 32
"""Rows of a block are encoded in groups. A page takes most groups unchanged."""
_ROW_START = '{"id":"'
_ROW_START_BYTES = _ROW_START.encode()


def day_start(day: int) -> int:
    """Return the time at which a day begins."""
    return (day - EPOCH_ORDINAL) * DAY_MS


def day_of(ms: int) -> int:
    """Return the day of a time."""
    return ms // DAY_MS + EPOCH_ORDINAL


class Life(NamedTuple):
    """What the bank does to the row of a posting. ``world.banks`` draws it, and commands change it."""

    linked: bool = True
    """Whether the posted row names the pending one."""
    authorized_days: int = 0
    """The days by which ``authorizedDate`` is off."""
    added_units: int = 0
    """What the amount gains when it is posted, such as a tip."""
    days_back: int = 0
    """The days between the date of the posted row and the day on which it is posted."""
    vanishes_at: int = NEVER
    changed_at: int = NEVER
    description: str | None = None
    """The description from ``changed_at`` on; None if it stays."""
    category: str | None = None
    removed_at: int = NEVER
    booked_at: int | None = None
    """When the balance changes; None for the time of posting, or the end of its date if that is earlier."""
    is_reversed: bool = False
    """Whether the balance contains a removed row until it is removed. Otherwise, it never does."""


class Posting(NamedTuple):
    """Money into an account (positive) or out of it, in the smallest units of the account's currency."""

    id: str
    pending_id: str | None
    """The id while it is pending; None if it never is."""
    units: int
    description: str
    category: str
    type: str
    reference: str
    day: int
    appears_at: int
    posts_at: int
    """When it is posted. The same as ``appears_at`` if it is never pending."""
    order: int
    life: Life = Life()
    extra: str = ""
    """Encoded fields beside the documented ones, with a comma before each."""

    def days(self) -> set[int]:
        """Return the dates of its rows, pending and posted."""
        return {self.day} if self.posts_at == NEVER else {self.day, self.posted_day()}

    def posted_day(self) -> int:
        """Return the date of its posted row."""
        return self.day if self.pending_id is None else day_of(self.posts_at) - self.life.days_back

    def version_at(self, now: int) -> RowVersion | None:
        """Return its row at a time; None before it appears, and after it is gone."""
        life = self.life
        if now < self.posts_at:
            if self.pending_id is None or not self.appears_at <= now < life.vanishes_at:
                return None
            return RowVersion(self.appears_at, self.order, self.day, True, self)
        if now < life.changed_at and now < life.removed_at:
            return RowVersion(self.posts_at, self.order, self.posted_day(), False, self)
        if now >= life.removed_at:
            return None
        return RowVersion(life.changed_at, self.order, self.posted_day(), False, self, changed=True)

    def final(self) -> RowVersion | None:
        """Return its last row; None if it is gone at the end."""
        return self.version_at(NEVER - 1)

    def bookings(self) -> list[tuple[int, int]]:
        """Return when the balance changes, and by how much."""
        life, units = self.life, self.units + self.life.added_units
        if self.posts_at == NEVER or (life.removed_at != NEVER and not life.is_reversed):
            return []
        end_of_day = day_start(self.posted_day() + 1) - 1
        booked_at = min(self.posts_at, end_of_day) if life.booked_at is None else life.booked_at
        return [(booked_at, units), *([(life.removed_at, -units)] if life.is_reversed else [])]


class RowVersion(NamedTuple):
    """The row of a posting in one of its states. Sorts by the time at which it appeared."""

    since: int
    order: int
    day: int
    pending: bool
    posting: Posting
    changed: bool = False

    @property
    def id(self) -> str:
        """The id of the row."""
        return (self.pending and self.posting.pending_id) or self.posting.id


class Snapshot(NamedTuple):
    """The time of a read, and the last row that was added before it.

    If the clock stands still, only ``last_added`` separates new rows from old ones.
    """

    ms: int
    last_added: int


def encode_rows(rows: list[RowVersion], digits: int, shared_fields: bytes) -> bytes:
    """Encode rows of an account, with a comma after each. Fast: all rows share their last fields."""
    return b"".join([_encode_row(row, digits).encode() + shared_fields for row in rows])


def _encode_row(row: RowVersion, digits: int) -> str:
    _, _, day, pending, posting, changed = row
    row_id, previous_id, units, life = posting.id, "null", posting.units, posting.life
    description, category = posting.description, posting.category
    if pending:
        row_id = posting.pending_id or posting.id
    else:
        units += life.added_units
        if posting.pending_id and life.linked:
            previous_id = f'"{posting.pending_id}"'
        if changed:
            description, category = life.description or description, life.category or category
    amount, zero = format_amount(abs(units), digits), format_amount(0, digits)
    return (
        f'{_ROW_START}{row_id}","date":"{_format_day(day)}"'
        f',"authorizedDate":"{_format_day(posting.day + life.authorized_days)}"'
        f',"description":{_encode_text(description)},"amount":{"-" if units < 0 else ""}{amount}'
        f',"creditAmount":{amount if units > 0 else zero},"debitAmount":{amount if units < 0 else zero}'
        f',"category":{_encode_text(category)},"type":"{posting.type}","reference":"{posting.reference}"'
        f',"pending":{"true" if pending else "false"},"pendingTransactionId":{previous_id}{posting.extra}'
    )


def format_amount(units: int, digits: int) -> str:
    """Write smallest units, not negative, as an amount with this many decimals."""
    if not digits:
        return str(units)
    whole, part = divmod(units, 10**digits)
    return f"{whole}.{part:0{digits}d}"


def json_array(rows: list[bytes]) -> RawJson:
    """Make a JSON array of encoded rows. A piece may have several rows."""
    return RawJson([b"[", *rows[:-1], rows[-1][:-1], b"]"] if rows else [b"[]"])


def slice_group(group: bytes, first: int, last: int) -> bytes:
    """Return the rows of an encoded group from ``first`` to ``last``, which is excluded."""
    if last - first == ROWS_PER_GROUP:
        return group
    # Rows can be split at their start: in texts, quotes are escaped.
    return b"".join(_ROW_START_BYTES + row for row in group.split(_ROW_START_BYTES)[first + 1 : last + 1])


@dataclass(frozen=True)
class RowBlock:
    """Rows of consecutive days of an account, in order: ``times[first:last]``."""

    times: Sequence[int]
    """For each row a time on its date, ascending."""
    encode_group: Callable[[int, int, int], bytes]
    """Encodes rows of a group: takes the group's number, the first row and the row after the last."""
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    def day(self, index: int) -> int:
        """Return the date of a row."""
        return day_of(self.times[self.first + index])

    def between_days(self, first_day: int, end_day: int) -> RowBlock:
        """Return the rows from one day to another, which is excluded."""
        first = bisect_left(self.times, day_start(first_day), self.first)
        return RowBlock(
            self.times, self.encode_group, first, bisect_left(self.times, day_start(end_day), first)
        )

    def encode(self, first: int, last: int) -> list[bytes]:
        """Encode rows from ``first`` to ``last``, which is excluded, with a comma after each."""
        first, last = self.first + first, self.first + last
        return [
            self.encode_group(
                group // ROWS_PER_GROUP, max(first - group, 0), min(last - group, ROWS_PER_GROUP)
            )
            for group in range(first // ROWS_PER_GROUP * ROWS_PER_GROUP, last, ROWS_PER_GROUP)
        ]


@lru_cache(maxsize=8_192)
def _format_day(day: int) -> str:
    return date.fromordinal(day).isoformat()


@lru_cache(maxsize=4_096)
def _encode_text(text: str) -> str:
    return encode_basestring(text)
