"""A broken bank, on a real Airflow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from airflow_provider_banksync.sandbox import Fault
from tests.support.export_task import rows_of
from tests.support.paths import ROOT
from tests.support.sandbox_data import truth

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.dags.conftest import RunDag


@pytest.mark.banksync_sandbox(portals=4)
def test_a_broken_bank_costs_only_its_own_rows(
    banksync_sandbox: BankSyncSandbox, run_dag: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", f"{banksync_sandbox.connection_uri}&max_retries=0")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(ROOT / "tests" / "dags" / "own"))
    signed_out, broken, *others = truth(banksync_sandbox, "/v1/banks?scope=family")
    banksync_sandbox.faults.add(Fault.status(503), path=f"/v1/banks/{signed_out['id']}/accounts")
    banksync_sandbox.faults.add(
        Fault.status(502, body="html"), path=f"/v1/banks/{broken['id']}/accounts/*/balances"
    )
    run = run_dag("../tests/dags/own/broken_bank.py")
    tasks = {task["task_id"]: task for task in run["tasks"]}
    states = {name: task["state"] for name, task in tasks.items()}
    assert states == {"accounts": "success", "left_out": "success", "report": "success", "fail": "failed"}

    left_out = tasks["left_out"]["result"]
    assert [entry["bank_id"] for entry in left_out["unavailable"]] == [signed_out["id"]]
    assert left_out["unavailable_reasons"] == {"sign_in": 1}
    summary = tasks["report"]["result"]
    unread = {entry["account_id"] for entry in summary["unavailable"]} - {None}
    assert {entry["bank_id"] for entry in summary["unavailable"]} == {signed_out["id"], broken["id"]}
    assert summary["unavailable_reasons"] == {"failed": len(unread), "sign_in": 1}
    listed = {row["id"] for row in tasks["accounts"]["result"]}
    for folder in ("report", "fail"):
        exported = {
            row["accountId"] for rows in rows_of(tmp_path / "export" / folder).values() for row in rows
        }
        assert exported == listed - unread, "nothing of the others is lost"
        (manifest,) = (tmp_path / "export" / folder).glob("*/_manifest.json")
        assert len(json.loads(manifest.read_bytes())["unavailable"]) == summary["unavailable_count"]
    assert f"bank '{broken['name']}'" in run["log"]
    assert others
