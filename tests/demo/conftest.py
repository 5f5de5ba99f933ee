"""A family that a real sandbox serves, an export of it written by the package, and a console that keeps its text."""

from __future__ import annotations

import io
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from airflow_provider_banksync.api.config import ClientConfig
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.sandbox import BankSyncSandbox
from demo.console import Console
from demo.family import RESOURCES, BankSync, Family
from tests.support.export_task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def console() -> Console:
    return Console(io.StringIO())


@pytest.fixture
def sandbox() -> Iterator[BankSyncSandbox]:
    with BankSyncSandbox(portals=3, broken_banks=1, time_scale=0) as running:
        yield running


@pytest.fixture
def bank_sync(sandbox: BankSyncSandbox) -> Iterator[BankSync]:
    with closing(BankSync(sandbox.url, sandbox.api_key)) as client:
        yield client


@pytest.fixture
def family(bank_sync: BankSync) -> Family:
    return bank_sync.family()


@pytest.fixture
def export(sandbox: BankSyncSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the export of the family fills."""
    folder = tmp_path / "export"
    config = ClientConfig.from_connection(
        conn_id="sandbox", host=sandbox.url, port=None, schema=None, password=sandbox.api_key, extra=None
    )
    # Airflow 3.0 gives a connection to nobody but a running task
    monkeypatch.setattr(BankSyncHook, "get_config", lambda _: config)
    for resource in RESOURCES:
        Task(folder).run(resource=resource)
    return folder
