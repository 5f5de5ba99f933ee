"""The pytest fixture ``banksync_sandbox``: a running sandbox, and Airflow's default connection pointing at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.server import BankSyncSandbox

_MARKER = "banksync_sandbox"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, with what it takes."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(portals=25, seed=7, time_scale=1.0, broken_banks=0, …): settings of the banksync_sandbox"
        " fixture, the arguments of BankSyncSandbox",
    )


@pytest.fixture
def banksync_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BankSyncSandbox]:
    """Give a running sandbox of the test's own, with AIRFLOW_CONN_BANKSYNC_DEFAULT set to reach it.

    ``@pytest.mark.banksync_sandbox(portals=3, time_scale=50)`` sets it up. Markers of the module, the class and the
    test add up; where they say different things, the nearest counts.
    """
    from airflow_provider_banksync.sandbox.errors import SandboxError
    from airflow_provider_banksync.sandbox.server import BankSyncSandbox

    try:
        sandbox = BankSyncSandbox(**_settings(request.node))
        sandbox.start()
    except SandboxError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", sandbox.connection_uri)
        yield sandbox
    finally:
        sandbox.stop()


def _settings(node: pytest.Item) -> dict[str, Any]:
    """Put together what the markers of a test say."""
    import inspect

    from airflow_provider_banksync.sandbox.errors import SandboxError
    from airflow_provider_banksync.sandbox.server import BankSyncSandbox

    known = inspect.signature(BankSyncSandbox).parameters
    settings: dict[str, Any] = {}
    for marker in node.iter_markers(_MARKER):
        if marker.args:
            raise SandboxError(f"the marker {_MARKER} takes its settings by name, such as portals=3")
        for name in marker.kwargs:
            if name not in known:
                raise SandboxError(
                    f"the marker {_MARKER} has no setting {name!r}; there are {', '.join(known)}"
                )
        # From the nearest outwards: what is set already was said closer to the test.
        settings = {**marker.kwargs, **settings}
    return settings
