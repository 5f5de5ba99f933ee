"""The lake example on a real Airflow: its files, its XComs, and the event of its asset."""

from __future__ import annotations

import gzip
import json
from html import escape
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.compat import AIRFLOW
from tests.leaks import files_with
from tests.support.export_task import rows_of, tree
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.dags.conftest import RunDag
    from tests.support.smtp_server import SmtpServer

EXPORTS = {"transactions", "new_transactions", "balances"}
EVENT = """
import json
from airflow.utils.session import create_session
from airflow.models.asset import AssetEvent
with create_session() as session:
    events = session.query(AssetEvent).filter_by(source_dag_id="banksync_lake")
    event = events.order_by(AssetEvent.id.desc()).first()
    print("EVENT", json.dumps(event.extra))
"""


@pytest.mark.skipif(
    AIRFLOW == (3, 0), reason="the dag.test() of Airflow 3.0 takes the outlets of a new DAG for inactive"
)
@pytest.mark.banksync_sandbox(portals=4)
def test_the_lake(
    banksync_sandbox: BankSyncSandbox, run_dag: RunDag, mail_server: SmtpServer, tmp_path: Path
) -> None:
    portal, name = banksync_sandbox.portals[-1]
    (bank, *_) = [bank for bank in banks() if bank["workspaceId"] == portal]
    banksync_sandbox.break_bank(bank["id"])
    run = run_dag("banksync_lake.py")
    states = {task["task_id"]: task["state"] for task in run["tasks"]}
    assert states.pop("everything_exported") == "failed", (
        "a person must see the bank that needs a new sign-in"
    )
    assert (run["state"], set(states.values())) == ("failed", {"success"}), run["log"][-20000:]
    results = {task["task_id"]: task["result"] for task in run["tasks"] if task["task_id"] in EXPORTS}
    assert set(results) == EXPORTS
    (clients,) = [task["result"] for task in run["tasks"] if task["task_id"] == "clients_to_call"]
    assert {tuple(line.split(": ")[:2]) for line in clients} == {(name, bank["name"])}
    (mail,) = mail_server.texts()
    assert all(escape(line) in mail for line in clients)
    lake = tmp_path / "export"
    files = tree(lake)
    window = results["transactions"]
    assert window["rows"] == sum(len(rows) for path, rows in rows_of(lake).items() if "/window=" in path)
    batches = [body for path, body in files.items() if "/batch=" in path and path.endswith(".jsonl.gz")]
    new = results["new_transactions"]
    assert new["rows"] == sum(gzip.decompress(body).count(b"\n") for body in batches) > 0
    balances = [body for path, body in files.items() if path.endswith(".csv")]
    assert results["balances"]["rows"] == len(balances) > 0
    for result in results.values():
        assert {entry["bank_id"] for entry in result["unavailable"]} == {bank["id"]}
        assert {entry["portal"] for entry in result["unavailable"]} == {name}
        assert result["manifest"].removeprefix(f"{lake.as_uri()}/") in files
    if AIRFLOW >= (
        3,
    ):  # the dag.test() of Airflow 2 registers no event: tests/transfers has what it would be given
        assert event() == window
    assert files_with(banksync_sandbox.api_key) == []
    assert not any(banksync_sandbox.api_key.encode() in body for body in files.values())


def banks() -> list[dict[str, Any]]:
    from airflow_provider_banksync.hooks.banksync import BankSyncHook

    return BankSyncHook().list_banks("family")


def event() -> Any:
    """The extra of the newest event of the example's asset."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EVENT],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not done.returncode, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("EVENT "))
    return json.loads(line.removeprefix("EVENT "))


@pytest.mark.banksync_sandbox(portals=3)
def test_mapped_tasks(
    banksync_sandbox: BankSyncSandbox, run_dag: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(ROOT / "tests" / "dags" / "own"))
    run = run_dag("../tests/dags/own/exports_mapped.py")
    assert run["state"] == "success", run["log"][-20000:]
    portals = {portal for portal, _ in banksync_sandbox.portals}
    rows = {name: rows_of(tmp_path / "export" / name) for name in ("alone", "together", "banks")}
    for found in rows.values():
        assert {path.split("workspace_id=")[1].split("/")[0] for path in found} == portals
    count = {name: sum(map(len, found.values())) for name, found in rows.items()}
    assert count["alone"] == count["together"] > 0
    results = [task["result"] for task in run["tasks"] if task["task_id"] == "together"]
    assert max(result["rows"] for result in results) == count["together"]
