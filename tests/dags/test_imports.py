"""What a DAG file loads if it imports the package."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ("requests", "urllib3", "aiohttp", "yarl", "tenacity", "msgspec", "pyarrow", "deltalake", "starlette")
MOST_MODULES = 32
MOST_OF_OURS = 29

COST = """
import json, pkgutil, sys
import airflow
try:
    import airflow.sdk
    from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator
except ImportError:
    from airflow import DAG
    from airflow.hooks.base import BaseHook
    from airflow.models.baseoperator import BaseOperator
    from airflow.sensors.base import BaseSensorOperator
# Airflow's own, too: the base class of every trigger, which Airflow 2 loads by itself, and the names of its SDK.
import airflow.triggers.base
import airflow.providers.common.compat.sdk
before = set(sys.modules)
import airflow_provider_banksync as ours
for room in ("operators", "sensors", "triggers", "transfers"):
    for module in pkgutil.iter_modules([f"{next(iter(ours.__path__))}/{room}"]):
        __import__(f"{ours.__name__}.{room}.{module.name}")
print("COST", json.dumps(sorted(set(sys.modules) - before)))
"""


def test_importing_every_operator_is_cheap() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COST], capture_output=True, text=True, timeout=300, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("COST "))
    added = json.loads(line.removeprefix("COST "))
    assert "airflow_provider_banksync.operators.sync" in added
    assert "airflow_provider_banksync.transfers.object_storage" in added
    heavy = {name for name in added if name.split(".")[0] in HEAVY}
    assert not heavy
    assert len(added) <= MOST_MODULES, added
    # The package itself is not counted: Airflow 3 loads it before any DAG file does.
    ours = [name for name in added if name.startswith("airflow_provider_banksync.")]
    assert len(ours) <= MOST_OF_OURS, ours
