"""Start a sync in one task and wait for it in another, with other work in between.

Needs the connection ``banksync_default``. Trigger it with the name of a feed in the key's own workspace.
"""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from airflow_provider_banksync.sensors.job import BankSyncJobSensor


def tell(context: Any) -> None:
    """Mail the error to a person. Other notifiers, such as SlackNotifier, work in the same way.

    To get mail, set the Airflow variable ``banksync_mail_to`` to an address, and create the connection
    ``smtp_default`` with a ``from_email``.
    """
    if mail_to := context["var"]["value"].get("banksync_mail_to", ""):
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        reason = context.get("exception") or "see its log"  # before 3.3, `airflow dags test` passes no error
        html = f"<pre>Task {context['ti'].task_id} failed: {escape(str(reason))}</pre>"
        SmtpNotifier(to=mail_to, subject="BankSync: a sync failed", html_content=html).notify(context)


with DAG(
    dag_id="banksync_wait_with_sensor",
    description="Start a sync, do other work, then wait for the sync with a sensor.",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    params={"feed_name": Param("", type="string", description="The name of the feed to sync.")},
    default_args={"on_failure_callback": tell},
    tags=["banksync", "example"],
    doc_md=__doc__,
) as dag:
    start = BankSyncTriggerSyncOperator(
        task_id="start", feed_name="{{ params.feed_name }}", wait_for_completion=False
    )

    @task
    def other_work() -> None:
        """Do work that does not need the synced data."""

    wait = BankSyncJobSensor(
        task_id="wait",
        feed_id="{{ ti.xcom_pull(task_ids='start')['feedId'] }}",
        job_id="{{ ti.xcom_pull(task_ids='start', key='job_id') }}",
        deferrable=True,
        poke_interval=30,
        timeout=3600,
    )

    start >> other_work() >> wait
