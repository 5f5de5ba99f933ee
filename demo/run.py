"""One run of the demo, from start to end."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import requests

from demo.airflow_run import DAG_ID, AirflowRun
from demo.errors import DemoError
from demo.family import BankSync
from demo.folders import DEFAULT_BASE, create_folders, short_path
from demo.outcome import check_syncs
from demo.processes import Components
from demo.settings import DAGS_FOLDER, Login, environment, free_port, worker_slots, write_passwords
from demo.summary import Summary, print_summary
from demo.table import plural
from demo.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

    from demo.airflow_run import FinishedRun
    from demo.console import Console
    from demo.family import Family
    from demo.folders import RunFolders

# BankSync's Pro plan. With the standard plan (100), the demo takes about a minute longer
REQUESTS_PER_MINUTE = 500
LOGS_SHOWN = 3
LOG_LINES = 12


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    portals: int = 12
    seed: int = 7
    output: Path = DEFAULT_BASE
    ui: bool = False


class Demo:
    """One run of the demo."""

    def __init__(self, console: Console, options: Options) -> None:
        self.console = console
        self.options = options
        self.login = Login()

    def run(self) -> int:
        """Run the demo. Return the exit status."""
        sandbox_class = check_prerequisites()
        folders = create_folders(self.options.output)
        say = self.console.line
        say(
            self.console.paint(
                "BankSync for Airflow: every client's feeds synced, every client's data exported", "bold"
            )
        )
        say("Sample data and a real Airflow. Nothing leaves this machine.")
        say(f"The files of this run are in {short_path(folders.root)}")
        say()
        with ExitStack() as stack:
            sandbox = self._start_sandbox(sandbox_class)
            stack.callback(sandbox.stop)
            bank_sync = stack.enter_context(closing(BankSync(sandbox.url, sandbox.api_key)))
            return self._with_sandbox(folders, sandbox, bank_sync)

    def _start_sandbox(self, sandbox_class: type[Any]) -> Any:
        options = self.options
        try:
            sandbox = sandbox_class(
                portals=options.portals,
                seed=options.seed,
                broken_banks=1,
                job_seconds=job_seconds(options.portals),
                rate_limit=REQUESTS_PER_MINUTE,
            )
            sandbox.start()
        except RuntimeError as error:  # the message of the sandbox says why
            raise DemoError(f"The sandbox cannot start: {error}") from error
        return sandbox

    def _with_sandbox(self, folders: RunFolders, sandbox: Any, bank_sync: BankSync) -> int:
        family = bank_sync.family()
        sandbox.clear_requests()  # count only Airflow's requests
        clients = plural(len(family.clients), "client")
        self.console.milestone("sandbox up", f"a BankSync API at {sandbox.url} with a firm and {clients}")
        port = free_port()
        write_passwords(folders, self.login)
        env = environment(folders, connection_uri=sandbox.connection_uri, port=port)
        with Components(env, folders.logs, self.console) as components:
            airflow = AirflowRun(components, self.console, f"http://127.0.0.1:{port}", self.login)
            with closing(airflow.api):
                try:
                    return self._with_airflow(folders, sandbox, bank_sync, family, airflow)
                except requests.RequestException as error:
                    raise DemoError(
                        f"Airflow's API server no longer answers: {error}",
                        components.log_tail("api-server"),
                    ) from error

    def _with_airflow(
        self, folders: RunFolders, sandbox: Any, bank_sync: BankSync, family: Family, airflow: AirflowRun
    ) -> int:
        airflow.bring_up()
        if self.options.ui:
            self._show_login(airflow)
        run_id = airflow.start()
        finished = airflow.follow(run_id, lambda feeds: _describe(family, feeds))
        answered = [record.status for record in sandbox.requests]
        summary = self._check(folders, bank_sync, family, airflow, finished, answered)
        print_summary(self.console, summary)
        if summary.problems:
            self._show_logs(airflow, finished, summary)
        self.console.line()
        if self.options.ui:
            self._stay_up(airflow)
        elif not summary.problems:
            self.console.line("Next: `make ui` runs the same and keeps Airflow's web UI running.")
        return 1 if summary.problems else 0

    def _check(
        self,
        folders: RunFolders,
        bank_sync: BankSync,
        family: Family,
        airflow: AirflowRun,
        finished: FinishedRun,
        answered: list[int],
    ) -> Summary:
        self.console.status("check", "comparing every file with the sandbox")
        sync_check = check_syncs(
            family,
            finished,
            bank_sync.newest_job,
            lambda task, key: airflow.api.xcom(DAG_ID, finished.run_id, task, key),
        )
        export = verify(folders.export, family)
        verdict = plural(len(export.problems), "problem") if export.problems else "all equal"
        self.console.milestone(
            "checked", f"{plural(len(export.files), 'file')} compared with the sandbox: {verdict}"
        )
        return Summary(
            family=family,
            sync_check=sync_check,
            export=export,
            folders=folders,
            requests_served=len(answered),
            requests_rate_limited=answered.count(requests.codes.too_many_requests),
            requests_per_minute=REQUESTS_PER_MINUTE,
            peak_waiting=finished.peak_waiting,
            worker_slots=worker_slots(),
        )

    def _show_logs(self, airflow: AirflowRun, finished: FinishedRun, summary: Summary) -> None:
        """Show the last log lines of tasks that failed unexpectedly."""
        expected = {str(outcome.job["id"]) for outcome in summary.sync_check.syncs if outcome.on_purpose}
        failed = [task for task in finished.tasks if task.state == "failed"]
        unexpected = [
            task
            for task in failed
            if str(airflow.api.xcom(DAG_ID, finished.run_id, task, "job_id")) not in expected
        ]
        for task in unexpected[:LOGS_SHOWN]:
            self.console.line()
            self.console.line(f"Last lines of the log of {task.task_id} (map index {task.map_index}):")
            for line in airflow.api.log(DAG_ID, finished.run_id, task)[-LOG_LINES:]:
                self.console.line(f"  {line}")
        self.console.line()
        self.console.line(
            f"All logs: {short_path(summary.folders.logs)} and {short_path(summary.folders.airflow_home / 'logs')}"
        )

    def _show_login(self, airflow: AirflowRun) -> None:
        address = f"{airflow.api.base_url}/dags/{DAG_ID}"
        self.console.milestone(
            "web UI", f"{address}   user {self.login.user}, password {self.login.password}"
        )

    def _stay_up(self, airflow: AirflowRun) -> None:
        self._show_login(airflow)
        self.console.line("Airflow and the sandbox run until you press Ctrl-C.")
        try:
            while True:
                airflow.components.check()
                time.sleep(1)
        except KeyboardInterrupt:
            self.console.line()
            self.console.line("Stopping.")


def check_prerequisites() -> type[Any]:
    """Check that everything is installed. Return the sandbox's class."""
    try:
        metadata.version("apache-airflow-core")  # Airflow 2 has no distribution of this name
    except metadata.PackageNotFoundError:
        raise DemoError(
            "The demo needs Airflow 3 in this Python environment, but finds no or an older Airflow. "
            "`make setup` installs it."
        ) from None
    try:
        from airflow_provider_banksync.sandbox import BankSyncSandbox
    except ImportError as error:
        raise DemoError(f"The package cannot be imported ({error}). `make setup` installs it.") from error
    missing = [name for name in ("starlette", "uvicorn", "httptools") if not find_spec(name)]
    if missing:
        raise DemoError(
            f"The sandbox needs {' and '.join(missing)}. Run pip install {' '.join(missing)} or `make setup`."
        )
    if not (DAGS_FOLDER / f"{DAG_ID}.py").is_file():
        raise DemoError(f"{short_path(DAGS_FOLDER)}/{DAG_ID}.py, the DAG that the demo runs, is missing.")
    return BankSyncSandbox


def job_seconds(portals: int) -> tuple[float, float]:
    """Return how long jobs take: long enough that all of them wait at the same time."""
    shortest = max(13.0, 1.8 * (portals - 4))
    return shortest, shortest + 9.0


def _describe(family: Family, feeds: int) -> str:
    clients = plural(len(family.clients), "client")
    return f"{clients} and the firm itself, {plural(feeds, 'feed')}: one sync task each"
