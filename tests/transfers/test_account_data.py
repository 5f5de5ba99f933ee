"""The data of accounts: windows, what is unavailable, what another try takes up, and batches by cursors."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    Asset,
)

from airflow_provider_banksync.api import retry_policy
from airflow_provider_banksync.exceptions import BankSyncServerError
from airflow_provider_banksync.export.formats import FORMATS
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from tests.support.account_data import exported, family, read_accounts, truth, without_empty
from tests.support.export_task import Task, edit_manifest, manifest_of, rows_of, tree

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0, page_size=20)

MONTH = {"from_date": "2026-02-01", "to_date": "2026-03-02"}


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> Task:
    return Task(tmp_path, arguments={"resource": "transactions"})


class Lazy(Sequence[str]):
    """The results of a mapped task: read from a database, which SQLite allows to the task's thread only."""

    def __init__(self, values: list[str]) -> None:
        self._values = values
        self._thread = threading.get_ident()

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        assert threading.get_ident() == self._thread, "read in another thread"
        return self._values[index]


# --- windows ---


def test_a_window_of_the_whole_family(banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path) -> None:
    summary = task.run(**MONTH)
    expected = truth(**MONTH)
    assert exported(tmp_path) == without_empty(expected)
    assert summary["rows"] == sum(map(len, expected.values())) > 300
    manifest = manifest_of(summary)
    assert manifest["window"] == MONTH
    assert (manifest["resource"], manifest["scope"], manifest["file_format"]) == (
        "transactions",
        "family",
        "jsonl",
    )
    assert {
        (entry["workspace_id"], entry["account_id"]): entry["rows"] for entry in manifest["accounts"]
    } == {key: len(rows) for key, rows in expected.items()}
    names = dict(banksync_sandbox.portals)
    folder = Path(summary["manifest"].removeprefix("file://")).parent
    assert (folder / manifest["base"]).resolve() == Path(summary["path"].removeprefix("file://"))
    for file in manifest["files"]:
        assert (folder / manifest["base"] / file["path"]).stat().st_size == file["bytes"]
        assert f"workspace_id={file['workspace_id']}/window=2026-02-01_2026-03-02/part-" in file["path"]
        assert file["portal"] == names.get(file["workspace_id"])
        assert file["bank"]
        assert file["account"]


def test_every_row_is_as_it_came(banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path) -> None:
    task.run(**MONTH)
    hook = BankSyncHook()
    workspace, bank, account = family()[0]
    path = f"/v1/banks/{bank['id']}/accounts/{account['id']}/transactions?from=2026-02-01&to=2026-03-02"
    import requests

    answer = requests.get(
        f"{banksync_sandbox.url}{path}",
        headers={"X-API-Key": banksync_sandbox.api_key, "User-Agent": "test"},
        timeout=300,
    )
    (body,) = [body for path, body in tree(tmp_path).items() if f".{account['id']}-" in path]
    lines = body.splitlines()[:20]
    assert b",".join(lines) in answer.content, "to the byte"
    assert hook.list_banks()[0]["id"] == bank["id"]
    assert workspace == banksync_sandbox.workspace_id


def test_the_data_interval_is_the_window(task: Task, tmp_path: Path) -> None:
    for day in range(1, 6):
        begin = datetime(2026, 3, day, tzinfo=timezone.utc)
        task.interval = begin, begin + timedelta(days=1)
        task.run()
    assert exported(tmp_path) == without_empty(truth(from_date="2026-03-01", to_date="2026-03-05"))
    folders = {path.split("/")[2] for path in rows_of(tmp_path)}
    assert folders <= {f"window=2026-03-0{day}_2026-03-0{day}" for day in range(1, 6)}
    assert len(list((tmp_path / "resource=transactions" / "_manifests").iterdir())) == 5


def test_a_run_without_an_interval_reads_the_day_before_it(task: Task) -> None:
    task.interval = None, None
    task.run_after = datetime(2026, 3, 3, 5, tzinfo=timezone.utc)
    window = {"from_date": "2026-03-02", "to_date": "2026-03-02"}
    assert manifest_of(task.run())["window"] == window


def test_an_interval_in_which_no_day_ended_is_skipped(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    begin = datetime(2026, 3, 2, 3, tzinfo=timezone.utc)
    task.interval = begin, begin + timedelta(hours=1)
    for dates in ({}, {"from_date": "2026-01-01"}):
        with pytest.raises(AirflowSkipException, match="No day ended"):
            task.run(**dates)
    assert banksync_sandbox.requests == []


def test_two_windows_do_not_touch_each_other(task: Task, tmp_path: Path) -> None:
    task.run(from_date="2026-02-01", to_date="2026-02-10")
    first = tree(tmp_path)
    task.run(from_date="2026-02-11", to_date="2026-02-20")
    both = tree(tmp_path)
    assert first.items() <= both.items()
    task.run(from_date="2026-02-11", to_date="2026-02-20")
    assert first.items() <= tree(tmp_path).items()


def test_files_of_so_many_rows(task: Task, tmp_path: Path) -> None:
    whole = task.run(**MONTH)
    before = exported(tmp_path)
    summary = task.run(max_rows_per_file=7, **MONTH)
    assert exported(tmp_path) == before
    files = manifest_of(summary)["files"]
    assert max(file["rows"] for file in files) == 7
    assert summary["files"] == len(files) == len(rows_of(tmp_path)) > whole["files"]
    # Fewer files again: none of the many is left.
    task.run(**MONTH)
    assert len(rows_of(tmp_path)) == whole["files"]


@pytest.mark.parametrize("resource", ["balances", "holdings", "trades", "loans"])
def test_other_data_of_accounts(task: Task, tmp_path: Path, resource: str) -> None:
    dates = MONTH if resource == "trades" else {}
    summary = task.run(resource=resource, **dates)
    hook = BankSyncHook()
    expected: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for workspace, bank, account in family():
        ids = (bank["id"], account["id"])
        if resource == "balances":
            rows = [hook.get_balance(*ids, workspace_id=workspace)]
        elif resource == "holdings":
            rows = hook.list_holdings(*ids, workspace_id=workspace)
        elif resource == "trades":
            rows = hook.list_trades(*ids, workspace_id=workspace, **MONTH)
        else:
            rows = [hook.get_loan(*ids, workspace_id=workspace)] if account["accountType"] == "loan" else []
        expected[workspace, account["id"]] = rows
    assert exported(tmp_path) == without_empty(expected)
    assert summary["rows"] == sum(map(len, expected.values())) > 0


def test_of_one_workspace(banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path) -> None:
    for index, (portal, _) in enumerate(banksync_sandbox.portals):
        task.map_index = index
        task.run(scope="self", workspace_id=portal, **MONTH)
    expected = {key: rows for key, rows in truth(**MONTH).items() if key[0] != banksync_sandbox.workspace_id}
    assert exported(tmp_path) == without_empty(expected)
    assert len(list(tmp_path.rglob("_manifest.json"))) == 3


def test_filters(task: Task, tmp_path: Path) -> None:
    accounts = family()
    workspace, bank, account = accounts[3]
    task.run(workspace_ids=[workspace], bank_ids=[bank["id"]], account_ids=[account["id"]], **MONTH)
    assert set(exported(tmp_path)) <= {(workspace, account["id"])}
    currency = accounts[-1][2]["currency"]
    task.destination = tmp_path / "elsewhere"
    task.run(where={"currency": Lazy([currency])}, **MONTH)
    assert set(exported(tmp_path / "elsewhere")) == {
        (owner, one["id"]) for owner, _, one in accounts if one["currency"] == currency
    } & set(without_empty(truth(**MONTH)))


@pytest.mark.parametrize("by", ["workspace_ids", "bank_ids", "account_ids", "where"])
def test_one_client_again_leaves_the_others_as_they_are(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, by: str
) -> None:
    before = task.run(**MONTH)
    workspace, bank, account = family()[5]
    some = {
        "workspace_ids": [workspace],
        "bank_ids": [bank["id"]],
        "account_ids": [account["id"]],
        "where": {"id": account["id"]},
    }
    banksync_sandbox.add_transaction(account["id"], "-12.50", "Tea", day=date(2026, 2, 11))
    asked = len(banksync_sandbox.requests)
    summary = task.run(**{by: some[by]}, **MONTH)
    assert len(read_accounts(banksync_sandbox, asked)) < len(family())
    assert summary["rows"] == before["rows"] + 1
    assert exported(tmp_path) == without_empty(truth(**MONTH))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"workspace_ids": ["nobody"]}, "workspace_ids contains unknown ids: nobody"),
        ({"bank_ids": ["none"]}, "bank_ids contains unknown ids: none"),
        ({"account_ids": ["none"]}, "account_ids contains unknown ids: none"),
        ({"where": {"curency": "EUR"}}, "where contains unknown fields: curency"),
    ],
)
def test_a_filter_that_names_what_there_is_not(
    task: Task, tmp_path: Path, arguments: Any, words: str
) -> None:
    with pytest.raises(AirflowFailException, match=words):
        task.run(**arguments, **MONTH)
    assert tree(tmp_path) == {}


def test_an_account_that_is_listed_twice_is_read_once(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    _, bank, account = family()[0]
    assert [of["id"] for _, of, _ in family()].count(bank["id"]) > 1
    banksync_sandbox.faults.add(Fault.edited(id=account["id"]), path=f"/v1/banks/{bank['id']}/accounts")
    before = len(banksync_sandbox.requests)
    manifest = manifest_of(task.run(**MONTH))
    assert set(read_accounts(banksync_sandbox, before).values()) == {1}
    assert [each["account_id"] for each in manifest["accounts"]].count(account["id"]) == 1


@pytest.mark.parametrize("file_format", FORMATS)
def test_rows_of_another_account_are_not_taken(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, file_format: str
) -> None:
    *_, account = family()[0]
    path = f"/v1/banks/*/accounts/{account['id']}/transactions"
    banksync_sandbox.faults.add(Fault.edited(accountId="somebody-else"), path=path)
    told = r"GET /v1/banks/.*/transactions: .* accountId 'somebody-else' instead of .* cannot be attributed"
    with pytest.raises(AirflowException, match=told):
        task.run(**MONTH, file_format=file_format)
    written = {path: body for path, body in tree(tmp_path).items() if "part-" in path}
    assert written
    assert not any(account["id"] in path or b"somebody-else" in body for path, body in written.items())


def changed(
    sandbox: BankSyncSandbox, account: dict[str, Any], how: Callable[[bytes], bytes], **rule: Any
) -> Any:
    """Let the pages of an account come changed."""
    fault = Fault("changed", reshape=lambda answer: replace(answer, body=how(answer.body)))
    return sandbox.faults.add(fault, path=f"/v1/banks/*/accounts/{account['id']}/transactions", **rule)


def last_of_another(body: bytes) -> bytes:
    """The first row of a page is not what it was, the last one somebody else's."""
    before, mark, rest = body.rpartition(b'"accountId":"')
    return before.replace(b'"description":"', b'"description":"New: ', 1) + mark + b"else" + rest


@pytest.mark.parametrize("file_format", FORMATS)
def test_of_a_page_that_is_refused_nothing_is_written(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, file_format: str
) -> None:
    pieces = {**MONTH, "file_format": file_format, "max_rows_per_file": 3}
    task.run(**pieces)
    *_, account = family()[0]
    before = {path: body for path, body in tree(tmp_path).items() if account["id"] in path}
    assert len(before) > 2
    changed(banksync_sandbox, account, last_of_another)
    task.run_id = "another"
    with pytest.raises(AirflowException, match="cannot be attributed"):
        task.run(**pieces)
    after = {path: body for path, body in tree(tmp_path).items() if account["id"] in path}
    assert after == before, "what an earlier run has of it stays"


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_page_that_is_not_utf8_is_asked_for_again(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, file_format: str
) -> None:
    *_, account = family()[0]
    rule = changed(
        banksync_sandbox, account, lambda body: body.replace(b'"date":"', b'"date":"\xff', 1), times=1
    )
    task.run(**MONTH, file_format=file_format)
    assert rule.hits == 1


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_key_that_is_sent_back_in_a_row_is_hidden(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, file_format: str
) -> None:
    *_, account = family()[0]
    key = banksync_sandbox.api_key.encode()
    changed(banksync_sandbox, account, lambda body: body.replace(account["id"].encode(), key))
    with pytest.raises(AirflowException, match=r"accountId '\*\*\*'") as caught:
        task.run(**MONTH, file_format=file_format)
    assert banksync_sandbox.api_key not in str(caught.value)
    assert not any(key in body for body in tree(tmp_path).values())


@pytest.mark.parametrize("zeros", ["12.50", "-0.0000000000000000001", "12345678901234567890.123456789"])
def test_numbers_keep_every_digit(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, zeros: str
) -> None:
    banksync_sandbox.faults.add(
        Fault.edited(amount=Decimal(zeros)), path="/v1/banks/*/accounts/*/transactions"
    )
    task.run(**MONTH)
    rows = [row for rows in rows_of(tmp_path).values() for row in rows]
    assert {str(row["amount"]) for row in rows} == {str(Decimal(zeros))}


def test_events_of_asset_outlets_carry_the_summary(task: Task) -> None:
    lake, no_asset = Asset("file:///lake"), SimpleNamespace(namespace="lake", name="transactions")
    event = SimpleNamespace(extra={})
    task.outlet_events = type(
        "Events", (), {"__getitem__": lambda _, outlet: {lake.uri: event}[outlet.uri]}
    )()
    assert task.run(outlets=[no_asset, lake], **MONTH) == event.extra


@pytest.mark.parametrize("some", ["one account", "all but a broken bank"])
def test_what_the_family_takes_over_of_one_workspace_stays(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, some: str
) -> None:
    expected = truth(**MONTH)
    workspace, bank, account = family()[-1]
    task.run(scope="self", workspace_id=workspace, **MONTH)
    if some == "one account":
        arguments: dict[str, Any] = {"account_ids": [account["id"]]}
        expected = {key: rows for key, rows in expected.items() if key[0] == workspace}
    else:
        arguments = {"on_unavailable": "report"}
        banksync_sandbox.break_bank(bank["id"])
    summary = task.run(**arguments, **MONTH)
    assert exported(tmp_path) == without_empty(expected)
    files = manifest_of(summary)["files"]
    assert {f"resource=transactions/{file['path']}" for file in files} == set(rows_of(tmp_path))
    assert {file["portal"] for file in files if file["workspace_id"] == workspace} == {
        dict(banksync_sandbox.portals)[workspace]
    }


@pytest.mark.parametrize("arguments", [MONTH, {"incremental": True}], ids=["window", "batch"])
def test_two_families_do_not_share_a_destination(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    task.run(**arguments)
    before = tree(tmp_path)
    with BankSyncSandbox(portals=2, seed=99, time_scale=0) as other:
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", other.connection_uri)
        with pytest.raises(
            AirflowFailException, match=r"holds an export of workspace .* another destination"
        ):
            task.run(banksync_conn_id="other", **arguments)
    assert tree(tmp_path) == before


# --- what is unavailable, and what another try does ---


def test_a_bank_that_wants_a_sign_in_costs_nobody_else(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    expected = truth(**MONTH)
    workspace, bank, _ = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    lost = {(owner, account["id"]) for owner, of, account in family() if of["id"] == bank["id"]}
    with pytest.raises(AirflowFailException) as caught:
        task.run(**MONTH)
    name = dict(banksync_sandbox.portals)[workspace]
    assert f"client '{name}', bank '{bank['name']}'" in str(caught.value)
    assert "sign in again" in str(caught.value)
    others = {key: rows for key, rows in expected.items() if key not in lost}
    assert exported(tmp_path) == without_empty(others)
    (path,) = tmp_path.rglob("_manifest.json")
    manifest = manifest_of({"manifest": str(path)})
    assert {
        (each["workspace_id"], each["account_id"], each["reason"]) for each in manifest["unavailable"]
    } == {(*key, "sign_in") for key in lost}

    banksync_sandbox.mend_bank(bank["id"])
    before = len(banksync_sandbox.requests)
    task.run(**MONTH)
    assert read_accounts(banksync_sandbox, before) == {account: 1 for _, account in lost}, (
        "only what was missing"
    )
    assert exported(tmp_path) == without_empty(expected)
    assert not list(tmp_path.rglob("_progress"))


def test_reported_it_lets_the_task_succeed(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    workspace, bank, account = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    summary = task.run(on_unavailable="report", **MONTH)
    (entry, *_) = [each for each in summary["unavailable"] if each["account_id"] == account["id"]]
    assert (entry["workspace_id"], entry["bank"], entry["reason"]) == (workspace, bank["name"], "sign_in")
    assert "sign in" in entry["message"]
    assert summary["unavailable"] == manifest_of(summary)["unavailable"]


def test_what_an_earlier_run_has_of_the_unavailable_is_kept(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    task.run(**MONTH)
    before = exported(tmp_path)
    *_, bank, account = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    summary = task.run(on_unavailable="report", **MONTH)
    assert summary["unavailable"]
    assert exported(tmp_path) == before
    kept = [entry for entry in manifest_of(summary)["accounts"] if entry.get("carried_over")]
    assert account["id"] in {entry["account_id"] for entry in kept}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault.status(404), "not_found"), (Fault.status(403), "forbidden"), (Fault.status(400), "refused")],
)
def test_other_reasons(
    banksync_sandbox: BankSyncSandbox,
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
    fault: Any,
    reason: str,
) -> None:
    monkeypatch.setattr(retry_policy, "NOT_FOUND_GRACE", 0.2)
    portal, _ = banksync_sandbox.portals[0]
    banksync_sandbox.faults.add(fault, path="/v1/banks/**", workspace_id=portal)
    summary = task.run(on_unavailable="report", **MONTH)
    assert {(each["workspace_id"], each["reason"]) for each in summary["unavailable"]} == {(portal, reason)}
    assert {each["account_id"] for each in summary["unavailable"]} == {None}, (
        "its banks could not even be listed"
    )


@pytest.mark.parametrize("on_unavailable", ["fail", "report"])
def test_what_another_try_may_cure_fails_so_that_there_is_one(
    banksync_sandbox: BankSyncSandbox,
    task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_unavailable: str,
) -> None:
    task.max_tries = 1
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", f"{banksync_sandbox.connection_uri}&max_retries=0")
    expected = truth(**MONTH)
    *_, account = family()[2]
    rule = banksync_sandbox.faults.add(
        Fault.status(500, body="html"), path=f"/v1/banks/*/accounts/{account['id']}/transactions"
    )
    with pytest.raises(
        AirflowException, match=r"1 of the accounts or banks could not be read\. Everything else is exported"
    ) as caught:
        task.run(on_unavailable=on_unavailable, **MONTH)
    assert not isinstance(caught.value, AirflowFailException)
    assert rule.hits == 2, "once more at the end"
    banksync_sandbox.faults.clear()
    before = len(banksync_sandbox.requests)
    task.try_number = 2
    task.run(on_unavailable=on_unavailable, **MONTH)
    assert read_accounts(banksync_sandbox, before) == {account["id"]: 1}
    assert exported(tmp_path) == without_empty(expected)


def test_what_somebody_removed_between_two_tries_is_read_again(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    *_, bank, _ = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    with pytest.raises(AirflowFailException):
        task.run(**MONTH)
    banksync_sandbox.mend_bank(bank["id"])
    gone, cut, *_ = rows_of(tmp_path)
    (tmp_path / gone).unlink()
    (tmp_path / cut).write_bytes(b"{")
    task.run(**MONTH)
    assert exported(tmp_path) == without_empty(truth(**MONTH))


def test_of_a_bank_that_cannot_be_listed_any_more_what_is_done_stays(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    workspace, bank, account = family()[0]
    expected = truth(**MONTH)
    banksync_sandbox.faults.add(Fault.status(401), path="/v1/banks/*/accounts/*/transactions", nth=30)
    with pytest.raises(AirflowFailException, match="401"):
        task.run(concurrency=1, **MONTH)
    banksync_sandbox.faults.clear()
    banksync_sandbox.faults.add(Fault.status(403), path=f"/v1/banks/{bank['id']}/accounts")
    summary = task.run(on_unavailable="report", **MONTH)
    assert [(each["bank_id"], each["account_id"]) for each in summary["unavailable"]] == [(bank["id"], None)]
    assert exported(tmp_path)[workspace, account["id"]] == expected[workspace, account["id"]]
    banksync_sandbox.faults.clear()
    assert task.run(**MONTH)["unavailable"] == []
    assert exported(tmp_path) == without_empty(expected)


def test_the_manifest_remembers_who_is_unavailable_of_those_that_were_not_asked_for(
    banksync_sandbox: BankSyncSandbox, task: Task
) -> None:
    (other, *_), *_, (workspace, bank, _) = family()
    assert other != workspace
    banksync_sandbox.break_bank(bank["id"])
    broken = task.run(on_unavailable="report", workspace_ids=[workspace], **MONTH)["unavailable"]
    assert broken
    for some in ({"workspace_ids": [other]}, {"where": {"id": family()[0][2]["id"]}}):
        assert task.run(**some, **MONTH)["unavailable"] == broken
    banksync_sandbox.mend_bank(bank["id"])
    assert task.run(workspace_ids=[workspace], **MONTH)["unavailable"] == []


def test_an_api_that_is_down_leaves_the_manifest_and_its_files(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", f"{banksync_sandbox.connection_uri}&max_retries=0")
    task.run(**MONTH)
    before = tree(tmp_path)
    banksync_sandbox.faults.add(Fault.status(500), path="/v1/banks/*/accounts/*/transactions")
    with pytest.raises((AirflowException, BankSyncServerError)):
        task.run(**MONTH)
    files = {path: body for path, body in before.items() if "part-" in path}
    left = tree(tmp_path)
    assert {path: body for path, body in left.items() if "part-" in path} == files
    (manifest,) = (json.loads(body) for path, body in left.items() if path.endswith("_manifest.json"))
    assert {f"resource=transactions/{file['path']}" for file in manifest["files"]} == set(files)


def test_an_api_that_is_down_is_not_asked_for_every_account(
    banksync_sandbox: BankSyncSandbox, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", f"{banksync_sandbox.connection_uri}&max_retries=0")
    accounts = len(family())
    rule = banksync_sandbox.faults.add(
        Fault.status(502, body="html"), path="/v1/banks/*/accounts/*/transactions"
    )
    with pytest.raises(Exception, match="502"):
        task.run(concurrency=2, **MONTH)
    assert 10 <= rule.hits <= 12 < accounts


def test_a_key_that_is_withdrawn_ends_it_at_once(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    task.run(**MONTH)
    rule = banksync_sandbox.faults.add(Fault.status(401), path="/v1/banks/*/accounts/*/transactions")
    with pytest.raises(AirflowFailException, match="401"):
        task.run(concurrency=2, **MONTH)
    assert rule.hits <= 3


@pytest.mark.parametrize("path", ["/v1/banks/*/accounts", "/v1/banks/*/accounts/*/transactions"])
def test_a_task_that_is_killed_gives_the_lock_back(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, path: str
) -> None:
    expected = truth(**MONTH)
    rule = banksync_sandbox.faults.add(Fault.latency(30), path=path, nth=5)

    def kill() -> None:
        while not rule.hits:
            time.sleep(0.01)
        assert task.operator is not None
        task.operator.on_kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(
        AirflowException, match=r"The task was killed\. The next try reads only the remaining accounts\."
    ) as caught:
        task.run(concurrency=1, **MONTH)
    killer.join()
    assert not isinstance(caught.value, AirflowFailException)
    assert not [name for name in tree(tmp_path) if "_lock" in name or "_tmp" in name]
    banksync_sandbox.faults.clear()
    task.run_id = "another"
    task.run(**MONTH)
    assert exported(tmp_path) == without_empty(expected)
    assert task.operator is not None
    task.operator.on_kill()  # nothing is under way


def test_another_run_reads_all_anew(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    *_, bank, _ = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    with pytest.raises(AirflowFailException):
        task.run(**MONTH)
    before = len(banksync_sandbox.requests)
    task.run_id = "another"
    with pytest.raises(AirflowFailException):
        task.run(**MONTH)
    assert len(read_accounts(banksync_sandbox, before)) == len(family())


@pytest.mark.parametrize(
    "changed", [{"file_format": "csv"}, {"max_rows_per_file": 3}, {"compression": "gzip"}]
)
def test_a_try_with_other_settings_takes_up_nothing(
    banksync_sandbox: BankSyncSandbox, task: Task, changed: dict[str, Any]
) -> None:
    *_, bank, _ = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    with pytest.raises(AirflowFailException):
        task.run(**MONTH)
    before = len(banksync_sandbox.requests)
    with pytest.raises(AirflowFailException):
        task.run(**MONTH, **changed)
    assert len(read_accounts(banksync_sandbox, before)) == len(family())


# --- batches ---


@pytest.fixture
def batches(task: Task) -> Any:
    """Run one batch after the other, each of a DAG run of its own."""
    numbers = itertools.count(1)
    task.arguments["incremental"] = True

    def run(run_after: datetime | None = None, **arguments: Any) -> dict[str, Any]:
        number = next(numbers)
        task.run_id = f"run {number}"
        task.run_after = run_after or datetime(2026, 3, 3, number, tzinfo=timezone.utc)
        return task.run(**arguments)

    return run


def test_each_batch_brings_what_is_new(
    banksync_sandbox: BankSyncSandbox, batches: Any, task: Task, tmp_path: Path
) -> None:
    first = batches()
    assert first["rows"] == sum(map(len, truth().values())) > 0
    assert batches()["rows"] == 0
    *_, account = family()[4]
    banksync_sandbox.add_transaction(account["id"], "-12.50", "Tea")
    third = batches()
    assert third["rows"] == 1
    ((_, rows),) = {key: rows for key, rows in rows_of(tmp_path).items() if "T030000" in key}.items()
    assert (rows[0]["description"], rows[0]["accountId"]) == ("Tea", account["id"])
    ids = [row["id"] for rows in exported(tmp_path).values() for row in rows]
    assert len(ids) == len(set(ids)) == first["rows"] + 1


@pytest.mark.banksync_sandbox(banks="documented")
def test_a_pending_row_that_settles_comes_again_with_both_ids(
    banksync_sandbox: BankSyncSandbox, batches: Any, tmp_path: Path
) -> None:
    batches()
    *_, account = family()[0]
    banksync_sandbox.add_transaction(account["id"], "-12.50", "Tea", settles_after=3600)
    batches()
    banksync_sandbox.clock.advance(7200)
    batches()
    teas = [row for rows in exported(tmp_path).values() for row in rows if row["description"] == "Tea"]
    pending, settled = teas
    assert (pending["pending"], settled["pending"]) == (True, False)
    assert settled["pendingTransactionId"] == pending["id"] != settled["id"]


def test_a_new_account_begins_at_from_date(batches: Any, tmp_path: Path) -> None:
    batches(from_date="2026-02-20")
    dates = {row["date"] for rows in exported(tmp_path).values() for row in rows}
    assert min(dates) >= "2026-02-20"
    assert exported(tmp_path) == without_empty(truth(from_date="2026-02-20"))


def test_a_batch_that_is_complete_does_not_change(
    banksync_sandbox: BankSyncSandbox, batches: Any, task: Task, tmp_path: Path
) -> None:
    batches()
    before = tree(tmp_path)
    banksync_sandbox.add_transaction(family()[0][2]["id"], "-12.50", "Tea")
    asked = len(banksync_sandbox.requests)
    task.run()
    assert tree(tmp_path) == before
    assert {record.path for record in banksync_sandbox.requests[asked:]} == {"/v1/whoami"}


def test_an_older_run_that_comes_late_has_nothing_to_do(batches: Any, tmp_path: Path) -> None:
    late = datetime(2026, 3, 2, tzinfo=timezone.utc)
    summary = batches()
    before = tree(tmp_path)
    assert batches(run_after=late)["manifest"] == summary["manifest"]
    assert tree(tmp_path) == before


def test_an_account_that_was_unavailable_goes_on_where_it_was(
    banksync_sandbox: BankSyncSandbox, batches: Any, task: Task, tmp_path: Path
) -> None:
    batches()
    *_, bank, account = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    banksync_sandbox.add_transaction(account["id"], "-1.00", "Missed")
    summary = batches(on_unavailable="report")
    assert (summary["rows"], {each["bank_id"] for each in summary["unavailable"]}) == (0, {bank["id"]})
    banksync_sandbox.mend_bank(bank["id"])
    # The same run again fetches what was missing; and the next finds it done.
    assert task.run()["rows"] == 1
    assert batches()["rows"] == 0
    teas = [row for rows in exported(tmp_path).values() for row in rows if row["description"] == "Missed"]
    assert len(teas) == 1


def test_or_with_the_batch_after(banksync_sandbox: BankSyncSandbox, batches: Any) -> None:
    batches()
    *_, bank, account = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    banksync_sandbox.add_transaction(account["id"], "-1.00", "Missed")
    for _ in range(2):
        with pytest.raises(AirflowFailException):
            batches()
    banksync_sandbox.mend_bank(bank["id"])
    assert batches()["rows"] == 1


def test_what_a_batch_wrote_that_was_never_committed_is_removed(
    banksync_sandbox: BankSyncSandbox, batches: Any, tmp_path: Path
) -> None:
    batches()
    banksync_sandbox.add_transaction(family()[0][2]["id"], "-12.50", "Tea")
    banksync_sandbox.faults.add(Fault.status(401), path="/v1/banks/*/accounts/*/transactions", nth=12)
    with pytest.raises(AirflowFailException, match="401"):
        batches(concurrency=1)
    banksync_sandbox.faults.clear()
    assert batches()["rows"] == 1
    teas = [row for rows in exported(tmp_path).values() for row in rows if row["description"] == "Tea"]
    assert len(teas) == 1
    assert len(list(tmp_path.rglob("batch=*T020000*"))) == 0


@pytest.mark.parametrize("first", [True, False], ids=["the first", "a later"])
def test_even_before_it_was_done_with_one_account(
    banksync_sandbox: BankSyncSandbox, batches: Any, tmp_path: Path, first: bool
) -> None:
    if not first:
        batches()
    for *_, account in family():
        for _ in range(45):
            banksync_sandbox.add_transaction(account["id"], -100, "Tea")
    banksync_sandbox.faults.add(Fault.status(401), path="/v1/banks/*/accounts/*/transactions", nth=3)
    with pytest.raises(AirflowFailException, match="401"):
        batches(concurrency=1, max_rows_per_file=7)
    banksync_sandbox.faults.clear()
    assert [path for path in tree(tmp_path) if "Tea" in tree(tmp_path)[path].decode()]
    batches()
    teas = [row for rows in exported(tmp_path).values() for row in rows if row["description"] == "Tea"]
    assert len(teas) == 45 * len(family())


def test_a_full_refresh_reads_all_again(batches: Any) -> None:
    first = batches()
    assert batches(full_refresh="true")["rows"] == first["rows"]
    assert batches(full_refresh="False")["rows"] == 0


def test_a_cursor_that_the_api_does_not_know(
    banksync_sandbox: BankSyncSandbox, batches: Any, tmp_path: Path
) -> None:
    summary = batches()
    path = Path(summary["manifest"].removeprefix("file://"))

    def change(manifest: dict[str, Any]) -> dict[str, Any]:
        manifest["accounts"][0]["cursor"] = "nonsense"
        return manifest

    edit_manifest(path, change)
    with pytest.raises(AirflowFailException, match="full_refresh=True"):
        batches()
    assert len(read_accounts(banksync_sandbox)) == len(family())
