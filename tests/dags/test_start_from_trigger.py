"""Sensors without a worker: a real scheduler, executor and triggerer, and a pool without slots."""

from __future__ import annotations

import io
import json
import os
import socket
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.compat import AIRFLOW
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.sandbox import Fault
from demo import settings
from demo.console import Console
from demo.folders import create_folders
from demo.processes import Components
from tests.support.sandbox_data import truth

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.slow

DAG_FILE = Path(__file__).parent / "own" / "no_worker.py"
#: Airflow 2 has the DAG processor in the scheduler, and its tasks read the database themselves. In Airflow 3 a task
#: that is started before the API server listens has failed.
COMPONENTS = {
    **({"api-server": ("api-server",), "dag-processor": ("dag-processor",)} if AIRFLOW >= (3,) else {}),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
TIMEOUT = 150


class Airflow:
    """A separate Airflow, whose database the test reads."""

    def __init__(self, folder: Path, sandbox: BankSyncSandbox, dag: str, **variables: str) -> None:
        self.places = create_folders(folder)
        dags = self.places.root / "dags"
        dags.mkdir()
        (dags / "dag.py").write_text(dag)
        self.port = settings.free_port()
        self.env = settings.environment(
            self.places, connection_uri=sandbox.connection_uri, port=self.port, dags_folder=dags
        )
        self.env["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] = "False"
        self.env["AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE"] = "True"
        if AIRFLOW < (3,):
            self.env["AIRFLOW__CORE__EXECUTOR"] = "SequentialExecutor"
            del self.env["AIRFLOW__CORE__AUTH_MANAGER"]
            # that executor starts "airflow" by its name
            self.env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), self.env["PATH"]))
        self.env |= {f"AIRFLOW_VAR_{name.upper()}": value for name, value in variables.items()}

    def run(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Run the DAG once, and return its task instances."""
        with Components(self.env, self.places.logs, Console(io.StringIO())) as components:
            components.run("database", "db", "migrate", timeout=400)
            components.run("pools", "pools", "set", "no_slots", "0", "none", timeout=300)
            for name, arguments in COMPONENTS.items():
                components.start(name, *arguments)
                if name == "api-server":
                    self._wait(components, self.listens)
            self._wait(components, self.ended)
        return self.tasks()

    def _wait(self, components: Components, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < deadline, (self.tasks(), components.last_words("triggerer"))
            components.check()
            time.sleep(0.5)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def ended(self) -> bool:
        return [row["state"] for row in self._rows("dag_run")] in (["success"], ["failed"])

    def tasks(self) -> dict[tuple[str, int], dict[str, Any]]:
        return {(row["task_id"], row["map_index"]): row for row in self._rows("task_instance")}

    def log(self, task_id: str) -> str:
        found = self.places.airflow_home.glob(f"logs/**/task_id={task_id}/**/*.log*")
        return "\n".join(path.read_text() for path in sorted(found))

    def xcoms(self) -> dict[tuple[str, int, str], Any]:
        return {
            (row["task_id"], row["map_index"], row["key"]): json.loads(row["value"])
            for row in self._rows("xcom")
        }

    def _rows(self, table: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.places.airflow_home / "airflow.db", timeout=30)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(f"select * from {table}")]


def had_no_worker(task: dict[str, Any]) -> bool:
    """Tell whether a task was never queued for a worker, and no process ever ran it."""
    return not task["pid"] and not task["hostname"] and not task["queued_dttm"]


@pytest.mark.banksync_sandbox(portals=2, broken_banks=1, job_seconds=(2, 3), row_error_share=0)
def test_sensors_need_no_worker(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    feed = next(row for row in truth(banksync_sandbox, "/v1/feeds") if row["dataType"] == "transactions")
    banks = truth(banksync_sandbox, "/v1/banks?scope=family")
    broken = next(row for row in banks if row["connectionStatus"]["status"] != "connected")
    own = truth(banksync_sandbox, "/v1/banks")
    working = next(row for row in own if row["id"] != broken["id"])
    neighbours = truth(banksync_sandbox, "/v1/banks", broken["workspaceId"])
    second = next(row for row in neighbours if row["id"] != broken["id"])
    path = f"/v1/banks/{second['id']}"
    banksync_sandbox.faults.add(Fault.redirect("https://elsewhere.example/"), path=path, times=1)
    dag = DAG_FILE.read_text()
    for name, value in {
        "@BANK@": working["id"],
        "@SECOND@": second["id"],
        "@FEED@": feed["id"],
        "@BROKEN@": broken["id"],
        "@CLIENT@": broken["workspaceId"],
    }.items():
        dag = dag.replace(name, value)
    BankSyncHook().trigger_sync(feed["id"])

    airflow = Airflow(tmp_path, banksync_sandbox, dag, feed_id=feed["id"])
    tasks = airflow.run()

    can = AIRFLOW < (3, 1) or AIRFLOW >= (3, 3)
    straight = {"bank", "literal"} | ({"synced", "today", "text"} if AIRFLOW >= (3, 3) else set())
    for task_id in straight:
        assert tasks[task_id, -1]["state"] == "success", airflow.log(task_id) + airflow.log("start")
        assert had_no_worker(tasks[task_id, -1]) is can, f"{task_id} had a worker"
    # After an error, a worker ends the task as Airflow always does.
    states = {task_id: tasks[task_id, -1]["state"] for task_id in ("gone", "soft", "late")}
    assert states == {"gone": "failed", "soft": "skipped", "late": "failed"}
    again = tasks["again", -1]
    assert (again["state"], again["try_number"]) == ("success", 2), "the retry helped"
    assert tasks["gone", -1]["try_number"] == 1, "a retry cannot help"
    assert "404, not found" in airflow.log("gone")
    assert "the wait timed out" in airflow.log("late")
    assert "must sign in to the bank again" in airflow.log("late")
    if AIRFLOW >= (3, 3):
        (job,) = [job for job in banksync_sandbox.jobs if job["id"] == airflow.xcoms()["start", -1, "job_id"]]
        for task_id, map_index in (("pulled", -1), ("by_worker", -1), ("mapped", 0)):
            assert tasks[task_id, map_index]["state"] == "success"
            assert airflow.xcoms()[task_id, map_index, "return_value"] == job
        assert airflow.xcoms()["read", -1, "return_value"] == f"{job['id']} completed"
        assert tasks["unknown", -1]["state"] == "failed"
        assert "nothing" in airflow.log("unknown")
    database = (airflow.places.airflow_home / "airflow.db").read_bytes()
    assert feed["id"].encode() in database
    assert banksync_sandbox.api_key.encode() not in database
