"""SQLite, over Python's own driver.

SQLite has no exact numbers with a fraction, no days and no times. So amounts are texts with all their digits, such as
``-12.5``, days are ``2026-03-31``, and times ``2026-03-31T08:15:30.250000Z``. Equal values are equal texts.
"""

from __future__ import annotations

import json
from datetime import timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airflow_provider_banksync.ledger.sql_dialect import Found, SqlTable, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

#: How long to wait for a transaction of another task, in seconds. SQLite lets one write at a time.
_BUSY_SECONDS = 300


class Sqlite:
    """SQLite 3.24 or later."""

    placeholder = "?"
    max_name = 200

    def prepare(self, connection: Any) -> None:
        """Set what a ledger needs of a new connection, whatever Airflow's connection says."""
        connection.isolation_level = None  # Python's driver would begin and end transactions on its own
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")

    def begin(self, cursor: Any, *, write: bool) -> None:
        """Begin a transaction. One that writes waits until no other one does."""
        cursor.execute("BEGIN IMMEDIATE" if write else "BEGIN")

    def lock(self, cursor: Any, name: str) -> None:
        """Do nothing: `begin` has locked the database."""

    def problem_of(self, cursor: Any, table: SqlTable) -> str | None:
        """Return why the table cannot be written. None: it can."""
        if table.schema is not None:
            return "SQLite has no schemas. Leave schema out"
        return None

    def describe(self, cursor: Any, table: SqlTable) -> Found | None:
        """Return what has the name of the table; None: nothing."""
        cursor.execute("SELECT type FROM sqlite_master WHERE name = ? COLLATE NOCASE", (table.name,))
        if (found := cursor.fetchone()) is None:
            return None
        cursor.execute(f"PRAGMA table_info({quote(table.name)})")
        columns = cursor.fetchall()
        keys = sorted((place, name) for _, name, _, _, _, place in columns if place)
        return Found(found[0], {column[1]: column[2] for column in columns}, tuple(name for _, name in keys))

    def type_of(self, kind: pa.DataType) -> str:
        """Return the type of a column."""
        return {pa.date32(): "DATE", pa.bool_(): "BOOLEAN", pa.int64(): "INTEGER"}.get(kind, "TEXT")

    def is_any(self, column: str) -> str:
        """Return the condition that a column has one of the values of a `list_value`."""
        return f"{quote(column)} IN (SELECT value FROM json_each(?))"

    def list_value(self, values: Sequence[str]) -> Any:
        """Return the value for the condition of `is_any`."""
        return json.dumps(list(values))

    def clean(self, rows: pa.Table) -> pa.Table:
        """Return the rows. SQLite takes every text."""
        return rows

    def to_values(self, rows: pa.Table) -> list[tuple[Any, ...]]:
        """Return the rows as the driver takes them."""
        columns = []
        for field, column in zip(rows.schema, rows.columns, strict=True):
            write = _writer(field.type)
            values = column.to_pylist()
            columns.append(
                values if write is None else [None if each is None else write(each) for each in values]
            )
        return list(zip(*columns, strict=True))

    def to_arrow(self, rows: Sequence[Sequence[Any]], columns: pa.Schema) -> pa.Table:
        """Return the rows that the driver has fetched."""
        if not rows:
            return columns.empty_table()
        arrays = [_array(values, field.type) for values, field in zip(zip(*rows), columns)]  # noqa: B905
        return pa.Table.from_arrays(arrays, schema=columns)

    def insert(self, cursor: Any, table: SqlTable, rows: pa.Table) -> None:
        """Insert rows whose keys the table does not have."""
        self._insert(cursor, table, rows, "")

    def change(self, cursor: Any, table: SqlTable, upserts: pa.Table, deletes: pa.Table) -> None:
        """Delete rows, and insert or replace others, by their keys."""
        keys = " AND ".join(f"{quote(name)} = ?" for name in table.key)
        if deletes.num_rows:
            statement = f"DELETE FROM {table.quoted} WHERE {keys}"
            cursor.executemany(statement, self.to_values(deletes.select(table.key)))
        if upserts.num_rows:
            self._insert(cursor, table, upserts, table.upsert)

    def _insert(self, cursor: Any, table: SqlTable, rows: pa.Table, end: str) -> None:
        marks = ", ".join("?" * len(table.columns))
        statement = f"INSERT INTO {table.quoted} ({table.quoted_columns}) VALUES ({marks}) {end}"
        cursor.executemany(statement, self.to_values(rows))

    def message_of(self, error: Exception) -> str:
        """Return what the database says of an error."""
        return str(error)


def _writer(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """Return what turns a value into one that SQLite keeps; None: it stays."""
    if pa.types.is_decimal(kind):
        return _exact_text
    if pa.types.is_timestamp(kind):
        return _time_text
    return str if pa.types.is_date(kind) else None


def _exact_text(value: Decimal) -> str:
    """Return all digits, without an exponent and without zeros at the end."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time_text(value: datetime) -> str:
    return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(kind):
        return pa.array([None if each is None else Decimal(each) for each in values], kind)
    if pa.types.is_boolean(kind):
        return pa.array([None if each is None else bool(each) for each in values], kind)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return pa.array(values, pa.string()).cast(kind)
    return pa.array(values, kind)
