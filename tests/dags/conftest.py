"""Runs example DAGs with a real Airflow, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

RunDag = Callable[..., dict[str, Any]]


@pytest.fixture
def run_dag(airflow_db: None, tmp_path: Path) -> RunDag:
    """Run an example by its file's name; what it exports goes to ``tmp_path / "export"``."""

    def run(name: str, *, timeout: float = 400, **conf: Any) -> dict[str, Any]:
        env = {"AIRFLOW_VAR_BANKSYNC_EXPORT_URL": (tmp_path / "export").as_uri()}
        return run_dag_file(ROOT / "example_dags" / name, env=env, timeout=timeout, **conf)

    return run


def run_dag_file(path: Path, *, env: dict[str, str], timeout: float = 400, **conf: Any) -> dict[str, Any]:
    """Run a DAG file to its end; tell the states, the results and the log."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.dags.run_dag", str(path), json.dumps(conf)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **env},
        cwd=ROOT,
        check=False,
    )
    result = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert result, f"no result; exit status {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    told: dict[str, Any] = json.loads(result[0].removeprefix("RESULT "))
    told["log"] = done.stdout + done.stderr
    return told
