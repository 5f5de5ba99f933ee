"""Feeds from a file and from a list: created, synced, waited for in every mode, and deleted."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_banksync.operators.feeds import BankSyncDeleteFeedOperator, BankSyncUpsertFeedOperator
from airflow_provider_banksync.operators.jobs import BankSyncCancelJobOperator, BankSyncTriggerLearnOperator
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from airflow_provider_banksync.sensors.bank import BankSyncBankConnectedSensor
from airflow_provider_banksync.sensors.feed import BankSyncFeedSyncedSensor

NAMES = ["A", "accounts.json"]

with DAG(
    dag_id="feeds_as_code",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    params={"workspace_id": "", "bank_id": "", "account_id": "", "icon": "", "destination": {}},
    template_searchpath=[str(Path(__file__).parent)],
    default_args={"workspace_id": "{{ params.workspace_id }}"},
) as dag:
    bank = BankSyncBankConnectedSensor(
        task_id="bank", bank_id="{{ params.bank_id }}", mode="reschedule", poke_interval=1, timeout=60
    )
    from_file = BankSyncUpsertFeedOperator(
        task_id="from_file", name="From {{ 'a file' }}", definition="feed.json"
    )
    same = BankSyncUpsertFeedOperator(task_id="same", name="From a file", definition="feed.json")
    mapped = BankSyncUpsertFeedOperator.partial(
        task_id="mapped",
        definition={"source": "upload", "dataType": "documents", "icon": "{{ params.icon }}"},
    ).expand(name=NAMES)
    not_files = BankSyncUpsertFeedOperator(
        task_id="not_files",
        name="{{ 'accounts' }}.json",
        definition={"source": "upload", "dataType": "documents", "icon": "icon.json"},
    )
    sync = BankSyncTriggerSyncOperator(
        task_id="sync", feed_id=from_file.output["feed_id"], wait_for_completion=False
    )

    @task
    def ids(upserted: dict[str, Any]) -> list[str]:
        """Map over the feed."""
        return [upserted["feed_id"]]

    synced = ids(from_file.output)
    modes: dict[str, dict[str, Any]] = {
        "poke": {"mode": "poke"},
        "reschedule": {"mode": "reschedule"},
        "deferrable": {"deferrable": True},
        "straight": {"deferrable": True, "start_from_trigger": True},
    }
    cancel = BankSyncCancelJobOperator(
        task_id="cancel", feed_id=from_file.output["feed_id"], job_id=sync.output["job_id"]
    )
    for name, arguments in modes.items():
        wait = BankSyncFeedSyncedSensor.partial(
            task_id=f"synced_{name}", poke_interval=1, timeout=60, **arguments
        ).expand(feed_id=synced)
        sync >> wait >> cancel
    single = BankSyncFeedSyncedSensor(
        task_id="synced_single",
        feed_id=from_file.output["feed_id"],
        poke_interval=1,
        timeout=60,
        deferrable=True,
        start_from_trigger=True,
    )
    sync >> single >> cancel
    learn = BankSyncTriggerLearnOperator(task_id="learn", feed_name="From a file")
    delete = BankSyncDeleteFeedOperator.partial(task_id="delete").expand(feed_name=[*NAMES, "From a file"])
    bank >> from_file >> same >> sync
    mapped >> not_files >> delete
    cancel >> learn >> delete
