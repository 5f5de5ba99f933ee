"""Every morning, sync every feed of every client: one task, and while it waits no worker at all.

One client's expired bank login costs no other its sync: every feed is followed to its end, and only then does the task
fail and name the clients that failed, and why. Give it retries if you like: a retry syncs only those.

The connection ``banksync_default`` holds the API key of the parent workspace.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator

# Where a run has no data interval (a manual one on Airflow 3), the days count back from when it may run.
RUN_DAY = "(dag_run.logical_date or dag_run.run_after)"

with DAG(
    dag_id="banksync_family_sync",
    description="Sync every client's feeds in one task, and tell which clients need attention.",
    schedule="0 5 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["banksync", "example"],
    doc_md=__doc__,
) as dag:
    sync = BankSyncFamilySyncOperator(
        task_id="sync",
        data_types=["transactions", "balances", "holdings", "loans"],
        deferrable=True,
        timeout=timedelta(hours=2),
    )
    # A trade feed is never synced without a date range (banksync-api): these get the last seven days. A family without
    # trade feeds skips this task.
    sync_trades = BankSyncFamilySyncOperator(
        task_id="sync_trades",
        data_types=["trades"],
        from_date=f"{{{{ macros.ds_add({RUN_DAY} | ds, -7) }}}}",
        to_date=f"{{{{ {RUN_DAY} | ds }}}}",
        deferrable=True,
    )

    @task(trigger_rule="all_done", retries=0)
    def clients_to_call(outcomes: dict[str, dict[str, str | None]] | None = None) -> list[str]:
        """List what went wrong, client by client; there is a result also where the sync has failed."""
        rows = (outcomes or {}).values()
        return sorted(
            f"{row['portal'] or 'own workspace'}: {row['error']}" for row in rows if row["error"] is not None
        )

    [sync, sync_trades] >> clients_to_call(sync.output)
