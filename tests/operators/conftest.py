"""What the tests of operators need from Airflow."""

from __future__ import annotations

import pytest

from airflow_provider_banksync.triggers import BankSyncTrigger


@pytest.fixture(autouse=True)
def killed_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow says that the task of a trigger has failed. Outside a triggerer, there is no Airflow to ask."""
    monkeypatch.setattr(BankSyncTrigger, "_task_state", lambda _: "failed")
