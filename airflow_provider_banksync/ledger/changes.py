"""What to insert, update and delete in a table, so that it equals what the API answers: a pure function.

The rows of a read, and the rows of the table, are Arrow tables with the columns of `ledger.columns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_banksync.ledger.columns import CHANGED_AT, FIRST_SEEN_AT, WORKSPACE_ID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

#: Between the parts of a key. No id has it.
_SEPARATOR = "\x1f"


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

    def __add__(self, other: Changes) -> Changes:
        """Return the changes of both. They must be of different accounts or workspaces."""
        return Changes(
            pa.concat_tables([self.upserts, other.upserts]),
            pa.concat_tables([self.deletes, other.deletes]),
            self.inserted + other.inserted,
        )

    def owners(self, names: Sequence[str] = (WORKSPACE_ID,)) -> set[tuple[str, ...]]:
        """Return whose rows change.

        :param names: the columns with the ids of the workspace, and of the account if rows have one.
        """
        rows = pa.concat_tables(each.select(names) for each in (self.upserts, self.deletes))
        found = rows.group_by(names).aggregate([]).to_pylist()
        return {tuple(each[name] for name in names) for each in found}

    def of_workspaces(self, ids: Sequence[str]) -> Changes:
        """Return the changes of some workspaces."""
        wanted = pa.array(ids, pa.string())
        upserts, deletes = (
            rows.filter(pc.is_in(rows[WORKSPACE_ID], value_set=wanted))
            for rows in (self.upserts, self.deletes)
        )
        # A new row has the same time in both columns. So has a row that was first seen in an earlier try of this run.
        inserted = pc.sum(pc.equal(upserts[FIRST_SEEN_AT], upserts[CHANGED_AT])).as_py() or 0
        return Changes(upserts, deletes, inserted)


def no_changes(schema: pa.Schema) -> Changes:
    """Return changes of no row."""
    return Changes(schema.empty_table(), schema.empty_table(), 0)


def compute_changes(
    existing: pa.Table,
    incoming: pa.Table,
    truth: Truth | None,
    *,
    key: Sequence[str],
    day: str | None,
    now: datetime,
) -> Changes:
    """Return what some accounts, or some workspaces of a listing, need.

    :param existing: their rows in the table: all rows of the days of `truth`, and all whose key is in `incoming`. May
        have more.
    :param incoming: their rows in the API, each key once. Rows of other days than those of `truth` are inserted or
        updated, and cause no deletion.
    :param truth: the days for which `incoming` has every row. None: no row is deleted.
    :param key: the columns that identify a row.
    :param day: the column with the day of a row; None: rows have no day, and `truth` has no bounds.
    :param now: becomes ``changed_at`` of each upsert, and ``first_seen_at`` of each new row.
    """
    if not existing.num_rows:
        return Changes(stamp(incoming, None, now), existing, incoming.num_rows)
    known_keys, keys = _join(existing, key), _join(incoming, key)
    place = pc.index_in(keys, value_set=known_keys)
    is_new = pc.is_null(place)
    fresh = incoming.filter(is_new)
    known = incoming.filter(pc.invert(is_new))
    places = place.drop_null()
    differs = _differ(known, existing, places)
    changed = known.filter(differs)
    first_seen = existing[FIRST_SEEN_AT].take(places.filter(differs))
    upserts = pa.concat_tables([stamp(fresh, None, now), stamp(changed, first_seen, now)])
    absent = existing.filter(pc.invert(pc.is_in(known_keys, value_set=keys)))
    deletes = absent.slice(0, 0) if truth is None else absent.filter(_is_covered(absent, truth, day))
    return Changes(upserts, deletes, fresh.num_rows)


def _join(rows: pa.Table, key: Sequence[str]) -> pa.Array:
    """Return the key of each row as one text."""
    columns = [rows[name].cast(pa.string()) for name in key]
    joined = columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, _SEPARATOR)
    return joined.combine_chunks()


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


def _differ(rows: pa.Table, existing: pa.Table, places: pa.Array) -> pa.Array:
    """Return for each row whether it differs from the row at its place in a column that the API fills."""
    columns = [name for name in rows.column_names if name not in (FIRST_SEEN_AT, CHANGED_AT)]
    differ = (_is_distinct(rows[name], existing[name].take(places)) for name in columns)
    return reduce(pc.or_, differ).combine_chunks()


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


def count_posted(
    rows: pa.Table, truth: Truth, day: str | None, owner: Sequence[str]
) -> dict[tuple[str, ...], int]:
    """Return how many rows each account has in the days of `truth`, without pending ones: they come and go.

    :param owner: the columns with the ids of the workspace and the account.
    """
    condition = _is_covered(rows, truth, day)
    if "pending" in rows.column_names:
        condition = pc.and_(condition, pc.invert(pc.fill_null(rows["pending"], False)))
    counts = rows.select(owner).filter(condition).group_by(owner).aggregate([([], "count_all")])
    return {tuple(each[name] for name in owner): each["count_all"] for each in counts.to_pylist()}


def concat(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """Return the rows of all tables as one, in contiguous memory. Arrow is slow with many small pieces."""
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
