"""An export while a bank, or all of BankSync, is broken."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, Asset

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import retry_policy
from airflow_provider_banksync.extract.accounts import AccountReader
from airflow_provider_banksync.extract.partition import Partition, Unavailable
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from tests.support.account_data import exported, family, read_accounts, truth, without_empty
from tests.support.export_task import Task, manifest_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0, page_size=100)
MONTH = {"from_date": "2026-02-01", "to_date": "2026-03-02"}


@pytest.fixture
def task(tmp_path: Path, banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> Task:
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", f"{banksync_sandbox.connection_uri}&max_retries=0")
    return Task(tmp_path, arguments={"resource": "transactions", **MONTH})


def break_accounts(sandbox: BankSyncSandbox, bank: dict[str, Any], fault: Fault | None = None) -> Any:
    return sandbox.faults.add(
        fault or Fault.status(502, body="html"), path=f"/v1/banks/{bank['id']}/accounts/**"
    )


def biggest_bank() -> tuple[dict[str, Any], set[str]]:
    banks: dict[str, tuple[dict[str, Any], set[str]]] = {}
    for _, bank, account in family():
        banks.setdefault(bank["id"], (bank, set()))[1].add(account["id"])
    return max(banks.values(), key=lambda entry: len(entry[1]))


def test_the_accounts_of_a_broken_bank_are_reported_and_the_others_exported(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    expected = truth(**MONTH)
    bank, accounts = biggest_bank()
    break_accounts(banksync_sandbox, bank)
    summary = task.run(on_unavailable="report")
    others = {key: rows for key, rows in expected.items() if key[1] not in accounts}
    assert exported(tmp_path) == without_empty(others)
    assert {each["account_id"] for each in summary["unavailable"]} == accounts
    assert manifest_of(summary)["unavailable"] == summary["unavailable"]
    assert summary["unavailable_count"] == len(accounts)
    assert summary["unavailable_reasons"] == {"failed": len(accounts)}


@pytest.mark.parametrize("on_unavailable", ["fail", "report"])
def test_a_try_that_is_not_the_last_fails_after_all_others_are_written(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, on_unavailable: str
) -> None:
    expected = truth(**MONTH)
    bank, accounts = biggest_bank()
    break_accounts(banksync_sandbox, bank)
    task.max_tries = 1
    with pytest.raises(AirflowException, match=f"could not be read.*\n.*bank '{bank['name']}'") as caught:
        task.run(on_unavailable=on_unavailable)
    assert not isinstance(caught.value, AirflowFailException)
    banksync_sandbox.faults.clear()
    before, task.try_number = len(banksync_sandbox.requests), 2
    assert task.run(on_unavailable=on_unavailable)["unavailable_count"] == 0
    assert set(read_accounts(banksync_sandbox, before)) == accounts
    assert exported(tmp_path) == without_empty(expected)


def test_all_that_is_left_may_be_broken(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    banks = {bank["id"]: bank for _, bank, _ in family()[:5]}.values()
    for bank in banks:
        break_accounts(banksync_sandbox, bank)
    count = task.run(on_unavailable="report")["unavailable_count"]
    assert len(banks) > 1
    assert task.run(on_unavailable="report")["unavailable_count"] == count


def test_a_bank_that_cannot_be_listed_costs_only_itself(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    expected = truth(**MONTH)
    bank, accounts = biggest_bank()
    rule = banksync_sandbox.faults.add(
        Fault.status(500, body="html"), path=f"/v1/banks/{bank['id']}/accounts"
    )
    summary = task.run(on_unavailable="report")
    assert rule.hits == 2
    assert [(each["bank_id"], each["reason"]) for each in summary["unavailable"]] == [(bank["id"], "failed")]
    assert set(exported(tmp_path)) == {
        key for key, rows in expected.items() if key[1] not in accounts and rows
    }


@pytest.mark.parametrize("path", ["/v1/banks/*/accounts", "/v1/banks/*/accounts/*/transactions"])
@pytest.mark.parametrize("fault", [Fault.status(500, body="html"), Fault.status(403, body="html")])
def test_an_api_that_is_down_fails_the_task_and_changes_no_file(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, path: str, fault: Any
) -> None:
    task.run()
    before = exported(tmp_path)
    banksync_sandbox.faults.add(fault, path=path)
    with pytest.raises(x.BankSyncError, match=r"BankSync may be down") as caught:
        task.run(on_unavailable="report")
    assert caught.value.transient
    assert exported(tmp_path) == before


def test_an_account_that_a_replica_does_not_know_at_first_is_read(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "NOT_FOUND_GRACE", 0.2)
    expected = truth(**MONTH)
    banksync_sandbox.faults.add(Fault.status(404), path="/v1/banks/*/accounts", times=2)
    banksync_sandbox.faults.add(Fault.status(404), path="/v1/banks/*/accounts/*/transactions", times=3)
    assert task.run()["unavailable"] == []
    assert exported(tmp_path) == without_empty(expected)


@pytest.mark.parametrize("on_unavailable", ["report", "fail"])
def test_an_account_that_allows_no_more_requests_costs_only_itself(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, on_unavailable: str
) -> None:
    expected = truth(**MONTH)
    workspace, bank, account = family()[4]
    path = f"/v1/banks/{bank['id']}/accounts/{account['id']}/**"
    banksync_sandbox.faults.add(Fault.rate_limited(43_200), path=path)
    task.max_tries, began = 3, time.monotonic()
    if on_unavailable == "fail":
        with pytest.raises(AirflowFailException, match=r"1 of the accounts or banks is unavailable.*\n.*429"):
            task.run(on_unavailable=on_unavailable)
    else:
        summary = task.run(on_unavailable=on_unavailable)
        (entry,) = summary["unavailable"]
        assert (entry["account_id"], entry["reason"]) == (account["id"], "rate_limited")
    assert time.monotonic() - began < 20
    del expected[workspace, account["id"]]
    assert exported(tmp_path) == without_empty(expected)


def test_the_summary_is_bounded_and_the_manifest_has_all(
    banksync_sandbox: BankSyncSandbox, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [
        Unavailable(Partition(f"w{number:04}", "P" * 1000, "b", "B"), "sign_in", "m" * 5000)
        for number in range(3010)
    ]
    read_all = AccountReader.read_all

    async def read_some(reader: AccountReader) -> list[Unavailable]:
        return [*await read_all(reader), *many]

    monkeypatch.setattr(AccountReader, "read_all", read_some)
    outlet = Asset("file:///lake")
    task.outlet_events = {outlet: SimpleNamespace(extra={})}
    task.arguments["outlets"] = [outlet]
    summary = task.run(on_unavailable="report")
    assert len(json.dumps(summary)) < 100_000
    assert [each["workspace_id"] for each in summary["unavailable"]] == [f"w{n:04}" for n in range(100)]
    assert summary["unavailable_count"] == 3010
    assert summary["unavailable_reasons"] == {"sign_in": 3010}
    assert task.outlet_events[outlet].extra == summary
    assert len(manifest_of(summary)["unavailable"]) == 3010
