"""Books that are written day by day from the sandbox, and reconciled."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable

from airflow_provider_banksync.transfers.delta_lake import BankSyncToDeltaLakeOperator
from airflow_provider_banksync.transfers.sql import BankSyncToSqlOperator
from tests.support.ledger_task import NOW, LedgerRun
from tests.support.reconcile_task import run_reconcile
from tests.support.sql_databases import CONNECTION, Database, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0, page_size=500, now=NOW)
TABLES = ("transactions", "balances", "banks")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@dataclass
class Store:
    """Where the tables of a test are."""

    folder: Path
    database: Database | None = None
    day: Any = field(default=NOW)

    def where(self, name: str) -> dict[str, str]:
        """Return the arguments of an operator that writes a table."""
        if self.database is None:
            return {"table_uri": str(self.folder / name)}
        return {"sql_conn_id": CONNECTION, "table": name}

    def read_day(self, sandbox: BankSyncSandbox, order: tuple[str, ...] = TABLES, **arguments: Any) -> None:
        """Write the tables, as a DAG of the day does, and go to the next day."""
        operator = BankSyncToDeltaLakeOperator if self.database is None else BankSyncToSqlOperator
        for name in order:
            more = arguments if name == "transactions" else {}
            LedgerRun(operator, self.where(name), {"resource": name, "on_unavailable": "report"}).run(
                self.day, **more
            )
        sandbox.advance(days=1)
        self.day += timedelta(days=1)

    def reconcile(self, **arguments: Any) -> dict[str, Any]:
        names = {name: name for name in (*TABLES, "reconciliation")}
        if self.database is None:
            names = {name: str(self.folder / name) for name in names}
        else:
            arguments["sql_conn_id"] = CONNECTION
        return run_reconcile(self.folder, now=self.day, **{**names, **arguments})

    def results(self) -> list[dict[str, Any]]:
        if self.database is None:
            return list(DeltaTable(str(self.folder / "reconciliation")).to_pyarrow_table().to_pylist())
        with closing(self.database.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT * FROM reconciliation")
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture(params=["delta", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "delta":
        return Store(tmp_path)
    if request.param == "sqlite":
        database = Database("sqlite", {"path": str(tmp_path / "books.db")})
    else:
        database = request.getfixturevalue("postgres").database()
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", database.connection)
    return Store(tmp_path, database)


@pytest.fixture
def delta(tmp_path: Path) -> Store:
    return Store(tmp_path)


def account_ids(sandbox: BankSyncSandbox) -> list[str]:
    """Return the accounts, those with the most recent transactions first."""
    since = NOW.date() - timedelta(days=60)
    rows = sandbox.truth.transactions(first=since)
    return sorted(
        {row["accountId"] for row in rows}, key=lambda each: -sum(r["accountId"] == each for r in rows)
    )


def test_each_planted_difference_is_found_and_no_other(
    store: Store, banksync_sandbox: BankSyncSandbox
) -> None:
    one, other = account_ids(banksync_sandbox)[:2]
    for number in range(9):
        if number == 3:
            banksync_sandbox.banks.plant_difference(one, "12.34")
        if number == 5:
            banksync_sandbox.banks.plant_difference(other, "-7")
        store.read_day(banksync_sandbox, from_date="2025-12-01")
    summary = store.reconcile()

    found = {each["account_id"]: each for each in summary["differences"]}
    assert {key: Decimal(each["difference"]) for key, each in found.items()} == {
        one: Decimal("12.34"),
        other: Decimal(-7),
    }
    assert (found[one]["first_day"], found[one]["last_day"]) == ("2026-03-06", "2026-03-07")
    assert (found[other]["first_day"], found[other]["last_day"]) == ("2026-03-08", "2026-03-09")
    rows = store.results()
    assert len(rows) == summary["accounts"] > 5
    assert summary["reconciled"] > 2
    assert summary["no_balance"] == 0
    again = store.reconcile()
    assert again["differences"] == summary["differences"]
    assert len(store.results()) == len(rows)


def test_a_stale_account_is_named(delta: Store, banksync_sandbox: BankSyncSandbox) -> None:
    one = account_ids(banksync_sandbox)[0]
    delta.read_day(banksync_sandbox, from_date="2025-12-01")
    banksync_sandbox.banks.make_stale(one)
    for _ in range(4):
        banksync_sandbox.advance(days=5)
        delta.day += timedelta(days=5)
        delta.read_day(banksync_sandbox)
    summary = delta.reconcile()

    stale = {
        row["account_id"]: row for row in delta.results() if row["is_stale"] and not row["needs_sign_in"]
    }
    assert one in stale
    assert stale[one]["newest_row"] <= NOW.date()
    assert summary["difference"] == 0


@pytest.mark.parametrize("order", [("transactions", "balances"), ("balances", "transactions")], ids=" ".join)
@pytest.mark.banksync_sandbox(portals=3, time_scale=0, page_size=500, now=NOW, banks="restless")
def test_rows_that_change_and_come_late_are_no_difference(
    delta: Store, banksync_sandbox: BankSyncSandbox, order: tuple[str, ...]
) -> None:
    """Rows come up to 60 days late. So a reconciliation that is to find nothing else leaves 60 days open."""
    one = account_ids(banksync_sandbox)[0]
    for number in range(12):
        if number == 6:
            banksync_sandbox.banks.plant_difference(one, "1234.56")
        delta.read_day(banksync_sandbox, order, from_date="2025-12-01", lookback_days=75)
    banksync_sandbox.advance(days=61)
    delta.day += timedelta(days=61)
    delta.read_day(banksync_sandbox, order, from_date="2025-12-01", lookback_days=100)
    summary = delta.reconcile(days=120, min_days_open=62, banks=None)

    (found,) = summary["differences"]
    assert (found["account_id"], found["difference"]) == (one, "1234.56")
    assert (found["first_day"], found["last_day"]) == ("2026-03-09", "2026-03-10")
    assert summary["reconciled"] == summary["accounts"] - 1
