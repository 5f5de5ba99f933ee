"""The example DAGs parse without a network, and run on a real Airflow."""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.compat import AIRFLOW
from tests.leaks import files_with
from tests.support.paths import ROOT
from tests.support.sandbox_data import family_feed, truth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.dags.conftest import RunDag
    from tests.support.smtp_server import SmtpServer

EXAMPLES = sorted(path.name for path in (ROOT / "example_dags").glob("*.py"))
EXPORTED = ("banks", "feeds", "integrations", "accounts")

# Opens no socket and reads no connection: an import that would, fails.
PARSE = """
import runpy, socket, sys
def refuse(*_): raise AssertionError("a DAG file opened a connection while it was parsed")
socket.socket.connect = socket.create_connection = refuse
for path in sys.argv[1:]:
    dag = runpy.run_path(path)["dag"]
    print("PARSED", dag.dag_id, *sorted(dag.task_dict))
"""


def test_every_example_is_tested() -> None:
    assert EXAMPLES == [
        "banksync_family.py",
        "banksync_family_sync.py",
        "banksync_lake.py",
        "banksync_ledger.py",
        "banksync_single_feed.py",
        "banksync_wait_with_sensor.py",
    ]


def test_they_parse_without_sandbox_and_network() -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_CONN_")}
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            PARSE,
            *(str(ROOT / "example_dags" / name) for name in EXAMPLES),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env=env,
        check=False,
    )
    parsed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("PARSED ")]
    assert parsed == [name.removesuffix(".py") for name in EXAMPLES], done.stderr


def states(run: dict[str, Any], task_id: str) -> list[str]:
    return [task["state"] for task in run["tasks"] if task["task_id"] == task_id]


def accounts(sandbox: BankSyncSandbox, workspace_id: str) -> list[dict[str, Any]]:
    banks = truth(sandbox, "/v1/banks", workspace_id)
    return [row for bank in banks for row in truth(sandbox, f"/v1/banks/{bank['id']}/accounts", workspace_id)]


def check_export(sandbox: BankSyncSandbox, export: Path) -> None:
    """Hold every row of every file against what the sandbox serves, client by client."""
    owners = {sandbox.workspace_id: None, **dict(sandbox.portals)}
    for resource in EXPORTED:
        folder = export / f"resource={resource}"
        manifest = json.loads((folder / "_manifest.json").read_bytes())
        listed = {file["path"]: file for file in manifest["files"]}
        on_disk = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert on_disk == set(listed) | {"_manifest.json"}
        for workspace_id, portal in owners.items():
            [path] = [each for each in listed if each.startswith(f"workspace_id={workspace_id}/")]
            if resource == "accounts":
                served = accounts(sandbox, workspace_id)
            else:
                served = truth(sandbox, f"/v1/{resource}", workspace_id)
            content = (folder / path).read_bytes()
            rows = [json.loads(line, parse_float=Decimal) for line in content.splitlines()]
            assert {row.pop("workspaceId") for row in rows} == {workspace_id}
            assert {(row.pop("portal") or {}).get("name") for row in rows} == {portal}
            for row in (*rows, *served) if resource == "accounts" else ():
                for moving in (
                    "balance",
                    "availableBalance",
                    "balanceAsOf",
                ):  # an hour passes in four seconds
                    row.pop(moving, None)
            assert rows == served
            file = listed.pop(path)
            assert (file["rows"], file["bytes"]) == (len(served), len(content))
            assert file["sha256"] == hashlib.sha256(content).hexdigest()
            assert (file["workspace_id"], file["portal"]) == (workspace_id, portal)
        assert listed == {}
        assert manifest["unavailable"] == []


def check_family(sandbox: BankSyncSandbox, run: dict[str, Any], export: Path) -> None:
    feeds = truth(sandbox, "/v1/feeds?scope=family")
    broken = {
        bank["id"]
        for bank in truth(sandbox, "/v1/banks?scope=family")
        if bank["connectionStatus"]["status"] != "connected"
    }
    assert len(broken) == 1
    doomed = {
        feed["id"]
        for feed in feeds
        if broken & {account["bankId"] for account in feed["sourceConfig"]["accounts"]}
    }
    jobs = {job["feedId"]: job for job in sandbox.jobs}
    assert len(sandbox.jobs) == len(jobs) == len(feeds), "each feed is synced, and once"
    assert {feed_id for feed_id, job in jobs.items() if job["status"] == "failed"} == doomed
    assert {job["status"] for job in jobs.values()} == {"completed", "failed"}
    trades = {feed["id"] for feed in feeds if feed["dataType"] == "trades"}
    assert {job["feedId"] for job in jobs.values() if job.get("startDate")} == trades

    synced = [*states(run, "sync"), *states(run, "sync_trades")]
    assert (synced.count("failed"), synced.count("success")) == (len(doomed), len(feeds) - len(doomed))
    known = {task["job_id"] for task in run["tasks"] if task["task_id"].startswith("sync")}
    assert known == {job["id"] for job in sandbox.jobs}, "the job's id is in XCom, whatever its end"
    for resource in EXPORTED:
        assert states(run, f"export_{resource}") == ["success"]
    (clients,) = [task["result"] for task in run["tasks"] if task["task_id"] == "clients_to_call"]
    assert clients == sorted(
        f"{feed['portal']['name']}: {feed['name']}" for feed in feeds if feed["id"] in doomed
    )
    assert states(run, "every_feed_synced") == ["upstream_failed"]
    assert run["state"] == "failed", "a client's failed sync must show"
    # Airflow 3.0 shows, in dag.test() alone, its own request to mask the key.
    lines = [line for line in run["log"].splitlines() if "msg=MaskSecret(" not in line]
    assert [line for line in lines if sandbox.api_key in line] == []
    assert files_with(sandbox.api_key) == [], (
        "XComs, rendered fields, serialized DAGs, triggers and logs are in there"
    )
    assert files_with(next(iter(jobs.values()))["id"]) != [], (
        "where the jobs' ids are found, a key would be, too"
    )
    check_export(sandbox, export)


@pytest.mark.banksync_sandbox(
    portals=2, time_scale=1000, broken_banks=1, row_error_share=0, banks="documented"
)
def test_the_family(banksync_sandbox: BankSyncSandbox, run_dag: RunDag, tmp_path: Path) -> None:
    run = run_dag("banksync_family.py")
    check_family(banksync_sandbox, run, tmp_path / "export")


@pytest.mark.slow
@pytest.mark.banksync_sandbox(
    portals=25, time_scale=1000, broken_banks=1, row_error_share=0, banks="documented"
)
def test_the_family_of_25_clients(banksync_sandbox: BankSyncSandbox, run_dag: RunDag, tmp_path: Path) -> None:
    run = run_dag("banksync_family.py", timeout=600)
    check_family(banksync_sandbox, run, tmp_path / "export")


def test_a_broken_bank_is_one_line_although_it_has_several_feeds() -> None:
    names = runpy.run_path(str(ROOT / "example_dags" / "banksync_family_sync.py"))
    tell = names["dag"].get_task("clients_to_call").python_callable
    rows = {
        feed: {"feed_name": f"Feed {feed}", "portal": portal, "error": error}
        for feed, portal, error in (
            ("a", "Falcon", "HSBC needs a sign-in"),
            ("b", "Falcon", "HSBC needs a sign-in"),
            ("c", "Falcon", "Notion is full"),
            ("d", None, "HSBC needs a sign-in"),
            ("e", "Fox", None),
        )
    }
    assert tell([rows, None], "") == [
        "Falcon: HSBC needs a sign-in (feeds: Feed a, Feed b)",
        "Falcon: Notion is full (feeds: Feed c)",
        "own workspace: HSBC needs a sign-in (feeds: Feed d)",
    ]


@pytest.mark.banksync_sandbox(portals=3, job_seconds=(0.2, 0.8), broken_banks=1, row_error_share=0)
def test_the_family_in_one_task(
    banksync_sandbox: BankSyncSandbox, run_dag: RunDag, mail_server: SmtpServer
) -> None:
    feeds = {row["id"]: row for row in truth(banksync_sandbox, "/v1/feeds?scope=family")}
    run = run_dag("banksync_family_sync.py")
    jobs = {job["feedId"]: job for job in banksync_sandbox.jobs}
    assert len(banksync_sandbox.jobs) == len(jobs) == len(feeds), "each feed is synced, and once"
    trades = {feed_id for feed_id, feed in feeds.items() if feed["dataType"] == "trades"}
    assert {feed_id for feed_id, job in jobs.items() if job.get("startDate")} == trades
    doomed = {feed_id for feed_id, job in jobs.items() if job["status"] == "failed"} - trades
    assert doomed
    assert (states(run, "sync"), states(run, "clients_to_call")) == (["failed"], ["success"])
    assert run["state"] == "failed", "a client's failed sync must show"
    results = {task["task_id"]: task["result"] for task in run["tasks"]}
    assert set(results["sync"]) == set(feeds) - trades, "there is a result although the task has failed"
    assert {feed_id for feed_id, row in results["sync"].items() if row["error"]} == doomed
    reasons = {(feeds[each]["portal"]["name"], results["sync"][each]["error"]) for each in doomed}
    assert len(results["clients_to_call"]) == len(reasons)
    for feed_id in doomed:
        portal, why = feeds[feed_id]["portal"]["name"], jobs[feed_id]["errors"][0]["message"]
        assert any(line.startswith(f"{portal}: ") and why in line for line in results["clients_to_call"])
        assert portal in run["log"]
        assert why in run["log"]
    (mail,) = mail_server.texts()
    assert all(escape(line) in mail for line in results["clients_to_call"])
    lines = [line for line in run["log"].splitlines() if "msg=MaskSecret(" not in line]
    assert [line for line in lines if banksync_sandbox.api_key in line] == []
    assert files_with(banksync_sandbox.api_key) == []


@pytest.mark.banksync_sandbox(portals=2, time_scale=1000, row_error_share=0)
def test_a_single_feed(banksync_sandbox: BankSyncSandbox, run_dag: RunDag) -> None:
    feed = family_feed(banksync_sandbox)
    run = run_dag("banksync_single_feed.py", feed_id=feed["id"], workspace_id=feed["workspaceId"])
    assert run["state"] == "success", run["log"][-4000:]
    (job,) = banksync_sandbox.jobs
    (report,) = [task["result"] for task in run["tasks"] if task["task_id"] == "report"]
    assert report == f"{job['transactionsWritten']} of {job['transactionsProcessed']} rows written"


@pytest.mark.banksync_sandbox(portals=2, time_scale=1000, row_error_share=0)
def test_a_wait_with_the_sensor(banksync_sandbox: BankSyncSandbox, run_dag: RunDag) -> None:
    feed = truth(banksync_sandbox, "/v1/feeds")[0]
    run = run_dag("banksync_wait_with_sensor.py", feed_name=feed["name"])
    assert run["state"] == "success", run["log"][-4000:]
    (waited,) = [task["result"] for task in run["tasks"] if task["task_id"] == "wait"]
    assert waited == banksync_sandbox.jobs[0]
    assert waited["status"] == "completed"


@pytest.fixture
def connection_in_database(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Move the connection from the environment into Airflow's database."""
    monkeypatch.delenv("AIRFLOW_CONN_BANKSYNC_DEFAULT")
    row = ("banksync_default", "banksync", banksync_sandbox.url, banksync_sandbox.api_key)
    with closing(sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db")) as database:
        database.execute(
            "INSERT INTO connection (conn_id, conn_type, host, password, is_encrypted, is_extra_encrypted)"
            " VALUES (?, ?, ?, ?, 0, 0)",
            row,
        )
        database.commit()
        yield
        database.execute("DELETE FROM connection WHERE conn_id = 'banksync_default'")
        database.commit()


@pytest.mark.banksync_sandbox(portals=1, time_scale=1000, row_error_share=0)
def test_a_single_feed_with_what_its_form_requires(
    banksync_sandbox: BankSyncSandbox, run_dag: RunDag, connection_in_database: None
) -> None:
    feed = truth(banksync_sandbox, "/v1/feeds")[0]
    run = run_dag("banksync_single_feed.py", feed_id=feed["id"])
    assert run["state"] == "success", run["log"][-4000:]
    (job,) = banksync_sandbox.jobs
    assert (job["feedId"], job["status"]) == (feed["id"], "completed")


# The tests above and the one of the lake do the same for the other examples.
@pytest.mark.parametrize(
    ("name", "param"),
    [("banksync_single_feed.py", "feed_id"), ("banksync_wait_with_sensor.py", "feed_name")],
)
@pytest.mark.banksync_sandbox(portals=1, time_scale=1000, row_error_share=0)
def test_a_broken_bank_ends_red_and_is_told(
    banksync_sandbox: BankSyncSandbox, run_dag: RunDag, mail_server: SmtpServer, name: str, param: str
) -> None:
    feed = truth(banksync_sandbox, "/v1/feeds")[0]
    for account in feed["sourceConfig"]["accounts"]:
        banksync_sandbox.break_bank(account["bankId"])
    run = run_dag(name, **{param: feed[param.removeprefix("feed_")]})
    assert run["state"] == "failed", run["log"][-4000:]
    (job,) = banksync_sandbox.jobs
    (mail,) = mail_server.texts()
    message = escape(job["errors"][0]["message"])
    # Workers pass the error to a callback in each version. The dag.test() of Airflow 3.0 and 3.1 does not.
    assert message in mail or ((3, 0) <= AIRFLOW < (3, 3) and "failed: see its log" in mail)


@pytest.mark.banksync_sandbox(portals=2, time_scale=1000)
def test_an_empty_feed_id_fails_with_its_name(banksync_sandbox: BankSyncSandbox, run_dag: RunDag) -> None:
    run = run_dag("banksync_single_feed.py")
    assert states(run, "sync") == ["failed"]
    assert "feed_id is ''" in run["log"]
    assert banksync_sandbox.jobs == []
