"""What the windows of one destination say about each other, and how far each was read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from tests.support.account_data import exported, family, truth, without_empty
from tests.support.export_task import Task, manifest_of, record_warnings, tree

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0)


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> Task:
    return Task(tmp_path, arguments={"resource": "transactions"})


def test_a_gap_between_windows_is_said(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings = record_warnings(monkeypatch)

    def said(first: str, last: str) -> list[str]:
        warnings.clear()
        task.run(from_date=first, to_date=last, account_ids=[family()[0][2]["id"]])
        return [warning for warning in warnings if "No window" in warning]

    assert said("2026-02-01", "2026-02-02") == []
    assert said("2026-02-03", "2026-02-03") == []
    (warning,) = said("2026-02-06", "2026-02-06")
    assert "has the days 2026-02-04 to 2026-02-05, which lie between" in warning
    assert "backfill" in warning
    assert said("2026-02-04", "2026-02-05") == []
    # A window that was never committed is none.
    (tmp_path / "resource=transactions/_manifests/window=2026-02-07_2026-02-07").mkdir()
    assert len(said("2026-02-08", "2026-02-08")) == 1


def test_a_damaged_file_of_an_account_that_is_not_read_is_refused(task: Task, tmp_path: Path) -> None:
    days = {"from_date": "2026-02-01", "to_date": "2026-03-02"}
    task.run(**days)
    one, other = ({"account_ids": [account["id"]]} for *_, account in family()[:2])
    (path,) = tmp_path.rglob(f"part-*{one['account_ids'][0]}*")
    path.write_bytes(path.read_bytes()[:-1])
    before = tree(tmp_path)
    with pytest.raises(AirflowFailException, match=rf"{path.name} cannot be kept, .*Restore"):
        task.run(**other, **days)
    assert tree(tmp_path) == before
    task.run(**one, **days)
    task.run(**other, **days)
    assert exported(tmp_path) == without_empty(truth(**days))


def test_the_manifest_of_a_window_says_how_far_and_for_what_it_was_read(
    banksync_sandbox: BankSyncSandbox, task: Task
) -> None:
    *_, account = family()[0]
    days = {"from_date": "2026-02-01", "to_date": "2026-03-02"}
    some = manifest_of(task.run(account_ids=[account["id"]], **days))
    (entry,) = some["accounts"]
    assert entry["read_at"]
    assert entry["cursor"]
    assert len(some["selections"]) == 1
    whole = manifest_of(task.run(**days))
    assert set(some["selections"]) < set(whole["selections"])
    assert json.dumps([{}, None, None, None]) in whole["selections"]
