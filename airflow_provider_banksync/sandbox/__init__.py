"""A BankSync API on this machine: for the demo, for tests, and for users' own DAG tests.

``BankSyncSandbox`` is the way in. This package imports nothing heavy until a sandbox starts, because the pytest plugin
in it is loaded into every test run of everybody who has it installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.clock import SandboxClock
    from airflow_provider_banksync.sandbox.errors import SandboxError
    from airflow_provider_banksync.sandbox.fault import Fault
    from airflow_provider_banksync.sandbox.ratelimit import RateLimit
    from airflow_provider_banksync.sandbox.server import BankSyncSandbox

__all__ = ["BankSyncSandbox", "Fault", "RateLimit", "SandboxClock", "SandboxError"]

_HOMES = {
    "BankSyncSandbox": "server",
    "Fault": "fault",
    "RateLimit": "ratelimit",
    "SandboxClock": "clock",
    "SandboxError": "errors",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
