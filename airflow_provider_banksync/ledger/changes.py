"""What to insert, update and delete in a table, so that it equals what the API answers: a pure function.

The rows of a read, and the rows of the table, are Arrow tables with the columns of `ledger.columns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_banksync.ledger.columns import CHANGED_AT, FIRST_SEEN_AT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime


@dataclass(frozen=True)
class Truth:
    """The days for which a read has all rows, both included. None: no bound.

    A row without a day belongs only to a truth without bounds.
    """

    first: date | None = None
    last: date | None = None

    @property
    def is_everything(self) -> bool:
        """Whether it has no bounds."""
        return self.first is None and self.last is None


@dataclass(frozen=True)
class Changes:
    """What a table needs to equal a read.

    :param upserts: complete rows: the new ones, and those that differ.
    :param deletes: the rows of the table that the API no longer has.
    :param inserted: number of new rows among `upserts`.
    """

    upserts: pa.Table
    deletes: pa.Table
    inserted: int

    @property
    def updated(self) -> int:
        """Number of rows that differ."""
        return int(self.upserts.num_rows) - self.inserted

    @property
    def deleted(self) -> int:
        """Number of rows that the API no longer has."""
        return int(self.deletes.num_rows)

    def __bool__(self) -> bool:
        return bool(self.upserts.num_rows or self.deletes.num_rows)


def compute_changes(
    existing: pa.Table,
    incoming: pa.Table,
    truth: Truth | None,
    *,
    key: str,
    day: str | None,
    now: datetime,
) -> Changes:
    """Return what one account, or one workspace of a listing, needs.

    :param existing: its rows in the table: all rows of the days of `truth`, and all whose key is in `incoming`. May
        have more.
    :param incoming: its rows in the API, each key once. Rows of other days than those of `truth` are inserted or
        updated, and cause no deletion.
    :param truth: the days for which `incoming` has every row. None: no row is deleted.
    :param key: the column that names a row.
    :param day: the column with the day of a row; None: rows have no day, and `truth` has no bounds.
    :param now: becomes ``changed_at`` of each upsert, and ``first_seen_at`` of each new row.
    """
    if not existing.num_rows:
        return Changes(stamp(incoming, None, now), existing, incoming.num_rows)
    place = pc.index_in(incoming[key], value_set=existing[key])
    is_new = pc.is_null(place)
    fresh = incoming.filter(is_new)
    known = incoming.filter(pc.invert(is_new))
    before = existing.take(place.drop_null())
    differs = _differ(known, before)
    changed, earlier = known.filter(differs), before.filter(differs)
    upserts = pa.concat_tables([stamp(fresh, None, now), stamp(changed, earlier[FIRST_SEEN_AT], now)])
    absent = existing.filter(pc.invert(pc.is_in(existing[key], value_set=incoming[key])))
    deletes = absent.slice(0, 0) if truth is None else absent.filter(_is_covered(absent, truth, day))
    return Changes(upserts, deletes, fresh.num_rows)


def stamp(rows: pa.Table, first_seen: pa.ChunkedArray | None, now: datetime) -> pa.Table:
    """Return the rows with the times at which they were first seen, and changed.

    :param first_seen: of each row; None: `now`.
    """
    moments = pa.array([now], rows.schema.field(CHANGED_AT).type)
    changed = pa.chunked_array([pa.repeat(moments[0], rows.num_rows)])
    for name, values in ((FIRST_SEEN_AT, first_seen or changed), (CHANGED_AT, changed)):
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), values)
    return rows


def _differ(one: pa.Table, other: pa.Table) -> pa.Array:
    """Return for each row whether it differs in a column that the API fills."""
    columns = [name for name in one.column_names if name not in (FIRST_SEEN_AT, CHANGED_AT)]
    return reduce(pc.or_, (_is_distinct(one[name], other[name]) for name in columns))


def _is_distinct(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.Array:
    """Return for each value whether it differs. Null equals null."""
    unequal = pc.fill_null(pc.not_equal(one, other), False)
    return pc.or_(unequal, pc.xor(pc.is_null(one), pc.is_null(other)))


def _is_covered(rows: pa.Table, truth: Truth, day: str | None) -> pa.Array:
    """Return for each row whether the read would have had it."""
    if truth.is_everything or day is None:
        return pa.array([True] * rows.num_rows, pa.bool_())
    covered = pc.is_valid(rows[day])
    for bound, compare in ((truth.first, pc.greater_equal), (truth.last, pc.less_equal)):
        if bound is not None:
            inside = pc.fill_null(compare(rows[day], pa.scalar(bound, pa.date32())), False)
            covered = pc.and_(covered, inside)
    return covered


def count_lost(existing: pa.Table, incoming: pa.Table, truth: Truth, day: str | None) -> tuple[int, int]:
    """Return how many posted rows the table has in the days of `truth`, and how many the API has.

    Pending rows are left out: they come and go.
    """
    return tuple(  # type: ignore[return-value]
        _posted(rows.filter(_is_covered(rows, truth, day))) for rows in (existing, incoming)
    )


def _posted(rows: pa.Table) -> int:
    if "pending" not in rows.column_names:
        return int(rows.num_rows)
    return int(rows.num_rows) - int(pc.sum(rows["pending"]).as_py() or 0)


def concat(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """Return the rows of all tables as one."""
    return pa.concat_tables([schema.empty_table(), *tables])
