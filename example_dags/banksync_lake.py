"""Every client's transactions and balances, each morning, into a lake.

The transactions of the days that ended within the run's data interval; in Airflow 3, whose cron schedules have none, of
the day before. And, beside them, whatever is new since the last run, also for days long ago: `incremental`.

Where to: the Airflow Variable `banksync_export_url`, a folder (`file:///data/lake`) or a bucket (`s3://bucket/lake`).
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG, Asset

from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

LAKE = "{{ var.value.get('banksync_export_url', 'file:///tmp/banksync') }}"
# Its events say how many rows came and whose bank wants a new sign-in; DAGs that read the lake can be scheduled by it.
TRANSACTIONS = Asset("banksync://lake/transactions")

with DAG(
    dag_id="banksync_lake",
    schedule="0 5 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,  # a batch goes on where the one before has ended
    tags=["banksync"],
    doc_md=__doc__,
) as dag:
    BankSyncToObjectStorageOperator(
        task_id="transactions",
        resource="transactions",
        scope="family",
        destination=LAKE,
        on_unavailable="report",
        outlets=[TRANSACTIONS],
        retries=2,
    )
    BankSyncToObjectStorageOperator(
        task_id="new_transactions",
        resource="transactions",
        scope="family",
        destination=f"{LAKE}/new",
        incremental=True,
        compression="gzip",
        on_unavailable="report",
        retries=2,
    )
    BankSyncToObjectStorageOperator(
        task_id="balances",
        resource="balances",
        scope="family",
        destination=LAKE,
        file_format="csv",
        on_unavailable="report",
        retries=2,
    )
