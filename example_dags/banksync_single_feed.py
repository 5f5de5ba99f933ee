"""One feed: sync a few days of it, wait on the triggerer, and use what came of it.

Needs the connection ``banksync_default``. Trigger it with the id of a feed; for a client's feed, with the id of the
client's portal, too.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator

with DAG(
    dag_id="banksync_single_feed",
    description="Sync one feed and wait for it.",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    params={
        "feed_id": Param("", type="string", description="The feed to sync."),
        "workspace_id": Param(
            "", type="string", description="The portal that it lives in; empty: the key's own."
        ),
    },
    tags=["banksync", "example"],
    doc_md=__doc__,
) as dag:
    sync = BankSyncTriggerSyncOperator(
        task_id="sync",
        feed_id="{{ params.feed_id }}",
        workspace_id="{{ params.workspace_id }}",
        deferrable=True,
        if_running="attach",
        timeout=1800,
    )

    @task
    def report(job: dict[str, Any]) -> str:
        """Say what came of it: the operator returns the job."""
        return f"{job['transactionsWritten']} of {job['transactionsProcessed']} rows written"

    report(sync.output)
