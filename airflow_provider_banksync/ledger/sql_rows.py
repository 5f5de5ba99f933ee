"""Reads the tables of a ledger in a SQL database, and writes the result of a reconciliation there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from airflow_provider_banksync.ledger.columns import DAY, FIRST_SEEN_AT, WORKSPACE_ID
from airflow_provider_banksync.ledger.sql_database import SqlDatabase
from airflow_provider_banksync.ledger.sql_dialect import SqlTable, quote
from airflow_provider_banksync.ledger.table import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime

    from airflow_provider_banksync.ledger.columns import Columns
    from airflow_provider_banksync.ledger.sql_dialect import SqlDialect


class _Table:
    """A table of a database.

    :param connect: opens a connection of a DB-API driver.
    :param schema: of the database; None: the default one.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        dialect: SqlDialect,
        table: str,
        schema: str | None,
        columns: pa.Schema,
        key: tuple[str, ...],
    ) -> None:
        self.name = table if schema is None else f"{schema}.{table}"
        self._dialect = dialect
        self._database = SqlDatabase(connect, dialect, self.name)
        self._table = SqlTable(schema, table, columns, key)

    def _values(self, **values: tuple[Any, pa.DataType]) -> list[Any]:
        """Return values as the driver takes them."""
        row = pa.table({name: pa.array([value], kind) for name, (value, kind) in values.items()})
        return list(self._dialect.to_values(row)[0]) if values else []

    def _in_workspaces(self, workspace_ids: Sequence[str] | None) -> tuple[list[str], list[Any]]:
        """Return the condition of some workspaces, and its values."""
        if workspace_ids is None:
            return [], []
        return [self._dialect.is_any(WORKSPACE_ID)], [self._dialect.list_value(workspace_ids)]


class SqlRows(_Table):
    """`StoredRows` of a SQL table."""

    #: A database has no versions of a table.
    version = None

    def __init__(
        self,
        connect: Callable[[], Any],
        dialect: SqlDialect,
        columns: Columns,
        table: str,
        schema: str | None,
    ) -> None:
        super().__init__(connect, dialect, table, schema, columns.schema, columns.primary_key)
        self._columns = columns

    def read_rows(
        self,
        columns: Sequence[str],
        *,
        workspace_ids: Sequence[str] | None = None,
        since: date | None = None,
        seen_since: datetime | None = None,
    ) -> pa.Table:
        """Return some columns of the table.

        :raises LedgerError: there is no such table, or it lacks columns.
        """
        schema = pa.schema([self._columns.schema.field(name) for name in columns])
        conditions, values = self._in_workspaces(workspace_ids)
        mark = self._dialect.placeholder
        if since is not None:
            either = [f"{quote(str(self._columns.day))} >= {mark}"]
            values += self._values(since=(since, pa.date32()))
            if seen_since is not None:
                either.append(f"{quote(FIRST_SEEN_AT)} >= {mark}")
                values += self._values(seen=(seen_since, self._columns.schema.field(FIRST_SEEN_AT).type))
            conditions.append(f"({' OR '.join(either)})")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        names = ", ".join(map(quote, columns))
        database = self._database
        with database.connection() as connection, database.transaction(connection, write=False) as cursor:
            self._check(cursor, columns)
            cursor.execute(f"SELECT {names} FROM {self._table.quoted}{where}", tuple(values))
            return self._dialect.to_arrow(cursor.fetchall(), schema)

    def _check(self, cursor: Any, columns: Sequence[str]) -> None:
        found = self._dialect.describe(cursor, self._table)
        resource = self._columns.resource
        if found is None:
            raise LedgerError(
                f"the table {self.name} does not exist. Write it first, with BankSyncToSqlOperator"
                f'(resource="{resource}").',
                permanent=True,
            )
        if lacks := sorted(set(columns) - found.types.keys()):
            raise LedgerError(
                f"the table {self.name} lacks the columns {', '.join(lacks)}. So it is not a table of {resource} of "
                "BankSyncToSqlOperator.",
                permanent=True,
            )


class SqlResults(_Table):
    """`StoredResults` in a SQL table. The first run creates it."""

    def replace_day(self, rows: pa.Table, day: date, workspace_ids: Sequence[str] | None) -> None:
        """Replace the rows of a day, and of some workspaces, in one transaction."""
        conditions, values = self._in_workspaces(workspace_ids)
        conditions.append(f"{quote(DAY)} = {self._dialect.placeholder}")
        values += self._values(day=(day, pa.date32()))
        with self._database.connection() as connection, self._database.transaction(connection) as cursor:
            self._dialect.lock(cursor, self.name)
            self._create(cursor)
            cursor.execute(
                f"DELETE FROM {self._table.quoted} WHERE {' AND '.join(conditions)}", tuple(values)
            )
            if rows.num_rows:
                self._dialect.insert(cursor, self._table, self._dialect.clean(rows))

    def _create(self, cursor: Any) -> None:
        problem = self._dialect.problem_of(cursor, self._table)
        found = self._dialect.describe(cursor, self._table)
        if found is not None and (unknown := sorted(found.types.keys() - set(self._table.columns.names))):
            names = ", ".join(unknown)
            problem = (
                f"it has the columns {names}, which are not those of a reconciliation. Use another table"
            )
        if problem is not None:
            raise LedgerError(f"cannot use the table {self.name}: {problem}.", permanent=True)
        if found is None:
            self._database.create(cursor, self._table)
        else:
            self._database.add_columns(cursor, self._table)
