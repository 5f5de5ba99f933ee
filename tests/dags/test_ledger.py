"""The ledger example on a real Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.ledger_task import api_rows, by_key, delta_rows

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.dags.conftest import RunDag
    from tests.support.smtp_server import SmtpServer


@pytest.mark.banksync_sandbox(portals=2, time_scale=0)
def test_the_ledger(
    banksync_sandbox: BankSyncSandbox,
    run_dag: RunDag,
    mail_server: SmtpServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_BANKSYNC_BOOKS_URL", str(tmp_path / "books"))
    table = tmp_path / "books" / "transactions"

    run = run_dag("banksync_ledger.py")
    assert run["state"] == "success", run["log"][-20000:]
    assert by_key(delta_rows(table)) == api_rows(from_date="1970-01-01")
    assert delta_rows(tmp_path / "books" / "balances")
    outcomes = {row["outcome"] for row in delta_rows(tmp_path / "books" / "reconciliation")}
    assert outcomes <= {"no_balance", "stale"}, "one balance explains nothing"

    portal, name = banksync_sandbox.portals[-1]
    bank = next(row for row in banksync_sandbox.truth.transactions(portal))["bankId"]
    banksync_sandbox.break_bank(bank)
    run = run_dag("banksync_ledger.py")

    assert run["state"] == "failed", "a person must see the bank that needs a new sign-in"
    (mail,) = mail_server.texts()
    assert name in mail
