"""Collects the rows of one account, as an Arrow table with the columns of a ledger."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_banksync.exceptions import BankSyncResponseError
from airflow_provider_banksync.export.formats.parquet import build_columns
from airflow_provider_banksync.export.formats.schema import PORTAL_NAME
from airflow_provider_banksync.ledger.changes import concat
from airflow_provider_banksync.ledger.columns import (
    ACCOUNT_ID,
    BANK_ID,
    CHANGED_AT,
    DAY,
    FIRST_SEEN_AT,
    POSITION,
    WORKSPACE_ID,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from airflow_provider_banksync.extract.partition import Partition
    from airflow_provider_banksync.extract.rows import RowBatch
    from airflow_provider_banksync.ledger.columns import Columns


@dataclass
class Collected:
    """What was read of one account, or of one workspace of a listing."""

    partition: Partition
    rows: pa.Table
    read_at: datetime
    cursor: str | None
    counts: Counter[str] = field(default_factory=Counter)
    unfit: Counter[str] = field(default_factory=Counter)


class RowCollector:
    """A `RowSink` that keeps the rows of a partition in memory.

    :param day: today, for resources that have one state a day.
    :param include_pending: keep transactions that are pending.
    :param done: called with the complete rows, in a thread.
    :param flush_rows: after this many rows, `flush` calls `take` with them. None: never.
    :param take: called with some rows of the partition, in a thread.
    """

    def __init__(
        self,
        partition: Partition,
        columns: Columns,
        day: date,
        done: Callable[[Collected], None],
        *,
        include_pending: bool = True,
        flush_rows: int | None = None,
        take: Callable[[Collected], None] | None = None,
    ) -> None:
        self._partition = partition
        self._columns = columns
        self._day = day
        self._done = done
        self._include_pending = include_pending
        self._flush_rows = flush_rows
        self._take = take
        self._read_at = datetime.now(timezone.utc)
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._unfit: Counter[str] = Counter()

    def add(self, batch: RowBatch) -> bool:
        """Add rows. Return whether `flush` is due."""
        if len(batch):
            table = self._to_table(batch)
            self._tables.append(table)
            self._rows += table.num_rows
        return self._flush_rows is not None and self._rows >= self._flush_rows

    def flush(self) -> None:
        """Hand over the rows so far."""
        if self._take is not None and self._rows:
            self._take(self._collect(None, {}))
            self._tables, self._rows = [], 0

    def finish(self, read_at: str, cursor: str | None = None, counts: dict[str, int] | None = None) -> None:
        """Hand over the rest, and complete the partition."""
        self._done(self._collect(cursor, counts or {}))
        self._tables = []

    def restart(self) -> None:
        """Drop all rows, because the partition is read again. Rows that were handed over stay: they come again."""
        self._tables, self._rows = [], 0
        self._unfit.clear()

    def abort(self) -> None:
        """Drop all rows."""
        self._tables = []

    def _collect(self, cursor: str | None, counts: dict[str, int]) -> Collected:
        rows = _last_versions(concat(self._tables, self._columns.schema), self._columns)
        return Collected(self._partition, rows, self._read_at, cursor, Counter(counts), self._unfit)

    def _to_table(self, batch: RowBatch) -> pa.Table:
        arrays = build_columns(batch, self._columns.resource, self._unfit)
        names = [field.name for field in self._columns.api_schema]
        found: dict[str, Any] = dict(zip(names, arrays, strict=True))
        size = len(batch)
        constants = {
            WORKSPACE_ID: self._partition.workspace_id,
            PORTAL_NAME: self._partition.portal,
            BANK_ID: self._partition.bank_id,
            ACCOUNT_ID: self._partition.account_id,
        }
        schema = self._columns.schema
        for column in schema:
            if column.name in constants:
                found[column.name] = pa.repeat(pa.scalar(constants[column.name], pa.string()), size)
            elif column.name == DAY:
                found[DAY] = pa.repeat(pa.scalar(self._day, pa.date32()), size)
            elif column.name == POSITION:
                found[POSITION] = pa.array(_positions(batch), pa.string())
            elif column.name in (FIRST_SEEN_AT, CHANGED_AT):
                found[column.name] = pa.nulls(size, column.type)
        table = pa.Table.from_arrays([found[name] for name in schema.names], schema=schema)
        if self._columns.key in found and table[self._columns.key].null_count:
            raise BankSyncResponseError(
                f"{self._partition} has {self._columns.resource} without an id, so their rows cannot be told apart.",
                hint="Export them to files instead, with BankSyncToObjectStorageOperator.",
            )
        if not self._include_pending and "pending" in table.column_names:
            table = table.filter(pc.invert(pc.fill_null(table["pending"], False)))
        return table


def _last_versions(rows: pa.Table, columns: Columns) -> pa.Table:
    """Return the rows without earlier versions of rows that come again."""
    key = rows[columns.key]
    if pc.count_distinct(key).as_py() == rows.num_rows:
        return rows
    last = {one: place for place, one in enumerate(key.to_pylist())}
    return rows.take(pa.array(sorted(last.values()), pa.int64()))


def _positions(batch: RowBatch) -> list[str]:
    """Return a name for each holding of an account that stays the same from day to day."""
    seen: Counter[str] = Counter()
    positions = []
    for row in batch.rows():
        named = (row.get(name) for name in ("id", "symbol", "name"))
        name = next((str(value) for value in named if value not in (None, "")), "unnamed")
        seen[name] += 1
        positions.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return positions
