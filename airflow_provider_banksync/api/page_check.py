"""Checks what the pages of one account say: each id once, days within the window, and an end."""

from __future__ import annotations

import re
from itertools import compress, count
from typing import TYPE_CHECKING, Generic, TypeVar

from airflow_provider_banksync.api.seen_ids import SeenIds
from airflow_provider_banksync.exceptions import BankSyncResponseError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from airflow_provider_banksync.api.messages import Row

RowT = TypeVar("RowT")
Days = tuple[str | None, str | None]
#: After this many pages in a row without a new row, the read ends with an error.
MAX_PAGES_WITHOUT_NEW_ROWS = 3
#: Rows that may come again, far apart, are in memory until the end of the read. So their number is limited.
_MAX_REPEATED = 100_000
_NO_ID = hash(None)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def id_of(row: Row) -> str | None:
    """Return the id of a row as text, or None if it has none."""
    value = row.get("id")
    return None if value is None or value == "" else str(value)


def day_of(row: Row) -> str | None:
    """Return the ``date`` of a row as it was sent, or None if it is not a text."""
    value = row.get("date")
    return value if isinstance(value, str) else None


def is_outside(day: str | None, days: Days) -> bool:
    """Return whether a row's day is outside of the window. A row without a day counts as inside."""
    if day is None or not _DAY.match(day):
        return False
    first, last = days
    return (first is not None and day[:10] < first) or (last is not None and day[:10] > last)


def without_rows_of(before: list[Row], rows: list[Row]) -> list[Row]:
    """Return the rows that the page before does not have. Rows without an id stay, unless the whole page came again."""
    if rows == before:
        return []
    known = {id_of(row): row for row in before}
    return [row for row in rows if id_of(row) is None or known.get(id_of(row)) != row]


class CountCheck:
    """Compares the rows of the pages of a read with ``meta.count``.

    The count is that of a page, or in each page that of all pages together.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._counts: set[int] = set()
        self._first_short: tuple[int, int] | None = None

    def add(self, rows: int, expected: int | None) -> None:
        """Add a page.

        :param rows: number of its rows.
        :param expected: ``meta.count``, if the page has it.
        """
        self._rows += rows
        if expected is None:
            return
        self._counts.add(expected)
        if rows < expected and self._first_short is None:
            self._first_short = rows, expected

    def finish(self) -> None:
        """Check the read at its end.

        :raises BankSyncResponseError: a page has fewer rows than it says.
        """
        if self._first_short is not None and self._counts != {self._rows}:
            rows, expected = self._first_short
            raise BankSyncResponseError(
                f"a page is not complete: it has {rows} transactions, but its count is {expected}.",
                hint="The rows so far are not complete. If it happens again, report it to BankSync.",
            )


class Progress:
    """Ends a read whose pages bring nothing new."""

    def __init__(self) -> None:
        self.seen = SeenIds()
        self._pages_without_new_rows = 0

    def close(self) -> None:
        """Release what this holds."""
        self.seen.close()

    def add(
        self, hashes: set[int], known: set[int], *, has_others: bool = False, has_more: bool | None
    ) -> bool:
        """Add the hashes of the ids of a page. Return whether the page has a new row.

        :param known: those hashes that `seen` knows.
        :param has_others: the page has new rows without an id.
        :raises BankSyncResponseError: the API announces more, but sends nothing new.
        """
        self.seen.add(hashes, known)
        is_new = has_others or len(known) < len(hashes)
        self._pages_without_new_rows = 0 if is_new else self._pages_without_new_rows + 1
        if has_more is False:
            return is_new
        if self._pages_without_new_rows >= MAX_PAGES_WITHOUT_NEW_ROWS:
            raise _endless(f"{MAX_PAGES_WITHOUT_NEW_ROWS} pages in a row brought no new row")
        if self.seen.is_endless:
            raise _endless("it sends the same rows again and again")
        return is_new


class PageCheck(Generic[RowT]):
    """Checks the pages of one read of an account.

    If an id comes twice, its later version counts. The rows of a page are returned when the next page has come,
    because that page may have later versions of them. If an id comes again after that, `repeated` has its hash, and
    the account must be read once more with these hashes as `withheld`: their rows are returned at the end.

    :param days: the window that was asked for.
    :param withheld: hashes of ids that came again, far apart, in an earlier read of the account.
    """

    def __init__(self, days: Days = (None, None), withheld: Collection[int] = ()) -> None:
        self.duplicates = self.outside_window = 0
        self._days = days
        self._withheld = withheld
        self._last_versions: dict[str, tuple[RowT, str | None]] = {}
        self._progress = Progress()
        self._rows: Sequence[RowT] = ()
        self._row_ids: Sequence[str | None] = ()
        self._row_days: Sequence[str | None] = ()

    def add(
        self,
        rows: Sequence[RowT],
        ids: Sequence[str | None],
        days: Sequence[str | None],
        has_more: bool | None = False,
    ) -> tuple[Sequence[RowT], bool]:
        """Add a page. Return the checked rows of the page before, and whether this page has a new row.

        :param ids: the id of each row, or None.
        :param days: the day of each row, or None.
        :raises BankSyncResponseError: the API announces more, but sends nothing new.
        """
        has_new = False
        if self._withheld:
            rows, ids, days, has_new = self._withhold(rows, ids, days)
        hashes = set(map(hash, ids))
        known = self._progress.seen.known(hashes)
        if known or len(hashes) < len(ids) or _NO_ID in hashes:
            return self._add_unusual(rows, ids, days, has_more, has_new=has_new)
        is_new = self._progress.add(hashes, known, has_others=has_new, has_more=has_more)
        checked = self._release(())
        self._rows, self._row_ids, self._row_days = rows, ids, days
        return checked, is_new

    def _add_unusual(
        self,
        rows: Sequence[RowT],
        ids: Sequence[str | None],
        days: Sequence[str | None],
        has_more: bool | None,
        *,
        has_new: bool,
    ) -> tuple[Sequence[RowT], bool]:
        """Add a page that has an id twice, or a row without an id, or an id that may have come before."""
        places, places_before = (dict(zip(each, count())) for each in (ids, self._row_ids))
        without_id = places.pop(None, None) is not None
        places_before.pop(None, None)
        again = places_before.keys() & places
        new = set(map(hash, places.keys() - again))
        is_new = self._progress.add(
            new,
            self._progress.seen.known(new),
            has_others=has_new or (without_id and list(rows) != list(self._rows)),
            has_more=has_more,
        )
        checked = self._release(places_before[one] for one in again)
        last = [one is None or places[one] == place for place, one in enumerate(ids)]
        self.duplicates += last.count(False)
        self._rows, self._row_ids, self._row_days = (list(compress(each, last)) for each in (rows, ids, days))  # type: ignore[assignment]
        return checked, is_new

    def finish(self) -> list[RowT]:
        """Return the checked rows that are left, at the end of the read."""
        last = [row for row, day in self._last_versions.values() if not is_outside(day, self._days)]
        self.outside_window += len(self._last_versions) - len(last)
        return [*self._release(()), *last]

    @property
    def is_large(self) -> bool:
        """Whether `repeated` takes long, because it reads a file."""
        return self._progress.seen.is_spilled

    def repeated(self) -> set[int]:
        """Return the hashes of ids that came again, far apart.

        :raises BankSyncResponseError: if they are too many.
        """
        found = self._progress.seen.compare()
        if len(found) + len(self._withheld) > _MAX_REPEATED:
            raise _endless(f"it sends more than {_MAX_REPEATED} rows again, far apart")
        return found

    def close(self) -> None:
        """Release what the check holds."""
        self._progress.close()

    def _withhold(
        self, rows: Sequence[RowT], ids: Sequence[str | None], days: Sequence[str | None]
    ) -> tuple[Sequence[RowT], Sequence[str | None], Sequence[str | None], bool]:
        """Set aside the rows whose id may come again. Return the rest, and whether one of them is new."""
        others = [one is None or hash(one) not in self._withheld for one in ids]
        if all(others):
            return rows, ids, days, False
        before = len(self._last_versions)
        for row, one, day, is_other in zip(rows, ids, days, others, strict=True):
            if one is not None and not is_other:
                self.duplicates += one in self._last_versions
                self._last_versions[one] = row, day
        rest = (list(compress(each, others)) for each in (rows, ids, days))
        return *rest, len(self._last_versions) > before  # type: ignore[return-value]

    def _release(self, again: Iterable[int]) -> Sequence[RowT]:
        """Return the rows of the page before, without those that came again and those outside of the window.

        :param again: the places of the rows that came again.
        """
        rows, days = self._rows, self._row_days
        unwanted = set(again)
        self.duplicates += len(unwanted)
        outside = {day for day in set(days) if is_outside(day, self._days)} if any(self._days) else set()
        if outside:
            found = {place for place, day in enumerate(days) if day in outside} - unwanted
            self.outside_window += len(found)
            unwanted |= found
        return rows if not unwanted else [row for place, row in enumerate(rows) if place not in unwanted]


def _endless(problem: str) -> BankSyncResponseError:
    return BankSyncResponseError(
        f"the API announces more transactions, but {problem}.",
        hint="The rows so far may not be complete. Report it to BankSync.",
    )
