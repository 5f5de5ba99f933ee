"""Exports whose values do not fit their columns: counted in the manifest and the result, warned about or refused."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.export.formats.schema import SCHEMAS
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator
from tests.support.export_task import Task, manifest_of, plain_names, tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.banksync_sandbox(
    portals=1, time_scale=0, now=datetime(2026, 3, 3, tzinfo=timezone.utc)
)
TRANSACTIONS = "/v1/banks/*/accounts/*/transactions"
DAYS = {"from_date": "2026-02-01", "to_date": "2026-03-02"}


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> Task:
    return Task(tmp_path, arguments={"resource": "transactions", **DAYS})


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if "do not fit" in line]


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_what_does_not_fit_is_counted_and_said_once(
    banksync_sandbox: BankSyncSandbox, task: Task, capsys: pytest.CaptureFixture[str], file_format: str
) -> None:
    banksync_sandbox.faults.add(Fault.edited(amount="n/a", date=5, pending="true"), path=TRANSACTIONS)
    summary = task.run(file_format=file_format)
    counted = {"amount": summary["rows"], "date": summary["rows"]}
    manifest = manifest_of(summary)
    assert summary["unfit"] == manifest["unfit"] == counted
    assert sum(file["unfit"]["amount"] for file in manifest["files"]) == summary["rows"] > 10
    (line,) = said(capsys)
    assert f"{summary['rows']} of 'amount', {summary['rows']} of 'date'" in line
    assert "'extra'" in line
    assert summary["manifest"] in line


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_nothing_is_said_about_ordinary_rows_and_numbers_in_texts(
    banksync_sandbox: BankSyncSandbox, task: Task, capsys: pytest.CaptureFixture[str], file_format: str
) -> None:
    banksync_sandbox.faults.add(Fault.edited(amount="12.50"), path=TRANSACTIONS, times=2)
    summary = task.run(file_format=file_format, on_drift="fail")
    manifest = manifest_of(summary)
    assert summary["unfit"] == manifest["unfit"] == {}
    assert not any("unfit" in file for file in manifest["files"])
    assert not said(capsys)


@pytest.mark.parametrize("arguments", [DAYS, {"incremental": True, "from_date": None, "to_date": None}])
def test_a_task_can_fail_for_it_after_everything_is_written(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    banksync_sandbox.faults.add(Fault.edited(amount="n/a"), path=TRANSACTIONS)
    words = r"of 'amount'.*Everything is exported.*on_drift='warn'"
    with pytest.raises(AirflowFailException, match=words):
        task.run(file_format="parquet", on_drift="fail", **arguments)
    written = tree(tmp_path)
    with pytest.raises(AirflowFailException, match=words):
        task.run(file_format="parquet", on_drift="fail", **arguments)
    assert plain_names(written).keys() == plain_names(tree(tmp_path)).keys()
    assert task.run(file_format="parquet", **arguments)["unfit"]


def test_a_task_does_not_fail_for_accounts_of_another(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    workspaces = [banksync_sandbox.portals[0][0], banksync_sandbox.workspace_id]
    banksync_sandbox.faults.add(Fault.edited(amount="n/a"), path=TRANSACTIONS, workspace_id=workspaces[0])
    first, second = (task.run(file_format="parquet", workspace_ids=[workspace]) for workspace in workspaces)
    assert first["unfit"]["amount"] > 0
    assert second["unfit"] == {}
    assert manifest_of(second)["unfit"] == first["unfit"]
    task.run(file_format="parquet", workspace_ids=workspaces[1:], on_drift="fail")


def test_what_bank_sync_is_known_to_send_fits(task: Task) -> None:
    for resource in SCHEMAS:
        days = DAYS if resource in ("transactions", "trades") else {"from_date": None, "to_date": None}
        scope = "self" if resource in ("workspaces", "portals") else "family"
        summary = task.run(
            resource=resource, scope=scope, file_format="parquet", on_unavailable="report", **days
        )
        assert summary["unfit"] == {}


def test_a_resumed_account_is_counted(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    banksync_sandbox.faults.add(Fault.edited(amount=Decimal("0.1234567890123456789")), path=TRANSACTIONS)
    banksync_sandbox.faults.add(Fault.status(400), path=TRANSACTIONS, times=1)
    first = task.run(file_format="parquet", on_unavailable="report")
    assert len(first["unavailable"]) == 1
    second = task.run(file_format="parquet")
    assert second["rows"] > first["rows"]
    assert second["unfit"] == {"amount": second["rows"]}


def test_other_choices_are_refused() -> None:
    with pytest.raises(BankSyncConfigError, match="on_drift must be one of warn, fail, not 'ignore'"):
        BankSyncToObjectStorageOperator(
            task_id="export", resource="banks", destination="/lake", on_drift="ignore"
        )
