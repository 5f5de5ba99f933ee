"""Rows of some days on end, in order, ready to be sent; and a memory for those that will not change any more."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from airflow_provider_banksync.sandbox.movement import day_of, day_start
from airflow_provider_banksync.sandbox.transactions import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_banksync.sandbox.model import Account
    from airflow_provider_banksync.sandbox.movement import Movement, Sighting
    from airflow_provider_banksync.sandbox.transactions import TransactionWriter

GROUP = 32
"""Rows of a block that are written at once: a page takes most of them as they are."""
_ROWS_KEPT = 40_000


class Stretch(Protocol):
    """Rows of some days on end, day by day."""

    def __len__(self) -> int:
        """Count them."""

    def day(self, place: int) -> int:
        """Give the day that a row is dated."""

    def write(self, first: int, last: int) -> list[bytes]:
        """Write some of the rows, from the first and up to the last, which is not among them.

        Some may be in one piece. Each ends with the comma that stands between it and the next.
        """


@dataclass(frozen=True)
class Block:
    """The rows of a span of days as they are once all has settled: then no moment is needed to tell."""

    sinces: Sequence[int]
    """For each row when it settled, ascending."""
    start: int
    """How many of them are not rows of the account, which had yet to be opened."""
    group: Callable[[int, int, int], bytes]
    """Gives rows of a group in one piece: its number, the first row, and the one that is not among them any more."""

    def cut(self, day: int, after: int, since: int | None) -> Settled:
        """Give those dated from one day on and before another, that settled after a moment."""
        first = bisect_left(self.sinces, day_start(day), self.start)
        if since is not None:
            first = bisect_right(self.sinces, since, first)
        last = bisect_left(self.sinces, day_start(after), first)
        return Settled(self, first, last)


class Settled:
    """A stretch out of a block."""

    def __init__(self, block: Block, first: int, last: int) -> None:
        self._block = block
        self._first = first
        self._last = last

    def __len__(self) -> int:
        return self._last - self._first

    def day(self, place: int) -> int:
        """Give the day that a row is dated."""
        return day_of(self._block.sinces[self._first + place])

    def write(self, first: int, last: int) -> list[bytes]:
        """Write some of the rows."""
        first, last = self._first + first, self._first + last
        return [
            self._block.group(number, max(first - number * GROUP, 0), min(last - number * GROUP, GROUP))
            for number in range(first // GROUP, -(-last // GROUP))
        ]


def some(group: bytes, first: int, last: int) -> bytes:
    """Give some rows of a group, from the first and up to the last, which is not among them."""
    if last - first == GROUP:
        return group
    return b"".join(BEGINNING + row for row in group.split(BEGINNING)[first + 1 : last + 1])


class Recent:
    """The rows of some days as they are seen at some moment."""

    def __init__(self, writer: TransactionWriter, account: Account, rows: list[Sighting]) -> None:
        self._writer = writer
        self._account = account
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def day(self, place: int) -> int:
        """Give the day that a row is dated."""
        return self._rows[place].day

    def write(self, first: int, last: int) -> list[bytes]:
        """Write some of the rows."""
        return self._writer.write(self._account, self._rows[first:last])


class Source(Protocol):
    """Where the movements of all accounts come from, a span of days at a time."""

    @property
    def days(self) -> int:
        """How many there are in a span. Span 0 begins with day 0."""

    def block(self, account: Account, span: int) -> Block:
        """Give the rows that are dated in a span once all has settled."""

    def around(self, account: Account, first: int, last: int) -> Iterable[Movement]:
        """Give all movements that are dated on these days, pending or settled, and maybe some more."""

    def count(self, account: Account, first: int, last: int) -> int:
        """Count the rows that are dated on these days once all has settled."""


T = TypeVar("T")


class Spans(Generic[T]):
    """Remembers what was made of spans of days, up to so many rows; then it forgets the oldest."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, int], tuple[T, int]] = {}
        self._rows = 0

    def get(self, account: Account, span: int) -> T | None:
        """Give what is remembered."""
        found = self._spans.get((account.id, span))
        return None if found is None else found[0]

    def keep(self, account: Account, span: int, made: T, rows: int) -> T:
        """Remember something that has so many rows, and give it back."""
        # A span without rows takes room as well, so each counts for one row more than it has.
        self._rows += rows + 1
        while self._rows > _ROWS_KEPT and self._spans:
            self._rows -= self._spans.pop(next(iter(self._spans)))[1] + 1
        self._spans[account.id, span] = made, rows
        return made
