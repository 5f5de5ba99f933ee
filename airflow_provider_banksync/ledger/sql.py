"""A ledger in a table of a SQL database.

Each client is one transaction: its rows, and what the table ``<table>_state`` knows of its accounts. So a run that is
killed leaves whole clients, and the next run continues. A lock for each client makes two runs at once wait for each
other. The later read wins.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airflow_provider_banksync.ledger.changes import Truth, concat
from airflow_provider_banksync.ledger.columns import ACCOUNT_ID, TIMESTAMP, WORKSPACE_ID
from airflow_provider_banksync.ledger.sql_database import SqlDatabase
from airflow_provider_banksync.ledger.sql_dialect import Found, SqlTable, quote
from airflow_provider_banksync.ledger.state import STATE_SCHEMA, state_rows, states_of
from airflow_provider_banksync.ledger.table import Applied, LedgerError, Part, compute_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_banksync.extract.partition import Partition
    from airflow_provider_banksync.ledger.columns import Columns
    from airflow_provider_banksync.ledger.sql_dialect import SqlDialect
    from airflow_provider_banksync.ledger.table import Computed, PartitionKey, PartState, Rules

STATE_SUFFIX = "_state"
#: When the read began of which the account has rows. It is later than ``read_at`` while a first read is written in
#: pieces. Until the last piece, an account that is new has no ``read_at``.
_ROWS_READ_AT = "rows_read_at"
_STATE_COLUMNS = pa.schema([*STATE_SCHEMA, pa.field(_ROWS_READ_AT, TIMESTAMP)])
_STATE_KEY = ("workspace_id", "bank_id", "account_id")


class SqlLedger:
    """A `LedgerTable` in a SQL database.

    :param connect: opens a connection of a DB-API driver.
    :param schema: of the database; None: the default one.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        dialect: SqlDialect,
        columns: Columns,
        table: str,
        schema: str | None = None,
    ) -> None:
        self.name = table if schema is None else f"{schema}.{table}"
        self.columns = columns
        self._database = SqlDatabase(connect, dialect, self.name)
        self._dialect = dialect
        day = columns.day if columns.is_windowed else None  # of a daily table, the key has it
        index = () if day is None else (*columns.owner, day)
        self._table = SqlTable(schema, table, columns.schema, columns.primary_key, index)
        self._state = SqlTable(schema, f"{table}{STATE_SUFFIX}", _STATE_COLUMNS, _STATE_KEY)
        self._is_ready = False

    # --- open ---

    def open(self) -> list[PartState]:
        """Check the table, if it exists, and return the state of each account."""
        with (
            self._database.connection() as connection,
            self._database.transaction(connection, write=False) as cursor,
        ):
            for table in (self._table, self._state):
                if len(table.name.encode()) > self._dialect.max_name:
                    raise self._refused(
                        f"the name {table.name!r} is too long: {self._dialect.max_name} bytes at most"
                    )
                problem = self._dialect.problem_of(cursor, table)
                if problem is not None:
                    raise self._refused(problem)
            if not self._check(cursor):
                return []
            cursor.execute(
                f"SELECT {', '.join(map(quote, STATE_SCHEMA.names))} FROM {self._state.quoted}"
                f" WHERE {quote('read_at')} IS NOT NULL"
            )
            return states_of(self._dialect.to_arrow(cursor.fetchall(), STATE_SCHEMA))

    def _check(self, cursor: Any) -> bool:
        """Return whether the table exists.

        :raises LedgerError: if it, or the table of its state, is not one of this operator.
        """
        found, state = (self._dialect.describe(cursor, table) for table in (self._table, self._state))
        if state is not None:
            self._check_columns(self._state, state)
        if found is None:
            return False
        self._check_columns(self._table, found)
        if state is None:
            raise self._refused(
                f"it exists, but the table {self._state.name!r} with its state does not, so this operator has not "
                "created it. Use another table"
            )
        return True

    def _check_columns(self, table: SqlTable, found: Found) -> None:
        if found.kind != "table":
            raise self._refused(f"{table.name!r} is a {found.kind}, not a table. Use another table")
        wanted = {field.name: self._dialect.type_of(field.type) for field in table.columns}
        for names, problem in (
            (set(table.key) - found.types.keys(), "lacks the columns"),
            (found.types.keys() - wanted.keys(), "has columns that this version does not know:"),
            (
                {name for name in found.types.keys() & wanted.keys() if found.types[name] != wanted[name]},
                "has another type in the columns",
            ),
        ):
            if names:
                raise self._not_ours(table, f"{problem} {', '.join(sorted(names))}")
        if found.key != table.key:
            raise self._not_ours(table, f"has not the primary key ({', '.join(table.key)})")

    def _not_ours(self, table: SqlTable, problem: str) -> LedgerError:
        return self._refused(
            f"{table.name!r} {problem}. So it is not a table of {self.columns.resource} of this operator, or its "
            "columns were changed. Use another table"
        )

    def _refused(self, problem: str) -> LedgerError:
        return LedgerError(f"cannot use the table {self.name}: {problem}.", permanent=True)

    def rows_of(self, partition: Partition) -> pa.Table:
        """Return all rows of an account."""
        with (
            self._database.connection() as connection,
            self._database.transaction(connection, write=False) as cursor,
        ):
            if self._dialect.describe(cursor, self._table) is None:
                return self.columns.schema.empty_table()
            part = Part(partition, self.columns.schema.empty_table(), Truth(), datetime.now(timezone.utc))
            return self._read(cursor, [part])

    def version(self) -> int | None:
        """Return None: a database has no versions of a table."""
        return None

    # --- create ---

    def _make_ready(self, connection: Any) -> None:
        """Create the tables if they do not exist, and add the columns that a later version of this package has."""
        if self._is_ready:
            return
        with self._database.transaction(connection) as cursor:
            self._dialect.lock(cursor, self.name)
            exists = self._check(cursor)
            if not exists and self._dialect.describe(cursor, self._state) is not None:
                # Somebody dropped the table to begin anew.
                cursor.execute(f"DROP TABLE {self._state.quoted}")
            for table in (self._table, self._state):
                if exists:
                    self._database.add_columns(cursor, table)
                else:
                    self._database.create(cursor, table)
        self._is_ready = True

    # --- apply ---

    def apply(self, parts: Sequence[Part], rules: Rules) -> Applied:
        """Change the table so that it equals the parts, in one transaction for each workspace."""
        applied = Applied()
        with self._database.connection() as connection:
            self._make_ready(connection)
            ordered = sorted(parts, key=_workspace_of)
            for workspace_id, group in groupby(ordered, key=_workspace_of):
                with self._database.transaction(connection) as cursor:
                    self._dialect.lock(cursor, f"{self.name}/{workspace_id}")
                    computed = self._apply(cursor, workspace_id, list(group), rules)
                applied.unavailable += computed.unavailable
                applied.counts.add(computed.changes)
        return applied

    def _apply(self, cursor: Any, workspace_id: str, parts: Sequence[Part], rules: Rules) -> Computed:
        """Write the parts of one workspace."""
        latest = self._latest_reads(cursor, workspace_id)
        fresh = [
            replace(part, rows=self._dialect.clean(part.rows))
            for part in parts
            if part.key not in latest or latest[part.key] <= part.read_at
        ]
        computed = compute_parts(fresh, partial(self._read, cursor), self.columns, rules)
        changes = computed.changes
        if changes.updated or changes.deleted:
            self._dialect.change(cursor, self._table, changes.upserts, changes.deletes)
        elif changes.inserted:
            self._dialect.insert(cursor, self._table, changes.upserts)
        self._save_state(cursor, computed.parts, rules)
        return computed

    def _latest_reads(self, cursor: Any, workspace_id: str) -> dict[PartitionKey, datetime]:
        """Return when the read began of which each account has rows. Another run may have overtaken this one."""
        columns = pa.schema([_STATE_COLUMNS.field(name) for name in (*_STATE_KEY, _ROWS_READ_AT)])
        cursor.execute(
            f"SELECT {', '.join(map(quote, columns.names))} FROM {self._state.quoted}"
            f" WHERE {quote(WORKSPACE_ID)} = {self._dialect.placeholder}",
            (workspace_id,),
        )
        found = self._dialect.to_arrow(cursor.fetchall(), columns)
        return {(row[0], row[1], row[2]): row[3] for row in zip(*found.to_pydict().values(), strict=True)}

    def _read(self, cursor: Any, parts: Sequence[Part]) -> pa.Table:
        """Return rows of some parts of a workspace: those of the days of their truth, and those whose key they have."""
        if not parts:
            return self.columns.schema.empty_table()
        mark = self._dialect.placeholder
        conditions, values = [f"{quote(WORKSPACE_ID)} = {mark}"], [parts[0].partition.workspace_id]
        if self.columns.is_account_data:
            conditions.append(self._dialect.is_any(ACCOUNT_ID))
            values.append(self._dialect.list_value([str(part.partition.account_id) for part in parts]))
        either, more = self._days_or_keys(parts)
        if either:
            conditions.append(f"({' OR '.join(either)})")
        cursor.execute(
            f"SELECT {self._table.quoted_columns} FROM {self._table.quoted} WHERE {' AND '.join(conditions)}",
            (*values, *more),
        )
        return self._dialect.to_arrow(cursor.fetchall(), self.columns.schema)

    def _days_or_keys(self, parts: Sequence[Part]) -> tuple[list[str], list[Any]]:
        """Return conditions of which a row must fulfil one, and their values. No condition: all rows."""
        truth, day, mark = parts[0].truth, self.columns.day, self._dialect.placeholder
        if truth is not None and (truth.first is None or day is None):
            return [], []
        conditions: list[str] = []
        values: list[Any] = []
        if truth is not None:
            first = pa.table({"first": pa.array([truth.first], pa.date32())})
            conditions.append(f"{quote(str(day))} {'=' if self.columns.is_daily else '>='} {mark}")
            values += self._dialect.to_values(first)[0]
        if truth is None or self.columns.is_windowed:
            keys = concat([part.rows for part in parts], self.columns.schema)[self.columns.key]
            conditions.append(self._dialect.is_any(self.columns.key))
            values.append(self._dialect.list_value(keys.to_pylist()))
        return conditions, values

    def _save_state(self, cursor: Any, parts: Sequence[Part], rules: Rules) -> None:
        """Record what was read. The last piece of a read completes it."""
        marks = ", ".join([self._dialect.placeholder] * len(_STATE_COLUMNS))
        insert = f"INSERT INTO {self._state.quoted} ({self._state.quoted_columns}) VALUES ({marks})"
        key, name = ", ".join(map(quote, _STATE_KEY)), quote(_ROWS_READ_AT)
        for part in parts:
            rows = state_rows([part], rules)
            rows = self._dialect.clean(rows.append_column(_ROWS_READ_AT, rows["read_at"]))
            end = self._state.upsert
            if part.is_piece:
                place = rows.schema.get_field_index("read_at")
                rows = rows.set_column(place, rows.schema.field(place), pa.nulls(1, TIMESTAMP))
                end = f"ON CONFLICT ({key}) DO UPDATE SET {name} = excluded.{name}"
            cursor.execute(f"{insert} {end}", self._dialect.to_values(rows)[0])


def _workspace_of(part: Part) -> str:
    return part.partition.workspace_id
