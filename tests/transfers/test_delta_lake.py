"""A Delta Lake table that follows the bank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.ledger_task import NOW, LedgerRun, api_rows, by_key, delta_rows, delta_run

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0, page_size=200, now=NOW)


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> LedgerRun:
    return delta_run(tmp_path / "transactions")


def test_the_table_equals_the_api(task: LedgerRun, tmp_path: Path) -> None:
    summary = task.run()

    assert by_key(delta_rows(tmp_path / "transactions")) == api_rows(from_date="2020-01-01")
    assert summary["rows_inserted"] == summary["rows_read"] == len(api_rows(from_date="2020-01-01"))


def test_a_run_that_finds_nothing_new_makes_no_version(task: LedgerRun, tmp_path: Path) -> None:
    first = task.run()
    second = task.run()

    assert second["version"] == first["version"]
    assert (second["rows_inserted"], second["rows_updated"], second["rows_deleted"]) == (0, 0, 0)
