"""Sync one feed, wait in the triggerer, and use the result.

Needs the connection ``banksync_default``. Trigger it with the id of a feed. If the feed is in another workspace than
the key, for example in a client's portal, add the id of that workspace.
"""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator


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
    dag_id="banksync_single_feed",
    description="Sync one feed and wait for it.",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    params={
        "feed_id": Param("", type="string", description="The id of the feed to sync."),
        # If you leave the field empty, the operator gets None.
        "workspace_id": Param(
            None,
            type=["null", "string"],
            description="The id of the feed's workspace, for example a client's portal. Empty: the key's own.",
        ),
    },
    default_args={"on_failure_callback": tell},
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
