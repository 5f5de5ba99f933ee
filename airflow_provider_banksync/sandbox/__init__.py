"""A BankSync API on this machine: for the demo, for tests, and for users' own DAG tests.

Start with ``BankSyncSandbox``. The package imports nothing heavy until a sandbox starts, because pytest loads the
plugin in it into every test run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.clock import SandboxClock
    from airflow_provider_banksync.sandbox.control.sandbox import BankSyncSandbox
    from airflow_provider_banksync.sandbox.errors import SandboxError
    from airflow_provider_banksync.sandbox.http.faults import Fault
    from airflow_provider_banksync.sandbox.http.rate_limit import RateLimit
    from airflow_provider_banksync.sandbox.world.banks import Banks

__all__ = ["BankSyncSandbox", "Banks", "Fault", "RateLimit", "SandboxClock", "SandboxError"]

_MODULES = {
    "BankSyncSandbox": "control.sandbox",
    "Banks": "world.banks",
    "Fault": "http.faults",
    "RateLimit": "http.rate_limit",
    "SandboxClock": "clock",
    "SandboxError": "errors",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
