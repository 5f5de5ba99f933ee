"""What the pages of an account say is checked: rows that come twice, or that were not asked for, and the end."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_banksync.api import retry_policy
from airflow_provider_banksync.exceptions import BankSyncResponseError
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from tests.support.account_data import exported, family, truth, without_empty
from tests.support.export_task import Task, manifest_of, tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0, page_size=10)

MONTH = {"from_date": "2026-02-01", "to_date": "2026-03-02"}
PAGES = "/v1/banks/*/accounts/*/transactions"
Rows = list[dict[str, Any]]


@pytest.fixture
def expected(banksync_sandbox: BankSyncSandbox) -> dict[tuple[str, str], Rows]:
    rows = without_empty(truth(**MONTH))
    assert any(len(each) > 20 for each in rows.values())
    return rows


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> Task:
    return Task(tmp_path, arguments={"resource": "transactions"})


def by_id(rows: dict[tuple[str, str], Rows]) -> dict[tuple[str, str], Rows]:
    return {key: sorted(each, key=lambda row: row["id"]) for key, each in rows.items()}


@pytest.mark.parametrize("rows_early", [1, 4])
def test_overlapping_pages(
    banksync_sandbox: BankSyncSandbox,
    task: Task,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    expected: dict[tuple[str, str], Rows],
    rows_early: int,
) -> None:
    banksync_sandbox.faults.add(Fault.overlapping(rows_early), path=PAGES)
    summary = task.run(**MONTH)
    assert exported(tmp_path) == expected
    assert summary["duplicates"] > 0
    manifest = manifest_of(summary)
    assert manifest["duplicates"] == summary["duplicates"]
    assert sum(entry.get("duplicates", 0) for entry in manifest["accounts"]) == summary["duplicates"]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "came twice" in line]
    assert f"{summary['duplicates']} came twice" in line
    assert truth(**MONTH) == {**truth(**MONTH), **expected}, "the hook alike"


def test_a_page_that_lacks_rows(banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path) -> None:
    """A page says how many rows it has. An account whose pages lack some is not exported."""
    key, rows = max(without_empty(truth(**MONTH)).items(), key=lambda each: len(each[1]))
    bank = next(bank for workspace, bank, account in family() if (workspace, account["id"]) == key)
    banksync_sandbox.faults.add(Fault.shortened(3), path=f"/v1/banks/*/accounts/{key[1]}/transactions")
    with pytest.raises(
        AirflowException, match="a page is not complete: it has 3 transactions, but its count"
    ):
        task.run(**MONTH)
    assert key not in exported(tmp_path)
    with pytest.raises(BankSyncResponseError, match="a page is not complete"):
        BankSyncHook(workspace_id=key[0]).list_transactions(bank["id"], key[1], *MONTH.values())
    banksync_sandbox.faults.clear()
    assert task.run(**MONTH)["unavailable_count"] == 0
    assert exported(tmp_path)[key] == rows


def test_a_page_of_a_batch_that_lacks_rows(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    """Its cursor would skip them for ever."""
    account = next(account for at, _, account in family() if truth()[at, account["id"]])
    batch = {"resource": "transactions", "incremental": True}
    task.run(**batch)
    for number in range(5):
        banksync_sandbox.add_transaction(account["id"], f"-{number}.50", "Tea")
    task.run_id, task.run_after = "later", datetime(2026, 4, 1, tzinfo=timezone.utc)
    banksync_sandbox.faults.add(Fault.shortened(2), path=f"/v1/banks/*/accounts/{account['id']}/transactions")
    with pytest.raises(AirflowException, match="it has 2 transactions, but its count is 5"):
        task.run(**batch)
    banksync_sandbox.faults.clear()
    assert task.run(**batch)["rows"] == 5
    assert exported(tmp_path) == without_empty(truth())


@pytest.mark.parametrize("resource", ["holdings", "trades"])
def test_a_row_that_comes_twice_in_a_list(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, resource: str
) -> None:
    days = {} if resource == "holdings" else {"from_date": "2025-03-01", "to_date": "2026-03-01"}
    before = task.run(resource=resource, **days)
    accounts = {file["account_id"] for file in manifest_of(before)["files"]}
    assert accounts
    fault = Fault.added(2, id="again")
    banksync_sandbox.faults.add(fault, path=f"/v1/banks/*/accounts/*/{resource}")
    after = Task(tmp_path / "again").run(resource=resource, **days)
    assert (after["rows"], after["duplicates"]) == (before["rows"] + len(accounts), len(accounts))
    workspace, bank, account = next(each for each in family() if each[2]["id"] in accounts)
    hook = BankSyncHook(workspace_id=workspace)
    read = hook.list_holdings if resource == "holdings" else hook.list_trades
    rows = read(bank["id"], account["id"], **days)  # type: ignore[operator]
    assert sum(row["id"] == "again" for row in rows) == 1


def test_trades_outside_of_the_days(banksync_sandbox: BankSyncSandbox) -> None:
    workspace, bank, account = next(each for each in family() if each[2]["accountType"] == "investment")
    hook, days = BankSyncHook(workspace_id=workspace), ("2025-03-01", "2026-03-01")
    trades = hook.list_trades(bank["id"], account["id"], *days)
    assert trades
    banksync_sandbox.faults.add(Fault.added(2, date="2019-01-01"), path="/v1/banks/*/accounts/*/trades")
    assert hook.list_trades(bank["id"], account["id"], *days) == trades


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_rows_outside_of_the_window(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, file_format: str, expected: Any
) -> None:
    banksync_sandbox.faults.add(Fault.added(2, date="2019-01-01"), path=PAGES)
    summary = task.run(file_format=file_format, **MONTH)
    assert summary["rows"] == sum(map(len, expected.values()))
    assert summary["outside_window"] == manifest_of(summary)["outside_window"] > 0
    assert not any(b"2019-01-01" in body for path, body in tree(tmp_path).items() if "part-" in path)
    assert without_empty(truth(**MONTH)) == expected, "the hook alike"


@pytest.mark.parametrize(
    "fault", [Fault.without("meta.hasMore"), Fault.meta(hasMore=None)], ids=["absent", "null"]
)
@pytest.mark.parametrize("overlap", [0, 1])
def test_pages_that_do_not_say_whether_more_follow(
    banksync_sandbox: BankSyncSandbox,
    task: Task,
    tmp_path: Path,
    fault: Fault,
    overlap: int,
    expected: dict[tuple[str, str], Rows],
) -> None:
    if overlap:
        banksync_sandbox.faults.add(Fault.overlapping(overlap), path=PAGES)
    banksync_sandbox.faults.add(fault, path=PAGES)
    task.run(**MONTH)
    assert exported(tmp_path) == expected
    assert without_empty(truth(**MONTH)) == expected


def test_pages_without_meta_are_an_error(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    banksync_sandbox.faults.add(Fault.without("meta"), path=PAGES)
    with pytest.raises((AirflowException, BankSyncResponseError), match="neither hasMore nor a cursor"):
        task.run(**MONTH)


@pytest.mark.parametrize("rows", ["same", "none"])
def test_pages_without_end_are_an_error(banksync_sandbox: BankSyncSandbox, task: Task, rows: str) -> None:
    banksync_sandbox.faults.add(Fault.endless(rows), path=PAGES)
    with pytest.raises(
        (AirflowException, BankSyncResponseError), match="3 pages in a row brought no new row"
    ):
        task.run(**MONTH)
    workspace, bank, account = family()[0]
    with pytest.raises(BankSyncResponseError, match="3 pages in a row brought no new row"):
        BankSyncHook().list_transactions(bank["id"], account["id"], workspace_id=workspace, **MONTH)


@pytest.mark.parametrize("max_rows", [None, 7])
def test_a_later_version_far_from_the_first_counts(
    banksync_sandbox: BankSyncSandbox,
    task: Task,
    tmp_path: Path,
    expected: dict[tuple[str, str], Rows],
    max_rows: int | None,
) -> None:
    (workspace, account), rows = max(expected.items(), key=lambda each: len(each[1]))
    later = {**rows[0], "description": "a later version"}
    pages = [rows[:10], rows[10:20], [later, *rows[20:]]]
    answers = [
        {"success": True, "data": page, "meta": {"cursor": f"c{number}", "hasMore": number < 2}}
        for number, page in enumerate(pages)
    ]
    path = f"/v1/banks/*/accounts/{account}/transactions"
    for _ in range(3):
        for answer in answers:
            body = json.dumps(answer, default=float)
            banksync_sandbox.faults.add(Fault.answer(200, body), path=path, times=1)
    summary = task.run(max_rows_per_file=max_rows, account_ids=[account], **MONTH)
    found = exported(tmp_path)[workspace, account]
    assert len(found) == len(rows)
    assert {row["id"]: row["description"] for row in found} == {
        row["id"]: row["description"] for row in [*rows[1:], later]
    }
    assert summary["duplicates"] == 1
    assert len([record for record in banksync_sandbox.requests if record.path.endswith("/transactions")]) >= 6
    names = {path for path in tree(tmp_path) if "part-" in path}
    assert len(names) == summary["files"], "the files of the first read are gone"
    _, bank, _ = next(each for each in family() if each[2]["id"] == account)
    listed = BankSyncHook().list_transactions(bank["id"], account, workspace_id=workspace, **MONTH)
    assert sorted(row["description"] for row in listed) == sorted(row["description"] for row in found)


def test_the_hook_refuses_rows_of_another_account(banksync_sandbox: BankSyncSandbox) -> None:
    banksync_sandbox.faults.add(Fault.edited(accountId="theirs"), path=PAGES)
    workspace, bank, account = family()[0]
    with pytest.raises(BankSyncResponseError, match="accountId 'theirs' instead of"):
        list(BankSyncHook().iter_transactions(bank["id"], account["id"], workspace_id=workspace))


# --- products that not every account has ---


@pytest.mark.parametrize("resource", ["holdings", "trades", "loans"])
def test_a_product_that_accounts_do_not_support(
    banksync_sandbox: BankSyncSandbox, task: Task, resource: str
) -> None:
    refusal = Fault.status(400, message=f"{resource} are not supported for this account")
    rule = banksync_sandbox.faults.add(refusal, path="/v1/banks/*/accounts/*/*")
    summary = task.run(resource=resource)
    assert summary["unavailable"] == []
    assert summary["not_supported"] == manifest_of(summary)["not_supported"] == rule.hits > 0
    assert all(entry["not_supported"] == 1 for entry in manifest_of(summary)["accounts"])


@pytest.mark.parametrize(("resource", "words"), [("holdings", "bad dates"), ("balances", "not supported")])
def test_other_refusals_are_failures(
    banksync_sandbox: BankSyncSandbox, task: Task, resource: str, words: str
) -> None:
    banksync_sandbox.faults.add(Fault.status(400, message=words), path="/v1/banks/*/accounts/*/*")
    summary = task.run(resource=resource, on_unavailable="report")
    assert {each["reason"] for each in summary["unavailable"]} == {"refused"}


def test_only_a_loans_own_404_means_that_there_is_none(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "NOT_FOUND_GRACE", 0.0)
    first = task.run(resource="loans")
    assert first["rows"] > 0
    before = {path: body for path, body in tree(tmp_path).items() if "part-" in path}
    gone = Fault.status(404, message="Workspace not found")
    banksync_sandbox.faults.add(gone, path="/v1/banks/*/accounts/*/loan")
    banksync_sandbox.faults.add(gone, path="/v1/banks/*/accounts/*")
    summary = task.run(resource="loans", on_unavailable="report")
    assert {each["reason"] for each in summary["unavailable"]} == {"not_found"}
    assert {path: body for path, body in tree(tmp_path).items() if "part-" in path} == before
    banksync_sandbox.faults.clear()
    banksync_sandbox.faults.add(gone, path="/v1/banks/*/accounts/*/loan")
    assert task.run(resource="loans")["rows"] == 0
