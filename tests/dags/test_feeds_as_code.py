"""Feeds as code on a real Airflow: templates, a template file, mapped tasks, every mode of waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.leaks import files_with
from tests.support.paths import ROOT
from tests.support.sandbox_data import family_feed, truth

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.dags.conftest import RunDag


@pytest.mark.banksync_sandbox(portals=2, job_seconds=(0.2, 0.4), row_error_share=0)
def test_a_feed_from_its_definition_to_its_deletion(
    banksync_sandbox: BankSyncSandbox, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(ROOT / "tests" / "dags" / "own"))
    feed = family_feed(banksync_sandbox)
    before = truth(banksync_sandbox, "/v1/feeds?scope=family")
    account = feed["sourceConfig"]["accounts"][0]
    run = run_dag(
        "../tests/dags/own/feeds_as_code.py",
        workspace_id=feed["workspaceId"],
        bank_id=account["bankId"],
        account_id=account["accountId"],
        icon="🦊",
        destination=feed["destinationConfig"],
    )
    assert run["state"] == "success", run["log"][-6000:]

    def results(task_id: str) -> list[Any]:
        rows = [task for task in run["tasks"] if task["task_id"] == task_id]
        return [row["result"] for row in sorted(rows, key=lambda row: row["map_index"])]

    (made,) = results("from_file")
    assert made["action"] == "created"
    assert made["feed"]["name"] == "From a file"
    assert (made["feed"]["icon"], made["feed"]["sourceConfig"]["accounts"]) == ("🦊", [account])
    assert made["feed"]["destinationConfig"] == feed["destinationConfig"]
    (same,) = results("same")
    assert (same["action"], same["feed_id"]) == ("unchanged", made["feed_id"])
    assert [(row["action"], row["feed"]["name"]) for row in results("mapped")] == [
        ("created", "A"),
        ("created", "accounts.json"),
    ]
    (named,) = results("not_files")
    assert (named["action"], named["feed"]["name"], named["changed"]) == (
        "updated",
        "accounts.json",
        ["icon"],
    )
    assert named["feed"]["icon"] == "icon.json"
    (job,) = banksync_sandbox.jobs
    for mode in ("poke", "reschedule", "deferrable", "straight", "single"):
        (waited,) = results(f"synced_{mode}")
        assert (waited["id"], waited["status"]) == (job["id"], "completed")
    assert [row["status"] for row in results("cancel")] == ["completed"]
    (bank,) = results("bank")
    assert bank["id"] == account["bankId"]
    assert [row["deleted"] for row in results("delete")] == [True, True, True]
    assert truth(banksync_sandbox, "/v1/feeds?scope=family") == before
    assert files_with(banksync_sandbox.api_key) == []
