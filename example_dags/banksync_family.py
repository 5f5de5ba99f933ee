"""Every client of the family: sync each feed, wait for it, then export what there is, one folder per client.

Needs the connection ``banksync_default`` with the parent workspace's key. The files go to the folder or bucket in the
Airflow variable ``banksync_export_url`` (an environment variable does: ``AIRFLOW_VAR_BANKSYNC_EXPORT_URL``).
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_banksync.operators.listing import BankSyncListOperator
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

EXPORT_URL = "{{ var.value.get('banksync_export_url', 'file:///tmp/banksync-export') }}"
# Where a run has no data interval (a manual one on Airflow 3), the days count back from when it may run.
RUN_DAY = "(dag_run.logical_date or dag_run.run_after)"

with DAG(
    dag_id="banksync_family",
    description="Sync every client's feeds, then export the family's banks, feeds, integrations and accounts.",
    schedule="0 5 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["banksync", "example"],
    doc_md=__doc__,
) as dag:
    feeds = BankSyncListOperator(
        task_id="feeds",
        resource="feeds",
        scope="family",
        where={"dataType": ["transactions", "balances", "holdings", "loans"]},
        fields={"feed_id": "id", "workspace_id": "workspaceId"},
    )
    # A trade feed is never synced without a date range (banksync-api): these get the last seven days.
    trade_feeds = BankSyncListOperator(
        task_id="trade_feeds",
        resource="feeds",
        scope="family",
        where={"dataType": "trades"},
        fields={"feed_id": "id", "workspace_id": "workspaceId"},
    )

    # One task a feed; all of them wait in the triggerer, and hold no worker meanwhile. (Airflow maps 1,024 tasks at
    # most, unless [core] max_map_length says more.)
    sync = BankSyncTriggerSyncOperator.partial(
        task_id="sync", deferrable=True, map_index_template="{{ task.feed_id }}"
    ).expand_kwargs(feeds.output)
    sync_trades = BankSyncTriggerSyncOperator.partial(
        task_id="sync_trades",
        deferrable=True,
        from_date=f"{{{{ macros.ds_add({RUN_DAY} | ds, -7) }}}}",
        to_date=f"{{{{ {RUN_DAY} | ds }}}}",
        map_index_template="{{ task.feed_id }}",
    ).expand_kwargs(trade_feeds.output)

    # One client's expired bank login must not cost the others their morning: the export waits for the syncs to end,
    # well or not ...
    for resource in ("banks", "feeds", "integrations", "accounts"):
        export = BankSyncToObjectStorageOperator(
            task_id=f"export_{resource}",
            resource=resource,
            scope="family",
            destination=EXPORT_URL,
            trigger_rule="all_done",
        )
        [sync, sync_trades] >> export

    @task(retries=0, trigger_rule="none_failed")
    def every_feed_synced() -> None:
        """Keep the run red where a sync failed: the exports alone would make it green.

        A family without trade feeds skips ``sync_trades``, which is no failure.
        """

    [sync, sync_trades] >> every_feed_synced()
