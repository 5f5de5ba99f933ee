"""A name that looks like a template arrives word for word, or not at all. Anybody may name a feed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.tasks.xcom import WITHHELD
from tests.support.paths import ROOT
from tests.support.sandbox_data import family_feed

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.dags.conftest import RunDag

SECRET = "hunter2-of-the-firm"
NAMES = ["{{ 7 * 6191 }}{% set a = var.value.firm_secret %}{{ a }}", "Plain"]


@pytest.mark.banksync_sandbox(portals=1, job_seconds=(0.2, 0.4))
def test_no_name_is_rendered(
    banksync_sandbox: BankSyncSandbox, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(ROOT / "tests" / "dags" / "own"))
    monkeypatch.setenv("AIRFLOW_VAR_FIRM_SECRET", SECRET)
    feed = family_feed(banksync_sandbox)
    hook = BankSyncHook(workspace_id=feed["workspaceId"])
    definition = {name: feed[name] for name in ("source", "dataType", "sourceConfig", "destinationConfig")}
    ids = [hook.create_feed({"name": name, **definition})["id"] for name in NAMES]
    run = run_dag("../tests/dags/own/templates.py", ids=ids, workspace_id=feed["workspaceId"])
    assert run["state"] == "success", run["log"][-6000:]

    def results(task_id: str) -> list[Any]:
        rows = [task for task in run["tasks"] if task["task_id"] == task_id]
        return [row["result"] for row in sorted(rows, key=lambda row: row["map_index"])]

    rows = [{"value": name} for name in NAMES]
    for way in ("plain", "output", "pulled"):
        assert results(way) == [rows], way
    assert results("expand") == rows
    assert results("group.shown") == NAMES
    assert [job["feedId"] for job in results("ours")] == ids
    assert {job["startDate"][:10] for job in results("ours")} == {"2026-01-01"}
    withheld = [WITHHELD, "Plain"]
    assert results("indirect") == withheld
    assert results("direct") == [[{"value": name}] for name in withheld]
    assert "Withheld 1 text from XCom: row 1, field value: '{{ 7 * 6191 }}" in run["log"]
    stored = str(run["tasks"])
    assert SECRET not in stored
    assert "43337" not in stored
