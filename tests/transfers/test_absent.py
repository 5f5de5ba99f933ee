"""What an export has, and the API does not list any more: it stays, and a list that shrinks is refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.tasks import export_task
from tests.support.export_task import Task, manifest_of, rows_of, tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0)

MONTH = {"from_date": "2026-02-01", "to_date": "2026-03-02"}


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> Task:
    return Task(tmp_path, arguments={"resource": "transactions"})


def files_of(folder: Path, workspace_id: str) -> dict[str, bytes]:
    """Return the data files of one workspace."""
    return {path: body for path, body in tree(folder).items() if f"workspace_id={workspace_id}/" in path}


def on_day(task: Task, day: int) -> Task:
    """Return the same task in a later DAG run."""
    begin = datetime(2026, 3, day, tzinfo=timezone.utc)
    return replace(task, run_id=f"run of {day}", interval=(begin, begin + timedelta(days=1)))


def empty_list() -> Fault:
    return Fault.answer(200, json.dumps({"success": True, "data": []}))


@pytest.mark.parametrize("incremental", [False, True])
def test_the_files_of_a_client_that_left_stay(
    banksync_sandbox: BankSyncSandbox,
    task: Task,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    incremental: bool,
) -> None:
    seconds = count()
    monkeypatch.setattr(export_task, "_now", lambda: f"2026-03-02T05:00:{next(seconds):02}+00:00")
    arguments: dict[str, Any] = {"incremental": True} if incremental else MONTH
    first = task.run(**arguments)
    assert first["gone"] == 0
    left, name = banksync_sandbox.portals[0]
    before = files_of(tmp_path, left)
    assert before
    banksync_sandbox.delete_portal(left)
    if incremental:
        task = on_day(task, 9)
    second = task.run(allow_shrink=True, **arguments)
    assert files_of(tmp_path, left) == before
    manifest = manifest_of(second)
    entries = manifest["carried_cursors"] if incremental else manifest["accounts"]
    gone = [entry for entry in entries if entry["workspace_id"] == left]
    assert {entry["gone"] for entry in gone} == {manifest["generated_at"]}
    assert second["gone"] == len(gone) > 0
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if "not listed any more" in line]
    assert repr(name) in warning

    if incremental:
        task = on_day(task, 10)
    third = task.run(**arguments)
    manifest = manifest_of(third)
    again = [
        entry
        for entry in (manifest["carried_cursors"] if incremental else manifest["accounts"])
        if entry["workspace_id"] == left
    ]
    assert [entry["gone"] for entry in again] == [entry["gone"] for entry in gone], (
        "since when, not that it is"
    )
    assert "not listed any more" not in capsys.readouterr().out, "said once"


def test_what_comes_back_is_no_longer_gone(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    task.run(**MONTH)
    banksync_sandbox.faults.add(empty_list(), path="/v1/banks", times=1)
    summary = task.run(allow_shrink=True, **MONTH)
    assert summary["gone"] == len(manifest_of(summary)["accounts"]) > 3
    assert task.run(**MONTH)["gone"] == 0


@pytest.mark.parametrize("resource", ["transactions", "banks", "accounts", "balances"])
def test_a_list_that_shrinks_is_refused(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, resource: str
) -> None:
    arguments: dict[str, Any] = {"resource": resource, **(MONTH if resource == "transactions" else {})}
    task.run(**arguments)
    before = tree(tmp_path)
    banksync_sandbox.faults.add(empty_list(), path="/v1/banks", times=1)
    with pytest.raises(
        AirflowException, match=r"the API lists 0 \w+, and the last export has \d+.*allow_shrink=True"
    ) as raised:
        task.run(**arguments)
    assert not isinstance(raised.value, AirflowFailException), "the next answer may be complete"
    assert tree(tmp_path) == before
    task.run(**arguments)
    assert rows_of(tmp_path)


def test_a_new_window_compares_with_another(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    task.run(from_date="2026-02-01", to_date="2026-02-01")
    banksync_sandbox.faults.add(empty_list(), path="/v1/banks", times=1)
    with pytest.raises(AirflowException, match="the API lists 0 accounts"):
        task.run(from_date="2026-02-02", to_date="2026-02-02")


def test_a_new_batch_compares_with_the_last(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    task.run(incremental=True)
    banksync_sandbox.faults.add(empty_list(), path="/v1/banks", times=1)
    later = on_day(task, 9)
    with pytest.raises(AirflowException, match="the API lists 0 accounts"):
        later.run(incremental=True)


def test_three_fewer_are_accepted(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    task = Task(tmp_path, arguments={"resource": "banks", "scope": "self"})
    summary = task.run()
    assert summary["rows"] <= 3
    banksync_sandbox.faults.add(empty_list(), path="/v1/banks", times=1)
    assert task.run()["gone"] == 1
    assert summary["rows"] == sum(map(len, rows_of(tmp_path).values()))


def test_a_client_without_matching_rows_is_not_gone(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    task = Task(tmp_path, arguments={"resource": "banks"})
    task.run()
    name = next(iter(rows_of(tmp_path).values()))[0]["name"]
    summary = task.run(where={"name": name}, allow_shrink="True")
    assert summary["gone"] == 0
    assert {row["name"] for rows in rows_of(tmp_path).values() for row in rows} == {name}


def keep_first(resource_workspace: str) -> Fault:
    """A family listing in which one workspace has only its first row."""

    def shorten(answer: Any) -> Any:
        envelope = json.loads(answer.body)
        own = [row for row in envelope["data"] if row["workspaceId"] == resource_workspace]
        envelope["data"] = [row for row in envelope["data"] if row not in own[1:]]
        return replace(answer, body=json.dumps(envelope).encode())

    return Fault("short for one workspace", reshape=shorten)


@pytest.mark.banksync_sandbox(portals=12, time_scale=0, seed=3)
def test_a_list_that_is_short_for_one_client_costs_only_this_client(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    """The list of all clients is short by less than a tenth."""
    task = Task(tmp_path, arguments={"resource": "feeds", "on_unavailable": "report"})
    task.run()
    rows = rows_of(tmp_path)
    path, before = max(rows.items(), key=lambda each: len(each[1]))
    assert 5 <= len(before) <= sum(map(len, rows.values())) / 8
    banksync_sandbox.faults.add(keep_first(before[0]["workspaceId"]), path="/v1/feeds")
    summary = task.run()
    assert rows_of(tmp_path)[path] == before
    (reported,) = summary["unavailable"]
    assert reported["workspace_id"] == before[0]["workspaceId"]
    assert f"lists 1 row of it, and the last export has {len(before)}" in reported["message"]
    assert "allow_shrink=True" in reported["message"]
    with pytest.raises(AirflowException, match="the API lists 1 row of it"):
        task.run(on_unavailable="fail")
    assert task.run(allow_shrink=True)["unavailable_count"] == 0
    assert len(next(found for found in rows_of(tmp_path).values() if before[0] in found)) == 1


@pytest.mark.banksync_sandbox(portals=12, time_scale=0, seed=3)
def test_a_bank_with_too_few_accounts_costs_only_this_bank(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    task = Task(tmp_path, arguments={"resource": "balances", "on_unavailable": "report"})
    first = task.run()
    accounts = Counter((file["workspace_id"], file["bank_id"]) for file in manifest_of(first)["files"])
    (workspace, bank), number = accounts.most_common(1)[0]
    assert number == 4
    assert number < sum(accounts.values()) / 10
    before = files_of(tmp_path, workspace)
    banksync_sandbox.faults.add(Fault.shortened(0), path=f"/v1/banks/{bank}/accounts")
    summary = task.run()
    ((found, reason),) = [(each["bank_id"], each["message"]) for each in summary["unavailable"]]
    assert found == bank
    assert "the API lists 0 accounts of it, and the last export has 4" in reason
    assert {path for path in files_of(tmp_path, workspace) if f"{bank}." in path} == {
        path for path in before if f"{bank}." in path
    }
    assert summary["gone"] == 0
    assert task.run(allow_shrink=True)["gone"] == 4


def test_a_bank_that_was_disconnected_is_gone(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    """The bank is not in the list of banks. So its accounts are no list that is short."""
    task = Task(tmp_path, arguments={"resource": "balances", "on_unavailable": "report"})
    accounts = Counter(file["bank_id"] for file in manifest_of(task.run())["files"])
    bank, number = next((bank, number) for bank, number in accounts.items() if number <= 3)
    banksync_sandbox.faults.add(without_bank(bank), path="/v1/banks")
    summary = task.run()
    assert (summary["gone"], summary["unavailable_count"]) == (number, 0)


def without_bank(bank: str) -> Fault:
    def drop(answer: Any) -> Any:
        envelope = json.loads(answer.body)
        envelope["data"] = [row for row in envelope["data"] if row["id"] != bank]
        return replace(answer, body=json.dumps(envelope).encode())

    return Fault("without a bank", reshape=drop)


@pytest.mark.banksync_sandbox(portals=12, time_scale=0, seed=3)
def test_another_filter_is_no_shorter_list(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    task = Task(tmp_path, arguments={"resource": "feeds"})
    task.run()
    rows = max(rows_of(tmp_path).values(), key=len)
    names = [row["name"] for found in rows_of(tmp_path).values() for row in found if row not in rows[1:]]
    summary = task.run(where={"name": names})
    assert summary["unavailable_count"] == 0
