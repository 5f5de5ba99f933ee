"""Exports by mapped tasks: each client into its own folder, or all clients into one batch of the family."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_banksync.operators.listing import BankSyncListOperator
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

URL = "{{ var.value.banksync_export_url }}"

with DAG(
    "banksync_exports_mapped", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None
) as dag:
    clients = BankSyncListOperator(task_id="clients", resource="portals", fields=["id"])

    @task
    def id_of(portal: dict[str, str]) -> str:
        return portal["id"]

    @task
    def one(value: str) -> list[str]:
        return [value]

    ids = id_of.expand(portal=clients.output)
    alone = BankSyncToObjectStorageOperator.partial(
        task_id="alone", resource="transactions", incremental=True, destination=f"{URL}/alone", concurrency=4
    ).expand(workspace_id=ids)
    together = BankSyncToObjectStorageOperator.partial(
        task_id="together",
        resource="transactions",
        scope="family",
        incremental=True,
        destination=f"{URL}/together",
        max_active_tis_per_dagrun=1,
    ).expand(workspace_ids=one.expand(value=ids))
    banks = BankSyncToObjectStorageOperator(
        task_id="banks",
        resource="banks",
        scope="family",
        destination=f"{URL}/banks",
        where={"workspaceId": ids},
    )
    alone >> together >> banks
