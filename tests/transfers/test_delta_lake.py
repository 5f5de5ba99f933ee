"""A Delta Lake table that follows the bank."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from deltalake import DeltaTable, write_deltalake

from airflow_provider_banksync.ledger import delta, delta_state, job
from airflow_provider_banksync.ledger.columns import Columns
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.transfers.delta_lake import BankSyncToDeltaLakeOperator
from tests.support.account_data import family
from tests.support.ledger_task import NOW, LedgerRun, api_rows, by_key, delta_rows, delta_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.banksync_sandbox(portals=2, time_scale=0, page_size=500, now=NOW)

#: As far back as the tests read: enough for several pages.
SINCE = "2025-12-01"


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> LedgerRun:
    return delta_run(tmp_path / "transactions", from_date=SINCE)


def table_rows(tmp_path: Path, name: str = "transactions") -> dict[Any, Any]:
    return by_key(delta_rows(tmp_path / name))


def changes(summary: dict[str, Any]) -> tuple[int, int, int]:
    return summary["rows_inserted"], summary["rows_updated"], summary["rows_deleted"]


# --- the table follows ---


def test_the_table_equals_the_api(task: LedgerRun, tmp_path: Path) -> None:
    summary = task.run()

    assert table_rows(tmp_path) == api_rows(from_date=SINCE)
    assert changes(summary) == (len(api_rows(from_date=SINCE)), 0, 0)
    assert summary["rows_read"] == summary["rows_inserted"]


def test_a_run_that_finds_nothing_new_makes_no_version(task: LedgerRun) -> None:
    first = task.run()
    second = task.run()

    assert second["version"] == first["version"]
    assert changes(second) == (0, 0, 0)


def test_rows_that_differ_are_updated_and_rows_that_are_gone_deleted(task: LedgerRun, tmp_path: Path) -> None:
    task.run()
    before = sorted(delta_rows(tmp_path / "transactions"), key=lambda row: str(row["date"]))
    wrong, extra = before[-1], before[-2]
    table = DeltaTable(tmp_path / "transactions")
    table.update(predicate=f"id = '{wrong['id']}'", updates={"description": "'another'"})
    table.update(predicate=f"id = '{extra['id']}'", updates={"id": "'gone'"})

    summary = task.run()

    assert changes(summary) == (1, 1, 1)
    assert table_rows(tmp_path) == api_rows(from_date=SINCE)
    after = {row["id"]: row for row in delta_rows(tmp_path / "transactions")}
    assert after[wrong["id"]]["first_seen_at"] == wrong["first_seen_at"]
    assert after[wrong["id"]]["changed_at"] > wrong["changed_at"]


def test_a_row_that_comes_late_with_an_old_day_is_added(
    task: LedgerRun, tmp_path: Path, banksync_sandbox: BankSyncSandbox
) -> None:
    task.run()
    _, _, account = family()[0]
    day = (NOW - timedelta(days=60)).date()
    late = banksync_sandbox.add_transaction(account["id"], "-12.34", day=day)

    summary = task.run(lookback_days=10)

    assert changes(summary) == (1, 0, 0)
    assert [row["date"] for row in delta_rows(tmp_path / "transactions") if row["id"] == late] == [day]
    assert table_rows(tmp_path) == api_rows(from_date=SINCE)


def test_rows_older_than_the_days_that_are_read_stay(task: LedgerRun, tmp_path: Path) -> None:
    task.run()
    table = DeltaTable(tmp_path / "transactions")
    oldest = min(delta_rows(tmp_path / "transactions"), key=lambda row: row["date"])
    table.update(predicate=f"id = '{oldest['id']}'", updates={"description": "'another'"})

    assert changes(task.run()) == (0, 0, 0)
    assert changes(task.run(full_refresh=True)) == (0, 1, 0)
    assert table_rows(tmp_path) == api_rows(from_date=SINCE)


def test_pending_rows_can_be_left_out(task: LedgerRun, tmp_path: Path) -> None:
    task.run()
    posted = {key: row for key, row in api_rows(from_date=SINCE).items() if not row[5]}
    assert len(posted) < len(api_rows(from_date=SINCE))

    task.run(include_pending=False, full_refresh=True)

    assert table_rows(tmp_path) == posted


@pytest.mark.banksync_sandbox(portals=2, time_scale=0, page_size=20, now=NOW)
def test_the_first_read_of_a_large_account_is_written_in_pieces(
    task: LedgerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "PIECE_ROWS", 10)
    monkeypatch.setattr(job, "BATCH_ROWS", 50)

    summary = task.run(from_date="2026-02-01")

    assert summary["version"] > 10
    assert table_rows(tmp_path) == api_rows(from_date="2026-02-01")


def test_many_rows_are_merged_some_workspaces_at_a_time(
    task: LedgerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = task.run()
    DeltaTable(tmp_path / "transactions").update(
        predicate="date >= '2026-02-20'", updates={"description": "'another'"}
    )
    monkeypatch.setattr(delta, "MERGE_ROWS", 1)

    summary = task.run()

    assert summary["version"] == first["version"] + 1 + summary["workspaces_changed"]
    assert table_rows(tmp_path) == api_rows(from_date=SINCE)


def test_an_earlier_from_date_reads_more(task: LedgerRun, tmp_path: Path) -> None:
    task.run(from_date="2026-02-01")
    assert table_rows(tmp_path) == api_rows(from_date="2026-02-01")

    task.run(from_date=SINCE)
    assert table_rows(tmp_path) == api_rows(from_date=SINCE)


def test_the_change_feed_has_the_rows_that_changed(task: LedgerRun, tmp_path: Path) -> None:
    first = task.run()
    table = DeltaTable(tmp_path / "transactions")
    one = max(delta_rows(tmp_path / "transactions"), key=lambda row: row["date"])
    table.update(predicate=f"id = '{one['id']}'", updates={"description": "'another'"})
    second = task.run()

    feed = pa.table(DeltaTable(tmp_path / "transactions").load_cdf(starting_version=second["version"]))
    kinds = sorted(row["_change_type"] for row in feed.to_pylist())
    assert kinds == ["update_postimage", "update_preimage"]
    assert second["version"] == first["version"] + 2


def test_an_earlier_version_says_what_the_table_said(task: LedgerRun, tmp_path: Path) -> None:
    first = task.run(from_date="2026-02-01")
    before = table_rows(tmp_path)
    task.run()

    earlier = DeltaTable(tmp_path / "transactions", version=first["version"])
    assert by_key(earlier.to_pyarrow_table().to_pylist()) == before


# --- other resources ---


def test_balances_are_kept_for_each_day(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    task = delta_run(tmp_path / "balances", resource="balances")
    accounts = len(family())

    assert changes(task.run()) == (accounts, 0, 0)
    assert changes(task.run()) == (0, 0, 0)
    assert changes(task.run(NOW + timedelta(days=1))) == (accounts, 0, 0)

    days = {row["day"] for row in delta_rows(tmp_path / "balances")}
    assert days == {NOW.date(), NOW.date() + timedelta(days=1)}


def test_a_run_of_an_earlier_day_that_is_cleared_does_not_change_the_history(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    task = delta_run(tmp_path / "balances", resource="balances")
    task.run()
    before = delta_rows(tmp_path / "balances")

    task.run(NOW, today=NOW.date() + timedelta(days=7))

    after = delta_rows(tmp_path / "balances")
    assert [row for row in after if row["day"] == NOW.date()] == before
    assert len(after) == 2 * len(before)


def test_holdings_that_were_sold_today_are_not_in_the_state_of_today(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    task = delta_run(tmp_path / "holdings", resource="holdings")
    summary = task.run()
    assert summary["rows_inserted"]
    table = DeltaTable(tmp_path / "holdings")
    row = delta_rows(tmp_path / "holdings")[0]
    table.update(predicate=f"position = '{row['position']}'", updates={"position": "'sold'"})

    inserted, _, deleted = changes(task.run())

    assert inserted == deleted > 0


def test_a_listing_replaces_the_rows_of_each_workspace(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    task = delta_run(tmp_path / "banks", resource="banks")
    task.run()
    table = DeltaTable(tmp_path / "banks")
    row = delta_rows(tmp_path / "banks")[0]
    table.update(predicate=f"id = '{row['id']}'", updates={"id": "'gone'"})

    assert changes(task.run()) == (1, 0, 1)
    assert {row["id"] for row in delta_rows(tmp_path / "banks")} == {bank["id"] for _, bank, _ in family()}


# --- answers that are not to be trusted ---


def test_an_answer_with_much_fewer_rows_changes_nothing(
    task: LedgerRun, tmp_path: Path, banksync_sandbox: BankSyncSandbox
) -> None:
    task.run()
    before = table_rows(tmp_path)
    _, bank, account = max(family(), key=lambda each: sum(key[1] == each[2]["id"] for key in before))
    banksync_sandbox.faults.add(
        Fault.shortened(2, adjust_count=True),
        path=f"/v1/banks/{bank['id']}/accounts/{account['id']}/transactions",
    )

    with pytest.raises(AirflowException, match=r"the table has \d+ rows of it .* allow_shrink=True"):
        task.run()
    assert table_rows(tmp_path) == before

    summary = task.run(allow_shrink=True)
    assert summary["rows_deleted"] > 3


def test_an_account_that_cannot_be_read_keeps_its_rows(
    task: LedgerRun, tmp_path: Path, banksync_sandbox: BankSyncSandbox
) -> None:
    task.run()
    before = table_rows(tmp_path)
    banksync_sandbox.break_bank(family()[0][1]["id"])

    with pytest.raises(AirflowFailException, match="Everything else is in"):
        task.run()
    summary = task.run(on_unavailable="report")

    assert summary["unavailable_reasons"] == {"sign_in": summary["unavailable_count"]}
    assert table_rows(tmp_path) == before


def test_a_cursor_that_the_api_does_not_know_any_more_costs_one_read(
    task: LedgerRun, tmp_path: Path, banksync_sandbox: BankSyncSandbox
) -> None:
    task.run()
    state = tmp_path / "transactions" / "_state"
    DeltaTable(state).update(updates={"cursor": "'unknown'"})

    assert changes(task.run()) == (0, 0, 0)
    cursors = {row["cursor"] for row in delta_rows(state)}
    assert "unknown" not in cursors


# --- kills and other tasks ---


@pytest.mark.parametrize("name", ["write_deltalake", "save"])
def test_a_run_that_is_killed_loses_nothing(
    task: LedgerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Killed before the rows are committed, or between them and the cursors."""

    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        if name == "save":
            patched.setattr(delta_state.DeltaState, "save", kill)
        else:
            patched.setattr(delta, "write_deltalake", kill)
        with pytest.raises(Killed):
            task.run()

    task.run()

    assert table_rows(tmp_path) == api_rows(from_date=SINCE)


def test_two_runs_at_once_end_in_the_right_table(task: LedgerRun, tmp_path: Path) -> None:
    others = [delta_run(tmp_path / "transactions", from_date=SINCE) for _ in range(3)]
    errors: list[BaseException] = []

    def run(one: LedgerRun) -> None:
        try:
            one.run()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
    assert table_rows(tmp_path) == api_rows(from_date=SINCE)


# --- bad input ---


def no_requests(sandbox: BankSyncSandbox, run: Callable[[], Any], match: str) -> None:
    """Check that a task is refused before it sends a request."""
    before = len(sandbox.requests)
    with pytest.raises(AirflowFailException, match=match):
        run()
    assert len(sandbox.requests) == before


def test_a_folder_of_other_files_is_refused(
    task: LedgerRun, tmp_path: Path, banksync_sandbox: BankSyncSandbox
) -> None:
    folder = tmp_path / "transactions"
    folder.mkdir()
    pq.write_table(pa.table({"id": ["t1"]}), folder / "part-0.parquet")

    no_requests(banksync_sandbox, task.run, "is not a Delta table, but has 'part-0.parquet'")
    assert [path.name for path in folder.iterdir()] == ["part-0.parquet"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda schema: schema.remove(schema.get_field_index("id")), "lacks the columns id"),
        (lambda schema: schema.append(pa.field("mine", pa.string())), "does not know mine"),
        (
            lambda schema: schema.set(schema.get_field_index("amount"), pa.field("amount", pa.float64())),
            "another type in the columns amount",
        ),
    ],
    ids=["lost", "added", "changed"],
)
def test_a_table_with_other_columns_is_refused(
    task: LedgerRun, tmp_path: Path, banksync_sandbox: BankSyncSandbox, change: Any, match: str
) -> None:
    schema = change(Columns("transactions").schema)
    write_deltalake(tmp_path / "transactions", schema.empty_table(), partition_by=["workspace_id"])

    no_requests(banksync_sandbox, task.run, match)


def test_a_column_that_a_later_version_adds_appears(task: LedgerRun, tmp_path: Path) -> None:
    schema = Columns("transactions").schema
    earlier = schema.remove(schema.get_field_index("reference"))
    write_deltalake(tmp_path / "transactions", earlier.empty_table(), partition_by=["workspace_id"])

    task.run()

    assert table_rows(tmp_path) == api_rows(from_date=SINCE)


def test_the_table_of_another_resource_is_refused(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    delta_run(tmp_path / "rows", resource="banks").run()

    no_requests(banksync_sandbox, delta_run(tmp_path / "rows").run, "So it is not a table of transactions")


def test_the_table_of_another_family_is_refused(task: LedgerRun, tmp_path: Path) -> None:
    task.run()
    DeltaTable(tmp_path / "transactions" / "_state").update(updates={"family": "'ws_other'"})

    with pytest.raises(AirflowFailException, match="has the rows of workspace 'ws_other'"):
        task.run()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"table_uri": "data/table"}, "not an absolute path"),
        ({"table_uri": ""}, "must be the URL"),
        ({"table_uri": "ftp://lake/table"}, "which this operator does not know"),
        ({"storage_conn_id": "missing"}, "storage_conn_id is for tables in an object store"),
        ({"table_uri": "s3://lake/table", "storage_conn_id": "missing"}, "there is no connection 'missing'"),
        ({"table_uri": "s3://lake/table", "storage_conn_id": "banksync_default"}, "needs one of type aws"),
        ({"resource": "balances", "from_date": SINCE}, "from_date is for transactions and trades"),
        ({"resource": "banks", "from_date": None, "where": {"name": "A"}}, "has all rows of a workspace"),
    ],
)
def test_bad_arguments_are_refused(
    task: LedgerRun, banksync_sandbox: BankSyncSandbox, arguments: dict[str, Any], match: str
) -> None:
    given = {"resource": "transactions", **arguments}
    where = {"table_uri": given.pop("table_uri", task.where["table_uri"])}

    no_requests(
        banksync_sandbox,
        lambda: LedgerRun(BankSyncToDeltaLakeOperator, where).run(**given),
        match,
    )


def test_a_negative_lookback_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(Exception, match="lookback_days must be a whole number from 0 to 3650"):
        BankSyncToDeltaLakeOperator(
            task_id="ledger", resource="transactions", table_uri="/data", lookback_days=-1
        )


def test_amounts_keep_every_digit(task: LedgerRun, tmp_path: Path, banksync_sandbox: BankSyncSandbox) -> None:
    digits = "-12345678901234567890.123456789012345678"
    body = f"""{{"success": true, "data": [{{"id": "t1", "date": "2026-03-04", "amount": {digits}}}],
        "meta": {{"hasMore": false, "cursor": "c1"}}}}"""
    banksync_sandbox.faults.add(Fault.answer(200, body=body), path="/v1/banks/*/accounts/*/transactions")

    task.run()

    assert {row["amount"] for row in delta_rows(tmp_path / "transactions")} == {Decimal(digits)}
