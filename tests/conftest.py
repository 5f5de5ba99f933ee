"""What every test gets: an Airflow home of its own, and the sandbox when it asks for it."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Every answer that a sandbox gives and every request that we send during any test is held against the contract, and no
# log may hold a key.
pytest_plugins = ["tests.contract.plugin", "tests.contract.ours", "tests.leaks"]

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
def airflow_db() -> None:
    """A migrated metadata database, made once; in a process of its own, whose warnings are Airflow's."""
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True, timeout=400
    )
