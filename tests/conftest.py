"""What every test gets: an Airflow home of its own, and the sandbox when it asks for it."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.dag_runner import DagRunner

# Every answer that a sandbox gives and every request that we send during any test is held against the contract, and no
# log may hold a key.
pytest_plugins = ["tests.support.response_contract", "tests.support.request_contract", "tests.leaks"]

# Airflow reads its settings once, when it is imported: they must be there before that, and none of the user's own.
_HOME = tempfile.mkdtemp(prefix="banksync-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=_HOME,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "example_dags"),
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME}/airflow.db",
    AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY="True",  # Airflow 2 warns about its own default
    AIRFLOW__LOGGING__BASE_LOG_FOLDER=f"{_HOME}/logs",
)


@pytest.fixture(scope="session")
def airflow_db(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    """A migrated metadata database. The first worker of pytest-xdist makes it, and the others copy it."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    made, own = shared / "airflow.db", Path(_HOME) / "airflow.db"
    with (shared / "airflow.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            # A process of its own: the warnings are Airflow's.
            migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
            subprocess.run(migrate, check=True, capture_output=True, timeout=400)
            shutil.copy(own, made)
        else:
            shutil.copy(made, own)


@pytest.fixture(scope="session")
def dag_runner(airflow_db: None) -> Iterator[DagRunner]:
    """Runs DAG files with a real Airflow, each in a process of its own."""
    from tests.support.dag_runner import DagRunner

    with DagRunner() as runner:
        yield runner


@pytest.fixture
def quick_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for the row of a lost answer takes an instant, and not 15 seconds."""
    monkeypatch.setattr("airflow_provider_banksync.api.flows.writes.SEARCH_DELAYS", (0.01, 0.02, 0.04, 0.08))


@pytest.fixture
def short_404s(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 404 that lasts for a moment is final, and not one that lasts for a minute."""
    monkeypatch.setattr("airflow_provider_banksync.api.retry_policy.NOT_FOUND_GRACE", 0.2)
    monkeypatch.setattr("airflow_provider_banksync.api.flows.syncs.KILL_NOT_FOUND_GRACE", 0.2)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Return a function that returns what was logged since its last call.

    Airflow 2 logs. Airflow 3 writes to the terminal where no task runs, and 3.0 may do both.
    """
    from airflow_provider_banksync.compat import AIRFLOW

    def read() -> str:
        messages = [record.getMessage() for record in caplog.records]
        written = capsys.readouterr().out.splitlines() if AIRFLOW >= (3,) else []
        only_written = [line for line in written if not any(text and text in line for text in messages)]
        caplog.clear()
        return "\n".join([*messages, *only_written])

    return read
