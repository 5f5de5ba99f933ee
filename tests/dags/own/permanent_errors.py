"""What fails for good, in tasks that have retries left: a plain task, and a sync of a bank that needs a new sign-in."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator

with DAG(
    "banksync_permanent_errors",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(0)},
) as dag:

    @task
    def plain() -> None:
        BankSyncHook().get_feed("no-such-feed")

    plain()
    for deferrable in (False, True):
        BankSyncTriggerSyncOperator(
            task_id="deferred" if deferrable else "blocking",
            feed_name=f"feed {deferrable}",
            poll_interval=0.1,
            deferrable=deferrable,
        )
