"""What an export has, and the API does not list any more: it stays, and a list that shrinks is refused."""

from __future__ import annotations

import json
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
