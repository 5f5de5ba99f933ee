"""Opens a table of a SQL database, with Airflow's connection to it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_banksync.api.redaction import redact
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.ledger.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_banksync.ledger.sql import SqlLedger
    from airflow_provider_banksync.ledger.sql_dialect import SqlDialect

_CHECK_TEMPLATE = "If it comes from a template, check the rendered value."
_OURS = "airflow_provider_banksync.ledger"


class _Database(NamedTuple):
    """A kind of database.

    :param hook: module and class of Airflow's hook.
    :param argument: of the hook, for the id of the connection.
    :param package: that has the hook.
    :param dialect: module and class.
    """

    hook: tuple[str, str]
    argument: str
    package: str
    dialect: tuple[str, str]


#: By the type of the connection.
_DATABASES = {
    "postgres": _Database(
        ("airflow.providers.postgres.hooks.postgres", "PostgresHook"),
        "postgres_conn_id",
        "apache-airflow-providers-postgres",
        (f"{_OURS}.sql_postgres", "Postgres"),
    ),
    "sqlite": _Database(
        ("airflow.providers.sqlite.hooks.sqlite", "SqliteHook"),
        "sqlite_conn_id",
        "apache-airflow-providers-sqlite",
        (f"{_OURS}.sql_sqlite", "Sqlite"),
    ),
}


def open_sql_table(sql_conn_id: str, table: str, schema: str | None, resource: str) -> SqlLedger:
    """Return the table. Reads Airflow's connection, and does not connect.

    :raises BankSyncConfigError: if a name is not one of a table, or the connection does not exist or is of another
        type, or what it needs is not installed.
    """
    opener, dialect = sql_database("table", sql_conn_id, table, schema)
    from airflow_provider_banksync.ledger.sql import SqlLedger

    return SqlLedger(opener, dialect, Columns(resource), table, schema)


def sql_database(
    argument: str, sql_conn_id: str, table: str, schema: str | None
) -> tuple[Callable[[], Any], SqlDialect]:
    """Return what opens connections, and the dialect of the database. Reads Airflow's connection, and does not connect.

    :param argument: of the table, for errors.
    """
    _validate_name(argument, table)
    if "." in table:
        schema_name, _, name = table.rpartition(".")
        raise BankSyncConfigError(
            f"{argument} {table!r} has a dot.", hint=f"Write schema={schema_name!r}, {argument}={name!r}."
        )
    if schema is not None:
        _validate_name("schema", schema)
    connection = _connection(sql_conn_id)
    database = _DATABASES[str(connection.conn_type)]
    try:
        hook_class = _load(*database.hook)
    except ImportError as error:
        raise BankSyncConfigError(
            f"a connection of type {connection.conn_type!r} needs Airflow's provider for it: {error}.",
            hint=f"Install it on every worker: pip install {database.package}",
        ) from error
    try:
        dialect = _load(*database.dialect)()
    except ImportError as error:
        raise BankSyncConfigError(
            f"the library pyarrow is needed for a SQL table: {error}.",
            hint="Install it on every worker: pip install 'pyarrow>=18'",
        ) from error
    return _Opener(sql_conn_id, connection, hook_class(**{database.argument: sql_conn_id})), dialect


class _Opener:
    """Opens connections to the database."""

    def __init__(self, conn_id: str, connection: Connection, hook: Any) -> None:
        self._conn_id = conn_id
        self._connection = connection
        self._hook = hook

    def __call__(self) -> Any:
        """Return a new connection.

        :raises LedgerError: if the database cannot be reached, or refuses the user.
        """
        from airflow_provider_banksync.ledger.table import LedgerError

        try:
            return self._hook.get_conn()
        except Exception as error:  # noqa: BLE001 - of Airflow's hook, and of each driver
            message = redact(error, self._connection.password or "")
            raise LedgerError(f"could not connect with sql_conn_id {self._conn_id!r}: {message}") from None


def _load(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def _validate_name(argument: str, name: object) -> None:
    if not isinstance(name, str) or name.strip() in ("", "None") or name != name.strip():
        raise BankSyncConfigError(
            f"{argument} is {name!r}, but must be a name without spaces around it.", hint=_CHECK_TEMPLATE
        )
    if refused := {"%", "\0"} & set(name):
        raise BankSyncConfigError(
            f"{argument} {name!r} has the character {min(refused)!r}. Choose another name."
        )


def _connection(conn_id: object) -> Connection:
    if not isinstance(conn_id, str) or conn_id.strip() in ("", "None"):
        raise BankSyncConfigError(
            f"sql_conn_id is {conn_id!r}, but must be the id of a connection.", hint=_CHECK_TEMPLATE
        )
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise BankSyncConfigError(
            f"there is no connection {conn_id!r}, which sql_conn_id names.", hint="Create the connection."
        ) from error
    if connection.conn_type not in _DATABASES:
        raise BankSyncConfigError(
            f"sql_conn_id {conn_id!r} is a connection of type {connection.conn_type!r}. This operator writes to "
            f"databases of type {' and '.join(_DATABASES)}."
        )
    if connection.conn_type == "sqlite" and (connection.host or "") in ("", ":memory:"):
        raise BankSyncConfigError(
            f"sql_conn_id {conn_id!r} is a SQLite database in memory, which ends with each connection.",
            hint="Set the path of a file as its host.",
        )
    return connection
