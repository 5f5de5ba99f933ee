"""A bank that is broken costs only its own rows: in a listing, and in an export."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_banksync.operators.listing import BankSyncListOperator
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

with DAG("banksync_broken_bank", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None) as dag:
    accounts = BankSyncListOperator(
        task_id="accounts", resource="accounts", scope="family", fields=["id"], on_unavailable="report"
    )

    @task
    def left_out(ti=None) -> dict:  # type: ignore[no-untyped-def, type-arg]  # as users write it
        return ti.xcom_pull(task_ids="accounts", key="unavailable")  # type: ignore[no-any-return]

    accounts >> left_out()
    for on_unavailable in ("report", "fail"):
        BankSyncToObjectStorageOperator(
            task_id=on_unavailable,
            resource="balances",
            scope="family",
            destination=f"{{{{ var.value.banksync_export_url }}}}/{on_unavailable}",
            on_unavailable=on_unavailable,
        )
