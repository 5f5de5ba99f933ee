"""Sync one feed, wait in the triggerer, and use the result.

Needs the connection ``banksync_default``. Trigger it with the id of a feed and the id of its workspace, for example a
client's portal.
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
        "feed_id": Param("", type="string", description="The id of the feed to sync."),
        "workspace_id": Param(
            "", type="string", description="The id of the feed's workspace, for example a client's portal."
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
        """Summarize the job that the operator returned."""
        return f"{job['transactionsWritten']} of {job['transactionsProcessed']} rows written"

    report(sync.output)
