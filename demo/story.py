"""The demo from beginning to end."""

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
from demo.outcome import judge
from demo.places import DEFAULT_BASE, make_places, shown
from demo.processes import Components
from demo.settings import DAGS_FOLDER, Login, environment, free_port, worker_slots, write_passwords
from demo.summary import Story, tell
from demo.table import plural
from demo.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

    from demo.airflow_run import FinishedRun
    from demo.console import Console
    from demo.family import Family
    from demo.places import Places

# BankSync's Pro plan. The standard plan's 100 would do, at the price of a minute of waiting for the next request
REQUESTS_PER_MINUTE = 500
LOGS_SHOWN = 3
LOG_LINES = 12


@dataclass(frozen=True)
class Options:
    """What can be chosen on the command line."""

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
        """Run the demo; the result is the exit status."""
        sandbox_class = prerequisites()
        places = make_places(self.options.output)
        say = self.console.line
        say(
            self.console.paint(
                "BankSync for Airflow: every client's feeds synced, every client's data exported", "bold"
            )
        )
        say("Made-up data, a real Airflow, and nothing leaves this machine.")
        say(f"This run keeps its files in {shown(places.root)}")
        say()
        with ExitStack() as stack:
            sandbox = self._start_sandbox(sandbox_class)
            stack.callback(sandbox.stop)
            bank_sync = stack.enter_context(closing(BankSync(sandbox.url, sandbox.api_key)))
            return self._with_sandbox(places, sandbox, bank_sync)

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
        except RuntimeError as error:  # the sandbox says in a sentence what keeps it from starting
            raise DemoError(f"The sandbox cannot start: {error}") from error
        return sandbox

    def _with_sandbox(self, places: Places, sandbox: Any, bank_sync: BankSync) -> int:
        family = bank_sync.family()
        sandbox.clear_requests()  # from here on, only Airflow's are counted
        clients = plural(len(family.clients), "client")
        self.console.milestone("sandbox up", f"a BankSync of its own at {sandbox.url}: a firm and {clients}")
        port = free_port()
        write_passwords(places, self.login)
        env = environment(places, connection_uri=sandbox.connection_uri, port=port)
        with Components(env, places.logs, self.console) as components:
            airflow = AirflowRun(components, self.console, f"http://127.0.0.1:{port}", self.login)
            with closing(airflow.api):
                try:
                    return self._with_airflow(places, sandbox, bank_sync, family, airflow)
                except requests.RequestException as error:
                    raise DemoError(
                        f"Airflow's API server stopped answering: {error}",
                        components.last_words("api-server"),
                    ) from error

    def _with_airflow(
        self, places: Places, sandbox: Any, bank_sync: BankSync, family: Family, airflow: AirflowRun
    ) -> int:
        airflow.bring_up()
        if self.options.ui:
            self._show_login(airflow)
        run_id = airflow.start()
        finished = airflow.follow(run_id, lambda feeds: _describe(family, feeds))
        answered = [record.status for record in sandbox.requests]
        story = self._examine(places, bank_sync, family, airflow, finished, answered)
        tell(self.console, story)
        if story.problems:
            self._show_logs(airflow, finished, story)
        self.console.line()
        if self.options.ui:
            self._stay_up(airflow)
        elif not story.problems:
            self.console.line(
                "Next: `make ui` does the same and leaves Airflow's web UI up to click through."
            )
        return 1 if story.problems else 0

    def _examine(
        self,
        places: Places,
        bank_sync: BankSync,
        family: Family,
        airflow: AirflowRun,
        finished: FinishedRun,
        answered: list[int],
    ) -> Story:
        self.console.status("check", "holding every file against the sandbox")
        judgement = judge(
            family,
            finished,
            bank_sync.newest_job,
            lambda task, key: airflow.api.xcom(DAG_ID, finished.run_id, task, key),
        )
        export = verify(places.export, family)
        verdict = f"{len(export.problems)} things are wrong" if export.problems else "all equal"
        self.console.milestone(
            "checked", f"{plural(len(export.files), 'file')} against the sandbox: {verdict}"
        )
        return Story(
            family=family,
            judgement=judgement,
            export=export,
            places=places,
            requests_served=len(answered),
            requests_put_off=answered.count(requests.codes.too_many_requests),
            requests_per_minute=REQUESTS_PER_MINUTE,
            peak_waiting=finished.peak_waiting,
            worker_slots=worker_slots(),
        )

    def _show_logs(self, airflow: AirflowRun, finished: FinishedRun, story: Story) -> None:
        """Show what the unexpectedly failed tasks said last."""
        expected = {str(outcome.job["id"]) for outcome in story.judgement.syncs if outcome.on_purpose}
        failed = [task for task in finished.tasks if task.state == "failed"]
        surprising = [
            task
            for task in failed
            if str(airflow.api.xcom(DAG_ID, finished.run_id, task, "job_id")) not in expected
        ]
        for task in surprising[:LOGS_SHOWN]:
            self.console.line()
            self.console.line(f"Last lines of the log of {task.task_id} (map index {task.map_index}):")
            for line in airflow.api.log(DAG_ID, finished.run_id, task)[-LOG_LINES:]:
                self.console.line(f"  {line}")
        self.console.line()
        self.console.line(
            f"All logs: {shown(story.places.logs)} and {shown(story.places.airflow_home / 'logs')}"
        )

    def _show_login(self, airflow: AirflowRun) -> None:
        address = f"{airflow.api.base_url}/dags/{DAG_ID}"
        self.console.milestone(
            "web UI", f"{address}   user {self.login.user}, password {self.login.password}"
        )

    def _stay_up(self, airflow: AirflowRun) -> None:
        self._show_login(airflow)
        self.console.line("Airflow and the sandbox stay up until you press Ctrl-C.")
        try:
            while True:
                airflow.components.check()
                time.sleep(1)
        except KeyboardInterrupt:
            self.console.line()
            self.console.line("Stopping.")


def prerequisites() -> type[Any]:
    """See that what the demo runs on is installed, and return the sandbox's class."""
    try:
        metadata.version("apache-airflow-core")  # Airflow 2 has no distribution of this name
    except metadata.PackageNotFoundError:
        raise DemoError(
            "The demo needs Airflow 3 in this Python environment, and finds none or an older one: "
            "`make setup` installs it."
        ) from None
    try:
        from airflow_provider_banksync.sandbox import BankSyncSandbox
    except ImportError as error:
        raise DemoError(f"The package cannot be imported ({error}): `make setup` installs it.") from error
    missing = [name for name in ("starlette", "uvicorn", "httptools") if not find_spec(name)]
    if missing:
        raise DemoError(
            f"The sandbox needs {' and '.join(missing)}: pip install 'airflow-provider-banksync[sandbox]', "
            "or `make setup`, which does it."
        )
    if not (DAGS_FOLDER / f"{DAG_ID}.py").is_file():
        raise DemoError(f"{shown(DAGS_FOLDER)}/{DAG_ID}.py, the DAG that the demo runs, is not there.")
    return BankSyncSandbox


def job_seconds(portals: int) -> tuple[float, float]:
    """Choose how long jobs take: until all have been started, so that all wait at the same time, and little longer."""
    shortest = max(13.0, 1.8 * (portals - 4))
    return shortest, shortest + 9.0


def _describe(family: Family, feeds: int) -> str:
    clients = plural(len(family.clients), "client")
    return f"{clients} and the firm itself, {plural(feeds, 'feed')}: one sync task for each"
