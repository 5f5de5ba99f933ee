"""A bank that is linked anew brings its whole history under new ids. A ledger has each transaction once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from tests.support.account_data import family
from tests.support.ledger_task import NOW, LedgerRun, api_rows, by_key, delta_rows, delta_run

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0, page_size=500, now=NOW)

SINCE, LATER = "2026-01-01", "2026-02-01"


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> LedgerRun:
    return delta_run(tmp_path / "transactions", from_date=SINCE)


@pytest.fixture
def linked(banksync_sandbox: BankSyncSandbox, task: LedgerRun) -> dict[str, str]:
    """A table, and a bank that is linked anew after it was filled. The new id of each old account."""
    task.run()
    _, bank, _ = family()[0]
    before = {
        account["accountNumber"]: account["id"] for _, each, account in family() if each["id"] == bank["id"]
    }
    new = banksync_sandbox.banks.relink(bank["id"])
    after = {account["accountNumber"]: account["id"] for _, each, account in family() if each["id"] == new}
    assert before.keys() == after.keys()
    return {before[number]: after[number] for number in before}


def test_the_new_accounts_wait_and_the_table_keeps_its_rows(
    task: LedgerRun, linked: dict[str, str], tmp_path: Path
) -> None:
    before = by_key(delta_rows(tmp_path / "transactions"))
    old, new = next(iter(linked.items()))

    with pytest.raises(AirflowFailException, match=f"pass rekey={{'{old}': '{new}'}}"):
        task.run()
    summary = task.run(on_unavailable="report")

    assert summary["unavailable_reasons"] == {"linked_again": len(linked)}
    assert by_key(delta_rows(tmp_path / "transactions")) == before


def test_with_rekey_the_new_accounts_take_the_place_of_the_old_ones(
    task: LedgerRun, linked: dict[str, str], tmp_path: Path
) -> None:
    summary = task.run(rekey=linked)

    assert by_key(delta_rows(tmp_path / "transactions")) == api_rows(from_date=SINCE)
    assert summary["unavailable_count"] == 0
    assert counts(task.run(rekey=linked)) == (0, 0, 0)


def test_older_rows_than_the_bank_sends_now_get_the_new_account(
    task: LedgerRun, linked: dict[str, str], tmp_path: Path
) -> None:
    before = delta_rows(tmp_path / "transactions")
    old, new = next(iter(linked.items()))
    older = {row["id"] for row in before if row["account_id"] == old and str(row["date"]) < LATER}
    assert older

    task.run(rekey=linked, from_date=LATER, account_ids=[new])

    rows = [row for row in delta_rows(tmp_path / "transactions") if row["account_id"] in (old, new)]
    first = min(str(row["date"]) for row in rows if row["id"] not in older)
    assert {row["account_id"] for row in rows} == {new}
    assert older <= {row["id"] for row in rows}
    assert first >= LATER


def test_accounts_that_are_declared_as_others_are_read(
    task: LedgerRun, linked: dict[str, str], tmp_path: Path
) -> None:
    rows = len(delta_rows(tmp_path / "transactions"))

    summary = task.run(rekey={old: old for old in linked})

    assert summary["rows_inserted"] > 0
    assert len(delta_rows(tmp_path / "transactions")) == rows + summary["rows_inserted"]


def counts(summary: dict[str, Any]) -> tuple[int, int, int]:
    return summary["rows_inserted"], summary["rows_updated"], summary["rows_deleted"]
