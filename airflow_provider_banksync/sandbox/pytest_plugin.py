"""Pytest fixtures: ``banksync_sandbox``, a running sandbox, and ``banksync_dag_test``, which runs a DAG in a test."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import sandbox as package  # it loads a name when it is used

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MARKER = "banksync_sandbox"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(portals=25, seed=7, time_scale=1.0, broken_banks=0, …): settings of the banksync_sandbox"
        " fixture, the arguments of BankSyncSandbox",
    )


@pytest.fixture
def banksync_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[package.BankSyncSandbox]:
    """Start a sandbox for this test and set AIRFLOW_CONN_BANKSYNC_DEFAULT to reach it.

    ``@pytest.mark.banksync_sandbox(portals=3, time_scale=50)`` passes settings. Markers of the module, the class and
    the test add up. If they differ, the nearest wins.
    """
    try:
        sandbox = package.BankSyncSandbox(**_merge_settings(request.node))
        sandbox.start()
    except package.SandboxError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", sandbox.connection_uri)
        yield sandbox
    finally:
        sandbox.stop()


@pytest.fixture
def banksync_dag_test(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that runs a DAG as ``dag.test()`` does, with the same arguments, and returns the DAG run.

    Airflow 3 runs only DAGs of its dags folder. So the folder of the DAG's file is the dags folder for this test.
    """

    def run(dag: Any, **arguments: Any) -> Any:
        folder = str(Path(dag.fileloc).resolve().parent)
        monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", folder)
        monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        monkeypatch.setattr("airflow.settings.DAGS_FOLDER", folder)  # what Airflow has read before
        try:
            return dag.test(**arguments)
        except Exception as error:
            if not _has_no_tables(error):
                raise
        pytest.fail(
            "Airflow's database has no tables. Before the tests, run: airflow db migrate", pytrace=False
        )

    return run


def _has_no_tables(error: Exception) -> bool:
    """Return whether Airflow's database was never migrated. SQLite and PostgreSQL, or MySQL, say it in other words."""
    text = str(error).lower()
    return type(error).__name__ in ("OperationalError", "ProgrammingError") and (
        "no such table" in text
        or ("relation" in text and "does not exist" in text)
        or "doesn't exist" in text
    )


def _merge_settings(node: pytest.Item) -> dict[str, Any]:
    """Merge the settings of a test's markers, and check their names."""
    known = inspect.signature(package.BankSyncSandbox).parameters
    settings: dict[str, Any] = {}
    for marker in node.iter_markers(_MARKER):  # from the nearest to the outermost
        if marker.args:
            raise package.SandboxError(f"the marker {_MARKER} takes its settings by name, such as portals=3")
        settings = {**marker.kwargs, **settings}
    for name in settings:
        if name not in known:
            raise package.SandboxError(
                f"the marker {_MARKER} has no setting {name!r}; there are {', '.join(known)}"
            )
    return settings
