"""Runs example DAGs with a real Airflow, in a process of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.paths import ROOT
from tests.support.smtp_server import SmtpServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.dag_runner import DagRunner

RunDag = Callable[..., dict[str, Any]]


@pytest.fixture
def run_dag(dag_runner: DagRunner, tmp_path: Path) -> RunDag:
    """Run an example by its file's name; what it exports goes to ``tmp_path / "export"``."""

    def run(name: str, *, timeout: float = 400, **conf: Any) -> dict[str, Any]:
        env = {"AIRFLOW_VAR_BANKSYNC_EXPORT_URL": (tmp_path / "export").as_uri()}
        return dag_runner.run(ROOT / "example_dags" / name, env=env, timeout=timeout, **conf)

    return run


@pytest.fixture
def mail_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmtpServer]:
    """Receive the mail of the examples, which are set up as their comments say."""
    with SmtpServer() as server:
        monkeypatch.setenv("AIRFLOW_VAR_BANKSYNC_MAIL_TO", "books@example.com")
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(server.connection))
        yield server
