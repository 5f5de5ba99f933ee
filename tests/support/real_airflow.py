"""A whole Airflow of our own, as the demo starts it, with DAGs to kill and ways to kill."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psutil

from demo import reaper
from demo.airflow_run import COMPONENTS, AirflowRun
from demo.console import Console
from demo.folders import create_folders
from demo.processes import Components
from demo.settings import Login, environment, free_port, write_passwords
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import Self

DAGS = ROOT / "tests" / "kill" / "dags"
SLOTS = 8


class RealAirflow:
    """API server, scheduler with LocalExecutor, DAG processor, triggerer; each a process, on SQLite.

    :param told: what the DAG file is told, in BANKSYNC_KILLS.
    :param connections: name and URI of each.
    """

    def __init__(self, base: Path, told: dict[str, Any], connections: dict[str, str]) -> None:
        self.places = create_folders(base)
        self.notes = self.places.root / "notes"
        self.notes.mkdir()
        self._login = Login()
        write_passwords(self.places, self._login)
        self._port = free_port()
        env = environment(
            self.places, connection_uri=next(iter(connections.values())), port=self._port, dags_folder=DAGS
        )
        env.update({f"AIRFLOW_CONN_{name.upper()}": uri for name, uri in connections.items()})
        env["BANKSYNC_KILLS"] = json.dumps({**told, "notes": str(self.notes)})
        # Soon, but a task tells of itself every 5 s, and on a slow machine later: it must not be found dead for that.
        for name, value in {
            "core__parallelism": SLOTS,
            "core__max_active_tasks_per_dag": 1000,
            "scheduler__task_instance_heartbeat_timeout": 30,
            "scheduler__task_instance_heartbeat_timeout_detection_interval": 2,
            "scheduler__scheduler_idle_sleep_time": 0.2,
            "triggerer__triggerer_health_check_threshold": 5,
            "triggerer__default_capacity": 1000,
        }.items():
            env[f"AIRFLOW__{name.upper()}"] = str(value)
        self._env = env
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        console = Console(io.StringIO())
        self.components = self._stack.enter_context(Components(self._env, self.places.logs, console))
        run = AirflowRun(self.components, console, f"http://127.0.0.1:{self._port}", self._login)
        self._stack.callback(run.api.close)
        self.api = run.api
        try:
            run.bring_up()
            dags = ("kills", "waits", "family_killed", "family_moved")
            wait_until(lambda: all(map(self.api.has_dag, dags)), 300, "the DAGs are parsed")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self._stack):
            self.components.check()

    def started(self) -> list[tuple[str, dict[str, Any]]]:
        """Give the new notes that tasks left, oldest first: name of the task, and its process."""
        found = []
        for file in sorted(self.notes.glob("*~*"), key=lambda file: file.name.rpartition("~")[2]):
            if file.suffix != ".new":
                found.append((file.name.split("~")[1], json.loads(file.read_text())))
                file.unlink()
        return found

    def tasks(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Give the state of all tasks of a run, by name."""
        return {task.task_id: task for task in self.api.tasks(dag_id, run_id)}

    def states(self, dag_id: str, run_id: str) -> dict[str, int]:
        """Count the tasks by state."""
        count: dict[str, int] = {}
        for task in self.api.tasks(dag_id, run_id):
            count[str(task.state)] = count.get(str(task.state), 0) + 1
        return count

    def mark_failed(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Do what the button in the UI does."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        self._send("PATCH", path, {"new_state": "failed"})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Do what the button in the UI does."""
        body = {"dag_run_id": run_id, "task_ids": [task_id], "dry_run": False, "only_failed": False}
        self._send("POST", f"/dags/{dag_id}/clearTaskInstances", body)

    def _send(self, method: str, path: str, body: dict[str, Any]) -> None:
        url = f"{self.api.base_url}/api/v2{path}"
        reply = self.api._session.request(method, url, json=body, timeout=300)
        assert reply.ok, reply.text

    @contextmanager
    def paused(self, component: str) -> Iterator[None]:
        """Stop all processes of a component for a while."""
        processes = reaper.members([self.components._running[component].pid])
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in processes:
                os.kill(pid, signal.SIGCONT)

    def task_logs(self) -> str:
        """Read the logs of all tasks and their triggers."""
        return "".join(path.read_text(errors="replace") for path in self.places.root.rglob("*.log"))

    def restart(self, component: str, number: signal.Signals) -> None:
        """End a component by a signal, and start it again."""
        self.stop(component, number)
        self.components.start(component, *COMPONENTS[component])

    def stop(self, component: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End a component by a signal."""
        process = self.components._running.pop(component)
        victims = reaper.members([process.pid]) if number == signal.SIGKILL else [process.pid]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        process.wait(300)
        wait_until(lambda: not reaper.members([process.pid]), 300, f"the old {component} is gone")


def kill(note: dict[str, Any], *, supervisor: bool) -> bool:
    """Kill a task's process, with its supervisor or without; False where it had ended by itself."""
    try:
        process = psutil.Process(note["pid"])
        # the number may have gone to another process since
        if process.create_time() > note["at"] or process.status() == psutil.STATUS_ZOMBIE:
            return False
        victims = (
            [process.parent(), process] if supervisor and process.ppid() == note["parent"] else [process]
        )
        for victim in victims:
            if victim is not None:
                victim.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def wait_until(condition: Callable[[], bool], timeout: float, what: str, *, pause: float = 0.5) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(pause)
