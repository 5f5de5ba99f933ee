"""A table of a SQL database that follows the bank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.ledger_task import NOW, LedgerRun, api_rows, by_key
from tests.support.sql_databases import CONNECTION, Database, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=2, time_scale=0, page_size=500, now=NOW)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    if request.param == "sqlite":
        found = Database("sqlite", {"path": str(tmp_path / "books.db")})
    else:
        found = request.getfixturevalue("postgres").database()
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", found.connection)
    return found


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, database: Database) -> LedgerRun:
    return database.run()


def test_the_table_equals_the_api(task: LedgerRun, database: Database) -> None:
    summary = task.run()

    assert by_key(database.rows()) == api_rows(from_date="2020-01-01")
    assert summary["rows_inserted"] == summary["rows_read"] == len(api_rows(from_date="2020-01-01"))


def test_a_second_run_changes_nothing(task: LedgerRun, database: Database) -> None:
    task.run()
    before = database.rows()
    summary = task.run()

    assert (summary["rows_inserted"], summary["rows_updated"], summary["rows_deleted"]) == (0, 0, 0)
    assert database.rows() == before
