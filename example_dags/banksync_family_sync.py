"""Sync every feed of every client each morning, in one task that holds no worker while it waits.

If one client's bank login has expired, the other clients are still synced. The task waits until every feed has ended.
If feeds failed, it then fails and names the clients and the reasons. You can add retries: a retry syncs only the failed
feeds.

Needs the connection ``banksync_default`` with the parent workspace's key.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator

# A manual run on Airflow 3 can have no logical date. The days are then counted back from the earliest start time.
RUN_DAY = "(dag_run.logical_date or dag_run.run_after)"

with DAG(
    dag_id="banksync_family_sync",
    description="Sync every client's feeds in one task, and list the clients that need attention.",
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
    # BankSync syncs a trades feed only with dates. This task syncs the last seven days. If the family has no trades
    # feeds, Airflow skips this task.
    sync_trades = BankSyncFamilySyncOperator(
        task_id="sync_trades",
        data_types=["trades"],
        from_date=f"{{{{ macros.ds_add({RUN_DAY} | ds, -7) }}}}",
        to_date=f"{{{{ {RUN_DAY} | ds }}}}",
        deferrable=True,
    )

    @task(trigger_rule="all_done", retries=0)
    def clients_to_call(results: dict[str, dict[str, str | None]] | None = None) -> list[str]:
        """Return the failures, sorted by client. A failed sync task also has a result."""
        rows = (results or {}).values()
        return sorted(
            f"{row['portal'] or 'own workspace'}: {row['error']}" for row in rows if row["error"] is not None
        )

    [sync, sync_trades] >> clients_to_call(sync.output)
