"""PostgreSQL, over psycopg 2 or 3."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_banksync.ledger.sql_dialect import Found, SqlTable, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Rows of one chunk of COPY.
_COPY_ROWS = 10_000
_STAGING = "banksync_staging"
#: Marks the rows of the staging table that are deleted.
_DELETE = "_delete"
_REPLACEMENT = "\ufffd"
_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))
_KINDS = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "i": "index",
    "S": "sequence",
    "c": "type",
}


class Postgres:
    """PostgreSQL 12 or later."""

    placeholder = "%s"
    max_name = 63

    def prepare(self, connection: Any) -> None:
        """Set what a ledger needs of a new connection, whatever Airflow's connection says."""
        connection.autocommit = False
        if _is_psycopg3(connection):
            from psycopg.rows import tuple_row

            connection.row_factory = tuple_row
            connection.prepare_threshold = (
                None  # a pooler between may give the next transaction another session
            )
        else:
            connection.cursor_factory = None

    def begin(self, cursor: Any, *, write: bool) -> None:
        """Begin a transaction that sees what others have committed, statement by statement."""
        cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")

    def lock(self, cursor: Any, name: str) -> None:
        """Wait until no other transaction holds the lock `name`, and hold it until the transaction ends."""
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"banksync/{name}",))

    def problem_of(self, cursor: Any, table: SqlTable) -> str | None:
        """Return why the user of the connection cannot write the table, or create it. None: it can."""
        cursor.execute("SELECT current_setting('transaction_read_only'), current_schema()")
        read_only, default = cursor.fetchone()
        if read_only == "on":
            return "the database is read-only for this connection"
        schema = default if table.schema is None else table.schema
        if schema is None:
            return "the search path of the connection has no schema that exists. Set schema"
        cursor.execute("SELECT oid FROM pg_namespace WHERE nspname = %s", (schema,))
        if (found := cursor.fetchone()) is None:
            return f"the database has no schema {schema!r}. Create it, or name another with schema="
        oid = self._oid(cursor, table)
        if oid is None:
            cursor.execute("SELECT has_schema_privilege(%s::oid, 'CREATE')", (found[0],))
            return None if cursor.fetchone()[0] else f"the user may not create tables in schema {schema!r}"
        rights = ("SELECT", "INSERT", "UPDATE", "DELETE")
        cursor.execute(
            f"SELECT {', '.join(['has_table_privilege(%s::oid, %s)'] * len(rights))}",
            [value for right in rights for value in (oid, right)],
        )
        lacks = [right for right, has in zip(rights, cursor.fetchone(), strict=True) if not has]
        if lacks:
            return f"the user may not {', '.join(lacks)} there"
        cursor.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')")
        return None if cursor.fetchone()[0] else "the user may not create temporary tables in the database"

    def _oid(self, cursor: Any, table: SqlTable) -> int | None:
        cursor.execute(
            "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = coalesce(%s, current_schema()) AND c.relname = %s",
            (table.schema, table.name),
        )
        found = cursor.fetchone()
        return None if found is None else int(found[0])

    def describe(self, cursor: Any, table: SqlTable) -> Found | None:
        """Return what has the name of the table; None: nothing."""
        oid = self._oid(cursor, table)
        if oid is None:
            return None
        cursor.execute("SELECT relkind::text FROM pg_class WHERE oid = %s", (oid,))
        kind = _KINDS.get(cursor.fetchone()[0], "something else")
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (oid,),
        )
        types = dict(cursor.fetchall())
        cursor.execute(
            "SELECT a.attname FROM pg_index i"
            " JOIN unnest(i.indkey::smallint[]) WITH ORDINALITY k(attnum, place) ON true"
            " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
            " WHERE i.indrelid = %s AND i.indisprimary ORDER BY k.place",
            (oid,),
        )
        return Found(kind, types, tuple(name for (name,) in cursor.fetchall()))

    def type_of(self, kind: pa.DataType) -> str:
        """Return the type of a column."""
        if pa.types.is_decimal(kind):
            return f"numeric({kind.precision},{kind.scale})"
        if pa.types.is_timestamp(kind):
            return "timestamp with time zone"
        return {pa.string(): "text", pa.date32(): "date", pa.bool_(): "boolean", pa.int64(): "bigint"}[kind]

    def is_any(self, column: str) -> str:
        """Return the condition that a column has one of the values of a `list_value`."""
        return f"{quote(column)} = ANY(%s::text[])"

    def list_value(self, values: Sequence[str]) -> Any:
        """Return the value for the condition of `is_any`."""
        return list(values)

    def clean(self, rows: pa.Table) -> pa.Table:
        """Return the rows with texts that the database takes: it refuses NUL."""
        for place, column in enumerate(rows.schema):
            if (
                pa.types.is_string(column.type)
                and pc.any(pc.match_substring(rows[column.name], "\0")).as_py()
            ):
                cleaned = pc.replace_substring(rows[column.name], "\0", _REPLACEMENT)
                rows = rows.set_column(place, column, cleaned)
        return rows

    def to_values(self, rows: pa.Table) -> list[tuple[Any, ...]]:
        """Return the rows as the driver takes them."""
        return list(zip(*(column.to_pylist() for column in rows.columns), strict=True))

    def to_arrow(self, rows: Sequence[Sequence[Any]], columns: pa.Schema) -> pa.Table:
        """Return the rows that the driver has fetched."""
        if not rows:
            return columns.empty_table()
        arrays = [pa.array(values, field.type) for values, field in zip(zip(*rows), columns)]  # noqa: B905
        return pa.Table.from_arrays(arrays, schema=columns)

    def insert(self, cursor: Any, table: SqlTable, rows: pa.Table) -> None:
        """Insert rows whose keys the table does not have."""
        _copy(cursor, f"{table.quoted} ({table.quoted_columns})", rows)

    def change(self, cursor: Any, table: SqlTable, upserts: pa.Table, deletes: pa.Table) -> None:
        """Delete rows, and insert or replace others, by their keys."""
        staging = f"pg_temp.{quote(_STAGING)}"
        cursor.execute(
            f"CREATE TEMPORARY TABLE {quote(_STAGING)} ON COMMIT DROP AS"
            f" SELECT {table.quoted_columns}, false AS {quote(_DELETE)} FROM {table.quoted} WITH NO DATA"
        )
        for rows, is_delete in ((deletes, True), (upserts, False)):
            marked = rows.append_column(_DELETE, pa.repeat(pa.scalar(is_delete), rows.num_rows))
            _copy(cursor, staging, marked)
        keys = " AND ".join(f"t.{quote(name)} = s.{quote(name)}" for name in table.key)
        cursor.execute(f"DELETE FROM {table.quoted} t USING {staging} s WHERE s.{quote(_DELETE)} AND {keys}")
        cursor.execute(
            f"INSERT INTO {table.quoted} ({table.quoted_columns})"
            f" SELECT {table.quoted_columns} FROM {staging} WHERE NOT {quote(_DELETE)} {table.upsert}"
        )
        cursor.execute(f"DROP TABLE {staging}")

    def message_of(self, error: Exception) -> str:
        """Return what the database says of an error, without values of rows."""
        # The details name the values of a row.
        primary = getattr(getattr(error, "diag", None), "message_primary", None)
        return str(primary or error)


def _is_psycopg3(connection: Any) -> bool:
    return type(connection).__module__.split(".")[0] == "psycopg"


def _copy(cursor: Any, target: str, rows: pa.Table) -> None:
    if not rows.num_rows:
        return
    statement = f"COPY {target} FROM STDIN WITH (FORMAT text, ENCODING 'UTF8')"
    if hasattr(cursor, "copy_expert"):  # psycopg 2
        cursor.copy_expert(statement, _Stream(_encode(rows)))
        return
    with cursor.copy(statement) as copy:
        for chunk in _encode(rows):
            copy.write(chunk)


def _encode(rows: pa.Table) -> Iterator[bytes]:
    """Yield the rows in the text format of COPY."""
    for batch in rows.to_batches(max_chunksize=_COPY_ROWS):
        if batch.num_rows:
            texts = [_texts(column) for column in batch.columns]
            lines = pc.binary_join_element_wise(
                *texts, pa.scalar("\t"), null_handling="replace", null_replacement="\\N"
            )
            yield ("\n".join(lines.to_pylist()) + "\n").encode()


def _texts(column: pa.Array) -> pa.Array:
    if not pa.types.is_string(column.type):
        return column.cast(pa.string())
    if not pc.any(pc.match_substring_regex(column, r"[\\\t\n\r]")).as_py():
        return column  # mostly, and it is several times faster
    for character, escaped in _ESCAPES:
        column = pc.replace_substring(column, character, escaped)
    return column


class _Stream(io.RawIOBase):
    """What `copy_expert` reads from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        if not self._rest:
            self._rest = next(self._chunks, b"")
        size = len(self._rest) if size < 0 else size
        found, self._rest = self._rest[:size], self._rest[size:]
        return found
