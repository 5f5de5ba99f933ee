"""Starts Airflow, starts a run of the DAG and follows it. Each step has a timeout."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

from demo.airflow_rest import AirflowApi
from demo.errors import DemoError
from demo.progress import all_listed, count, exports, syncs

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.airflow_rest import TaskInstance
    from demo.console import Console
    from demo.processes import Components
    from demo.settings import Login

DAG_ID = "banksync_family"
DATABASE_TIMEOUT = 180.0
START_TIMEOUT = 240.0
PARSE_TIMEOUT = 240.0
RUN_TIMEOUT = 300.0
FEED_TIMEOUT = 5.0
POLL = 1.0
ENDED = frozenset({"success", "failed"})
# All logs are on this machine, where the API server finds them. So no log servers are needed.
COMPONENTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


@dataclass(frozen=True)
class FinishedRun:
    """A DAG run that has ended."""

    run_id: str
    state: str
    tasks: list[TaskInstance]
    peak_waiting: int


class AirflowRun:
    """One Airflow with one DAG run."""

    def __init__(self, components: Components, console: Console, base_url: str, login: Login) -> None:
        self.components = components
        self.console = console
        self.api = AirflowApi(base_url, login)

    def bring_up(self) -> None:
        """Create the metadata database, start all components and wait until they are healthy."""
        self.console.status("database", "creating")
        self.components.run("database", "db", "migrate", timeout=DATABASE_TIMEOUT)
        self.console.milestone("database", "SQLite, in a temporary Airflow home")
        self.console.status("components", f"starting: {', '.join(COMPONENTS)}")
        for name, arguments in COMPONENTS.items():
            self.components.start(name, *arguments)
        self._wait(self.api.sign_in, START_TIMEOUT, "The API server did not answer", "api-server")
        self.api.warm_up()
        self._wait(
            lambda: not self.api.not_ready(), START_TIMEOUT, "Not every component came up", "scheduler"
        )
        version = self.api.version()
        self.console.milestone("components up", f"Airflow {version}: {', '.join(COMPONENTS)}")

    def start(self) -> str:
        """Wait until Airflow has parsed the DAG, then start a run. Return the run's id."""
        self.console.status("DAG", f"waiting for {DAG_ID} to be parsed")
        self._wait(self._parsed, PARSE_TIMEOUT, f"The DAG {DAG_ID} was not parsed", "dag-processor")
        self.console.milestone("DAG parsed", DAG_ID)
        run_id = self.api.start_run(DAG_ID)
        self.console.milestone("run started", run_id)
        return run_id

    def follow(self, run_id: str, describe: Callable[[int], str]) -> FinishedRun:
        """Show the progress of the run until it ends."""
        started_at = time.monotonic()
        announced: set[str] = set()
        peak = 0
        while True:
            self.components.check()
            state = self.api.run_state(DAG_ID, run_id)
            tasks = self.api.tasks(
                DAG_ID, run_id
            )  # read after the state: the tasks of a finished run no longer change
            peak = max(peak, count(syncs(tasks)).waiting)
            self._show(tasks, announced, describe)
            if state in ENDED:
                return FinishedRun(run_id, state, tasks, peak)
            limit = RUN_TIMEOUT + FEED_TIMEOUT * len(syncs(tasks))
            if time.monotonic() - started_at > limit:
                raise DemoError(
                    f"The run did not end within {limit:.0f} s. Syncs: {count(syncs(tasks))}.",
                    self.components.log_tail("scheduler"),
                )
            time.sleep(POLL)

    def _show(self, tasks: list[TaskInstance], announced: set[str], describe: Callable[[int], str]) -> None:
        sync, export = count(syncs(tasks)), count(exports(tasks))
        if listed := all_listed(tasks):
            self._announce(announced, "feeds listed", describe(sync.total))
        if listed and sync.complete:
            self._announce(announced, "syncs ended", f"{sync.done} done, {sync.failed} failed")
        elif listed:
            self.console.status("syncs", str(sync))
        if export.complete:
            self._announce(announced, "exports ended", f"{export.done} done, {export.failed} failed")
        elif export.started:
            self.console.status(
                "exports", f"{export.in_worker} in a worker, {export.done} of {export.total} done"
            )

    def _announce(self, announced: set[str], label: str, text: str) -> None:
        if label not in announced:
            announced.add(label)
            self.console.milestone(label, text)

    def _parsed(self) -> bool:
        if self.api.has_dag(DAG_ID):
            return True
        if errors := [each for each in self.api.import_errors() if DAG_ID in each.partition(":")[0]]:
            raise DemoError(f"Airflow cannot import the DAG {DAG_ID}.", errors[0].splitlines())
        return False

    def _wait(self, condition: Callable[[], bool], timeout: float, problem: str, component: str) -> None:
        deadline = time.monotonic() + timeout
        while True:
            self.components.check()
            try:
                if condition():
                    return
            except requests.RequestException as error:
                raise DemoError(f"{problem}: {error}", self.components.log_tail(component)) from error
            if time.monotonic() > deadline:
                raise DemoError(f"{problem} within {timeout:.0f} s.", self.components.log_tail(component))
            time.sleep(POLL / 3)
