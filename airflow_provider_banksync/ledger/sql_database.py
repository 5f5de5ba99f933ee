"""Connections to a SQL database, transactions, and how tables are created in it."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.redaction import redact
from airflow_provider_banksync.ledger.sql_dialect import SqlTable, quote
from airflow_provider_banksync.ledger.table import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from airflow_provider_banksync.ledger.sql_dialect import SqlDialect


class SqlDatabase:
    """A database, for one table of it.

    :param connect: opens a connection of a DB-API driver.
    :param name: of the table, for errors.
    """

    def __init__(self, connect: Callable[[], Any], dialect: SqlDialect, name: str) -> None:
        self._connect = connect
        self._dialect = dialect
        self._name = name

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Open a connection, and turn the errors of its driver into `LedgerError`."""
        with closing(self._connect()) as connection:
            try:
                self._dialect.prepare(connection)
                yield connection
            except connection.Error as error:
                message = redact(self._dialect.message_of(error))
                raise LedgerError(
                    f"the table {self._name} could not be read or written: {message}"
                ) from error

    @contextmanager
    def transaction(self, connection: Any, *, write: bool = True) -> Iterator[Any]:
        """Commit what happens inside, or nothing of it."""
        with closing(connection.cursor()) as cursor:
            try:
                self._dialect.begin(cursor, write=write)
                yield cursor
                connection.commit()
            except BaseException:
                with suppress(connection.Error):
                    connection.rollback()
                raise

    def create(self, cursor: Any, table: SqlTable) -> None:
        """Create a table, and its index."""
        lines = [
            f"{self._definition(field)}{' NOT NULL' if field.name in table.key else ''}"
            for field in table.columns
        ]
        keys = ", ".join(map(quote, table.key))
        cursor.execute(f"CREATE TABLE {table.quoted} ({', '.join(lines)}, PRIMARY KEY ({keys}))")
        if table.index:
            columns = ", ".join(map(quote, table.index))
            index = quote(f"{table.name}_index")
            cursor.execute(f"CREATE INDEX {index} ON {table.quoted} ({columns})")

    def add_columns(self, cursor: Any, table: SqlTable) -> None:
        """Add the columns that the table lacks."""
        found = self._dialect.describe(cursor, table)
        for field in table.columns:
            if found is not None and field.name not in found.types:
                cursor.execute(f"ALTER TABLE {table.quoted} ADD COLUMN {self._definition(field)}")

    def _definition(self, field: pa.Field) -> str:
        return f"{quote(field.name)} {self._dialect.type_of(field.type)}"
