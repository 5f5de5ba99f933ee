"""The pytest fixture ``banksync_sandbox``: a running sandbox, and Airflow's default connection pointing at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.server import BankSyncSandbox


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, with what it takes."""
    config.addinivalue_line(
        "markers",
        "banksync_sandbox(portals=25, seed=7, time_scale=1.0, broken_banks=0, …): settings of the banksync_sandbox"
        " fixture, the arguments of BankSyncSandbox",
    )


@pytest.fixture
def banksync_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BankSyncSandbox]:
    """Give a running sandbox of the test's own, with AIRFLOW_CONN_BANKSYNC_DEFAULT set to reach it.

    ``@pytest.mark.banksync_sandbox(portals=3, time_scale=50)`` on the test, its class or its module sets it up.
    """
    from airflow_provider_banksync.sandbox.errors import SandboxError
    from airflow_provider_banksync.sandbox.server import BankSyncSandbox

    marker = request.node.get_closest_marker("banksync_sandbox")
    settings = {} if marker is None else marker.kwargs
    try:
        sandbox = BankSyncSandbox(**settings)
        sandbox.start()
    except SandboxError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", sandbox.connection_uri)
        yield sandbox
    finally:
        sandbox.stop()
