"""What differs between databases, and what a ledger needs to know of a table in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa


@dataclass(frozen=True)
class SqlTable:
    """A table as a ledger wants it.

    :param schema: of the database; None: the default one.
    :param columns: with Arrow's types.
    :param key: the columns of the primary key.
    :param index: the columns of an index besides the key; empty: none.
    """

    schema: str | None
    name: str
    columns: pa.Schema
    key: tuple[str, ...]
    index: tuple[str, ...] = ()

    @property
    def quoted(self) -> str:
        """The name for SQL."""
        return ".".join(quote(part) for part in (self.schema, self.name) if part is not None)

    @property
    def quoted_columns(self) -> str:
        """The names of all columns for SQL."""
        return ", ".join(quote(name) for name in self.columns.names)

    @property
    def upsert(self) -> str:
        """The end of an INSERT that replaces a row with the same key."""
        keys = ", ".join(quote(name) for name in self.key)
        values = ", ".join(
            f"{quote(name)} = excluded.{quote(name)}" for name in self.columns.names if name not in self.key
        )
        return f"ON CONFLICT ({keys}) DO UPDATE SET {values}"


@dataclass(frozen=True)
class Found:
    """A table as it is in the database.

    :param kind: ``table``, or what else has the name, such as ``view``.
    :param types: the type of each column, as `SqlDialect.type_of` names it.
    """

    kind: str
    types: dict[str, str]
    key: tuple[str, ...]


class SqlDialect(Protocol):
    """A kind of database, over a driver that follows DB-API (PEP 249).

    Each method takes a cursor of an open transaction. Values are Python's, as the driver takes and returns them.
    """

    #: Stands for a value in a statement.
    placeholder: str
    #: The most bytes that the name of a table may have.
    max_name: int

    def prepare(self, connection: Any) -> None:
        """Set what a ledger needs of a new connection, whatever Airflow's connection says."""

    def begin(self, cursor: Any, *, write: bool) -> None:
        """Begin a transaction that sees what others have committed, statement by statement."""

    def lock(self, cursor: Any, name: str) -> None:
        """Wait until no other transaction holds the lock `name`, and hold it until the transaction ends."""

    def problem_of(self, cursor: Any, table: SqlTable) -> str | None:
        """Return why the user of the connection cannot write the table, or create it. None: it can."""

    def describe(self, cursor: Any, table: SqlTable) -> Found | None:
        """Return what has the name of the table; None: nothing."""

    def type_of(self, kind: pa.DataType) -> str:
        """Return the type of a column."""

    def is_any(self, column: str) -> str:
        """Return the condition that a column has one of the values of a `list_value`."""

    def list_value(self, values: Sequence[str]) -> Any:
        """Return the value for the condition of `is_any`."""

    def clean(self, rows: pa.Table) -> pa.Table:
        """Return the rows with texts that the database takes."""

    def to_values(self, rows: pa.Table) -> list[tuple[Any, ...]]:
        """Return the rows as the driver takes them."""

    def to_arrow(self, rows: Sequence[Sequence[Any]], columns: pa.Schema) -> pa.Table:
        """Return the rows that the driver has fetched."""

    def insert(self, cursor: Any, table: SqlTable, rows: pa.Table) -> None:
        """Insert rows whose keys the table does not have."""

    def change(self, cursor: Any, table: SqlTable, upserts: pa.Table, deletes: pa.Table) -> None:
        """Delete rows, and insert or replace others, by their keys."""

    def message_of(self, error: Exception) -> str:
        """Return what the database says of an error, without values of rows."""


def quote(name: str) -> str:
    """Return an identifier for SQL. Without quotes, most databases change the case of letters."""
    return '"{}"'.format(name.replace('"', '""'))
