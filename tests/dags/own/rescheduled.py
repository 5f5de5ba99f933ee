"""Sensors in reschedule mode: one for a bank, one for a sync."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_banksync.sensors.bank import BankSyncBankConnectedSensor
from airflow_provider_banksync.sensors.feed import BankSyncFeedSyncedSensor

with DAG(
    dag_id="rescheduled",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    params={"workspace_id": "", "bank_id": "", "feed_workspace_id": "", "feed_id": "", "synced_after": ""},
) as dag:
    arguments: dict[str, Any] = {
        "mode": "reschedule",
        "poke_interval": 1,
        "timeout": 60,
    }
    bank = BankSyncBankConnectedSensor(
        task_id="bank",
        bank_id="{{ params.bank_id }}",
        workspace_id="{{ params.workspace_id }}",
        **arguments,
    )
    synced = BankSyncFeedSyncedSensor(
        task_id="synced",
        feed_id="{{ params.feed_id }}",
        synced_after="{{ params.synced_after }}",
        workspace_id="{{ params.feed_workspace_id }}",
        **arguments,
    )
