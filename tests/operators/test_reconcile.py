"""The transactions of a ledger, compared with its balances."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from deltalake import DeltaTable, write_deltalake

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.ledger.columns import Columns
from airflow_provider_banksync.operators.reconcile import BankSyncReconcileOperator
from tests.support.ledger_task import delta_rows
from tests.support.reconcile_task import NOW, Books, run_reconcile

if TYPE_CHECKING:
    from pathlib import Path

TODAY = NOW.date()


def march(number: int) -> date:
    return date(2026, 3, number)


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Return books with one account that has a row and a balance on most days of March."""
    books = Books(tmp_path)
    amount = Decimal("100.10")
    for number in range(1, 20):
        books.balance(march(number), amount)
        books.post(march(number), "-1.05")
        amount -= Decimal("1.05")
    return books


@pytest.fixture
def reconcile(books: Books, tmp_path: Path) -> Any:
    """Return a function that writes the books, runs the operator and returns its summary and rows."""

    def run(**arguments: Any) -> tuple[dict[str, Any], dict[tuple[str, str], dict[str, Any]]]:
        books.write()
        summary = run_reconcile(tmp_path, **arguments)
        rows = delta_rows(tmp_path / "reconciliation")
        return summary, {(row["account_id"], row["currency"]): row for row in rows}

    return run


def add_to_balances(books: Books, amount: str, since: date, until: date = TODAY) -> None:
    for row in books.rows["balances"]:
        if since <= row["day"] <= until:
            row["current"] += Decimal(amount)


def test_an_account_reconciles(reconcile: Any) -> None:
    summary, rows = reconcile()

    (row,) = rows.values()
    assert (row["outcome"], row["difference"], row["difference_count"]) == ("reconciled", 0, 0)
    assert (row["first_day"], row["last_day"]) == (march(1), march(18))
    assert row["balance_after"] - row["balance_before"] == row["sum_of_rows"] == Decimal("-17.85")
    assert (row["day"], row["newest_row"], row["usual_gap_days"]) == (TODAY, march(19), 1)
    assert (row["workspace_id"], row["portal_name"], row["bank_id"]) == (
        "ws_1",
        "Saffron Cycles LLC",
        "bank_1",
    )
    assert {
        name: summary[name] for name in ("accounts", "reconciled", "difference", "no_balance", "stale")
    } == {
        "accounts": 1,
        "reconciled": 1,
        "difference": 0,
        "no_balance": 0,
        "stale": 0,
    }
    assert (summary["differences"], summary["transactions_version"], summary["balances_version"]) == (
        [],
        0,
        0,
    )


def test_a_difference_is_named_with_amount_currency_and_days(
    books: Books, reconcile: Any, logged: Any
) -> None:
    add_to_balances(books, "12.345", march(9))
    summary, rows = reconcile()

    (row,) = rows.values()
    assert (row["outcome"], row["difference"]) == ("difference", Decimal("12.345"))
    assert (row["first_day"], row["last_day"], row["sum_of_rows"]) == (march(8), march(9), Decimal("-1.05"))
    (listed,) = summary["differences"]
    expected = {
        "difference": "12.345",
        "currency": "AUD",
        "first_day": "2026-03-08",
        "last_day": "2026-03-09",
    }
    assert expected.items() <= listed.items()
    assert (
        "Account acc_1 of Saffron Cycles LLC: 12.345 AUD of the balance are not explained by transactions, from "
        "2026-03-08 to 2026-03-09."
    ) in logged()


def test_a_difference_fails_the_task_after_the_result_is_written(
    books: Books, reconcile: Any, tmp_path: Path
) -> None:
    add_to_balances(books, "-3", march(9))
    with pytest.raises(AirflowFailException, match="-3 AUD of the balance are not explained"):
        reconcile(on_difference="fail")
    (row,) = delta_rows(tmp_path / "reconciliation")
    assert row["outcome"] == "difference"
    assert reconcile(on_difference="fail", tolerance="3")[0]["reconciled"] == 1


def test_pending_rows_do_not_count(books: Books, reconcile: Any) -> None:
    books.post(march(4), "-77", pending=True)
    assert reconcile()[0]["reconciled"] == 1


@pytest.mark.parametrize("open_days", [0, 1, 2, 5])
def test_the_last_days_are_open(books: Books, reconcile: Any, open_days: int) -> None:
    """The balance of the run's day lacks nothing, but a row of the day before."""
    books.balance(TODAY, "1")
    summary, rows = reconcile(min_days_open=open_days)
    (row,) = rows.values()
    assert row["last_day"] == (TODAY if open_days == 0 else march(20 - open_days))
    assert summary["difference"] == (open_days == 0)


def test_each_currency_is_reconciled_alone(books: Books, reconcile: Any) -> None:
    for number in range(1, 20):
        books.balance(march(number), 500 if number < 12 else 501, "acc_2", currency="EUR")
        books.balance(march(number), 500, "acc_3")
    books.post(march(3), 40, "acc_3", currency="EUR")
    books.post(march(3), 0, "acc_3", currency=None)
    summary, rows = reconcile()
    assert {key: row["outcome"] for key, row in rows.items()} == {
        ("acc_1", "AUD"): "reconciled",
        ("acc_2", "EUR"): "difference",
        ("acc_3", "AUD"): "reconciled",
        ("acc_3", "EUR"): "no_balance",
    }
    assert [each["currency"] for each in summary["differences"]] == ["EUR"]


def test_both_forms_of_a_balance_count(books: Books, reconcile: Any) -> None:
    """A bank sends the second form on some days: an amount, and a day or a time in ``date``."""
    for number, row in enumerate(books.rows["balances"]):
        if number % 2:
            row["amount"] = row.pop("current")
            row["date"] = row.pop("asOf").date()
    _, rows = reconcile()
    assert rows["acc_1", "AUD"]["outcome"] == "reconciled"
    assert rows["acc_1", "AUD"]["last_day"] == march(18)


def test_a_balance_is_of_the_day_that_it_names(books: Books, reconcile: Any) -> None:
    """The bank does not update the balance for a week. The run reads the old one each day."""
    ninth = next(row for row in books.rows["balances"] if row["day"] == march(9))
    for row in books.rows["balances"]:
        if march(9) <= row["day"] <= march(15):
            row |= {"current": ninth["current"], "asOf": ninth["asOf"]}
    assert reconcile()[0]["reconciled"] == 1


def test_days_are_those_of_the_time_zone_of_the_dag(books: Books, reconcile: Any) -> None:
    """In Sydney, a balance of 20:00 UTC is of the next day. The column has the day of UTC, and ``extra`` the time."""
    books.rows["balances"].clear()
    for number, amount in ((4, 10), (8, 7)):
        read_at = datetime(2026, 3, number, 20, tzinfo=timezone.utc)
        time = {"asOf": None, "date": read_at.date(), "extra": f'{{"date": "{read_at.isoformat()}"}}'}
        books.balance(march(number), amount, changed_at=read_at, **time)
    _, rows = reconcile(zone=ZoneInfo("Australia/Sydney"))
    assert (rows["acc_1", "AUD"]["first_day"], rows["acc_1", "AUD"]["last_day"]) == (march(5), march(9))


def test_liabilities_that_are_owed_grow_with_each_purchase(
    books: Books, reconcile: Any, tmp_path: Path
) -> None:
    owed = Decimal(200)
    for number in range(1, 20):
        books.balance(march(number), owed, "card")
        books.balance(march(number), owed, "loan", accountType="Personal Loan")
        for account in ("card", "loan"):
            books.post(march(number), "-10", account)
        owed += 10
    books.add("accounts", id="card", accountType="credit card")
    assert reconcile()[0]["difference"] == 2
    assert reconcile(liabilities="owed")[0]["reconciled"] == 2
    summary, rows = reconcile(liabilities="owed", accounts=str(tmp_path / "accounts"))
    assert summary["reconciled"] == 3
    assert rows["card", "AUD"]["sum_of_rows"] == -170


def test_an_account_is_stale_by_its_own_gaps(books: Books, reconcile: Any) -> None:
    for account, days in (("daily", range(1, 9)), ("weekly", (1, 8, 15))):
        for number in (1, 18):
            books.balance(march(number), 10, account)
        for number in days:
            books.post(march(number), 0, account)
        for week in range(1, 8):
            books.post(march(1) - timedelta(weeks=week), 0, account)
    for row in books.rows["transactions"]:
        if row["account_id"] == "daily":
            row["date"] = max(row["date"], march(1))
    _, rows = reconcile()
    assert {key[0]: row["outcome"] for key, row in rows.items()} == {
        "acc_1": "reconciled",
        "daily": "stale",
        "weekly": "reconciled",
    }
    assert (rows["daily", "AUD"]["usual_gap_days"], rows["daily", "AUD"]["newest_row"]) == (1, march(8))
    assert rows["weekly", "AUD"]["usual_gap_days"] == 7


def test_an_account_is_stale_if_its_bank_needs_a_new_sign_in(
    books: Books, reconcile: Any, tmp_path: Path
) -> None:
    linked = datetime(2026, 1, 10, tzinfo=timezone.utc)
    books.add("banks", id="bank_1", source="basiq", createdAt=linked, connectionStatus='{"status": "error"}')
    _, rows = reconcile(banks=str(tmp_path / "banks"))
    assert rows["acc_1", "AUD"]["outcome"] == "reconciled"

    books.rows["banks"][0]["connectionStatus"] = '{"connected": false}'
    summary, rows = reconcile(banks=str(tmp_path / "banks"))
    row = rows["acc_1", "AUD"]
    assert (row["outcome"], row["needs_sign_in"], summary["stale"]) == ("stale", True, 1)
    assert row["consent_end_estimate"] == date(2027, 1, 10)
    add_to_balances(books, "2", march(9))
    _, rows = reconcile(banks=str(tmp_path / "banks"))
    assert (rows["acc_1", "AUD"]["outcome"], rows["acc_1", "AUD"]["is_stale"]) == ("difference", True)


def test_late_rows_of_days_before_the_first_balance_count(books: Books, reconcile: Any) -> None:
    """The row is a year old. The bank counts it when it sends it."""
    seen_at = datetime(2026, 3, 10, 5, tzinfo=timezone.utc)
    books.post(date(2025, 1, 1), 40, first_seen_at=seen_at, changed_at=seen_at)
    add_to_balances(books, "40", march(10))
    assert reconcile(from_date="2026-03-03")[0]["reconciled"] == 1


def test_a_second_run_of_a_day_replaces_the_rows(books: Books, reconcile: Any, tmp_path: Path) -> None:
    first, _ = reconcile()
    books.rows["balances"] = books.rows["balances"][:1]
    second, rows = reconcile()
    assert second["version"] == first["version"] + 1
    assert [row["outcome"] for row in rows.values()] == ["no_balance"]
    reconcile(now=NOW + timedelta(days=1))
    assert sorted(row["day"] for row in delta_rows(tmp_path / "reconciliation")) == [TODAY, march(21)]


def test_a_run_for_some_workspaces_leaves_the_others(books: Books, reconcile: Any, tmp_path: Path) -> None:
    for number in (1, 9):
        books.balance(march(number), number, "acc_9", workspace_id="ws_9")
    reconcile()
    summary, _ = reconcile(workspace_ids=["ws_9"], tolerance=100)
    assert (summary["accounts"], summary["reconciled"]) == (1, 1)
    rows = delta_rows(tmp_path / "reconciliation")
    assert sorted((row["workspace_id"], row["outcome"]) for row in rows) == [
        ("ws_1", "reconciled"),
        ("ws_9", "reconciled"),
    ]


def test_the_versions_of_the_tables_are_in_the_result(books: Books, reconcile: Any) -> None:
    reconcile()
    summary, rows = reconcile()
    assert (summary["transactions_version"], summary["balances_version"]) == (1, 1)
    assert {(row["transactions_version"], row["balances_version"]) for row in rows.values()} == {(1, 1)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerance": 0.05}, "tolerance must be an amount"),
        ({"tolerance": "-1"}, "tolerance must be an amount"),
        ({"workspace_ids": "ws_1"}, "workspace_ids must be a list"),
        ({"from_date": "2026-03-18"}, "leaves no two days"),
        ({"balances": "tables/balances"}, "balances 'tables/balances' is not an absolute path"),
        ({"transactions": None}, "transactions is None"),
        ({"schema": "books"}, "schema is for SQL tables"),
        ({"sql_conn_id": "books", "storage_conn_id": "lake"}, "Pass one of them"),
        ({"sql_conn_id": "nowhere"}, "there is no connection 'nowhere'"),
    ],
)
def test_wrong_arguments_are_refused(
    reconcile: Any, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(AirflowFailException, match=message):
        reconcile(**arguments)
    assert not (tmp_path / "reconciliation").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("liabilities", "minus"), ("on_difference", "raise"), ("days", 0), ("min_days_open", -1)],
)
def test_wrong_arguments_are_refused_when_the_dag_is_parsed(name: str, value: Any) -> None:
    with pytest.raises(BankSyncConfigError, match=name):
        BankSyncReconcileOperator(
            task_id="reconcile", transactions="/t", balances="/b", reconciliation="/r", **{name: value}
        )


def test_a_table_that_does_not_exist_or_has_other_rows_is_refused(reconcile: Any, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match=r"nothing is not a Delta table. Write it first"):
        reconcile(transactions=str(tmp_path / "nothing"))
    with pytest.raises(AirflowFailException, match=r"lacks the columns .*So it is not a table of balances"):
        reconcile(balances=str(tmp_path / "transactions"))
    with pytest.raises(AirflowFailException, match=r"has the columns .*Use another table for it"):
        reconcile(reconciliation=str(tmp_path / "balances"))
    assert DeltaTable(str(tmp_path / "balances")).version() == 2


def test_a_result_table_of_an_earlier_version_gets_the_new_columns(reconcile: Any, tmp_path: Path) -> None:
    reconcile()
    old = DeltaTable(str(tmp_path / "reconciliation")).to_pyarrow_table().drop_columns(["is_stale"])
    write_deltalake(str(tmp_path / "reconciliation"), old, mode="overwrite", schema_mode="overwrite")
    _, rows = reconcile()
    assert rows["acc_1", "AUD"]["is_stale"] is False


def test_a_sql_table_that_does_not_exist_or_has_other_columns_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "books.db"
    monkeypatch.setenv("AIRFLOW_CONN_BOOKS", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    with closing(sqlite3.connect(path)) as database:
        for resource in ("balances", "transactions"):
            columns = ", ".join(f'"{name}" TEXT' for name in Columns(resource).schema.names)
            database.execute(f"CREATE TABLE {resource} ({columns})")

    def run(**names: str) -> None:
        tables = {"transactions": "transactions", "balances": "balances", "reconciliation": "reconciliation"}
        run_reconcile(tmp_path, sql_conn_id="books", **(tables | names))

    with pytest.raises(AirflowFailException, match=r'nothing does not exist.*\(resource="transactions"\)'):
        run(transactions="nothing")
    with pytest.raises(AirflowFailException, match=r"lacks the columns .*not a table of balances"):
        run(balances="transactions")
    with pytest.raises(AirflowFailException, match=r"has the columns .*Use another table"):
        run(reconciliation="balances")
    with pytest.raises(AirflowFailException, match="has a dot"):
        run(balances="main.balances")
