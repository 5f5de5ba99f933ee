"""An export talks to the API with one HTTP library."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

CODE = """
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
from tests.support.export_task import Task

for arguments in (
    {"resource": "transactions", "scope": "self", "from_date": "2026-02-01"},
    {"resource": "banks", "scope": "family"},
):
    summary = Task(Path(sys.argv[1])).run(**arguments)
    assert summary["rows"] > 0, summary
ours = {name: module for name, module in sys.modules.items() if name.startswith("airflow_provider_banksync.")}
assert "airflow_provider_banksync.api.http.async_client" in ours
assert "airflow_provider_banksync.api.http.client" not in ours
# Airflow's own file systems may load requests. No module of ours has taken anything from it.
taken = [
    (name, attribute)
    for name, module in ours.items()
    for attribute, value in vars(module).items()
    if str(getattr(value, "__module__", None) or getattr(value, "__name__", "")).partition(".")[0] == "requests"
]
assert not taken, taken
"""


@pytest.mark.banksync_sandbox(portals=1, time_scale=0)
def test_an_export_loads_no_requests(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "AIRFLOW_CONN_BANKSYNC_DEFAULT": banksync_sandbox.connection_uri,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
