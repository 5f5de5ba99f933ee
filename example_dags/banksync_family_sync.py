"""Sync every feed of every client each morning, in one task that holds no worker while it waits.

If one client's bank login has expired, the other clients are still synced. The task waits until every feed has ended.
If feeds failed, it then fails and names the clients and the reasons. You can add retries: a retry syncs only the failed
feeds. The task `clients_to_call` then tells a person, and the run fails.

Needs the connection ``banksync_default`` with the parent workspace's key.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from html import escape

from airflow.providers.common.compat.sdk import DAG, get_current_context, task

from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator

# A manual run on Airflow 3 can have no logical date. The days are then counted back from the earliest start time.
RUN_DAY = "(dag_run.logical_date or dag_run.run_after)"
#: To get mail, set this Airflow variable to an address, and create the connection smtp_default with a "from_email".
MAIL_TO = "{{ var.value.get('banksync_mail_to', '') }}"


def tell(text: str, mail_to: str) -> None:
    """Log which clients need attention, and mail it. Other notifiers, such as SlackNotifier, work in the same way."""
    logging.getLogger(__name__).warning("These clients need attention:\n%s", text)
    if mail_to:
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        html = f"<pre>{escape(text)}</pre>"
        mail = SmtpNotifier(to=mail_to, subject="BankSync: clients need attention", html_content=html)
        mail.notify(get_current_context())


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
    def clients_to_call(results: list[dict[str, dict[str, str | None]] | None], mail_to: str) -> list[str]:
        """Return the failures, sorted by client, and tell a person. A failed sync task also has a result."""
        feeds: dict[tuple[str, str], list[str]] = {}
        for row in (row for result in results for row in (result or {}).values() if row["error"] is not None):
            feeds.setdefault((row["portal"] or "own workspace", row["error"]), []).append(row["feed_name"])
        # A broken bank fails several feeds for one reason, and a client gets one line for it.
        lines = [
            f"{client}: {error} (feeds: {', '.join(sorted(set(names)))})"
            for (client, error), names in sorted(feeds.items())
        ]
        if lines:
            tell("\n".join(lines), mail_to)
        return lines

    @task(retries=0, trigger_rule="none_failed")
    def every_feed_synced() -> None:
        """Fail the DAG run if a sync failed. Without this task, the run would succeed."""

    [sync, sync_trades] >> clients_to_call([sync.output, sync_trades.output], MAIL_TO)
    [sync, sync_trades] >> every_feed_synced()
