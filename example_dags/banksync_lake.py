"""Export every client's transactions and balances to a lake each morning.

The task `transactions` exports the days that ended within the run's data interval. On Airflow 3, the data interval of a
cron schedule has zero length. The task then exports the days since the previous scheduled time.

The task `new_transactions` exports all transactions that are new since the last run, including those of earlier days.

Writes to the folder (`file:///data/lake`) or bucket (`s3://bucket/lake`) in the Airflow variable `banksync_export_url`.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG, Asset

from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

LAKE = "{{ var.value.get('banksync_export_url', 'file:///tmp/banksync') }}"
# DAGs that read the lake can use this asset as their schedule. Its events contain the number of rows and the banks that
# need a new sign-in.
TRANSACTIONS = Asset("banksync://lake/transactions")

with DAG(
    dag_id="banksync_lake",
    schedule="0 5 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,  # each batch begins where the previous one ended
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
