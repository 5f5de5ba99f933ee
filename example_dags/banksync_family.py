"""Sync each feed of every client with one task per feed, then export listings, one folder per client.

Needs the connection ``banksync_default`` with the parent workspace's key. Writes to the folder or bucket in the Airflow
variable ``banksync_export_url``. You can set it as an environment variable: ``AIRFLOW_VAR_BANKSYNC_EXPORT_URL``.

If a sync fails, the others continue, the task `clients_to_call` tells a person, and the run fails.
"""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from html import escape
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DAG, get_current_context, task

from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.operators.listing import BankSyncListOperator
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

if TYPE_CHECKING:
    from collections.abc import Iterable

EXPORT_URL = "{{ var.value.get('banksync_export_url', 'file:///tmp/banksync-export') }}"
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
    # BankSync syncs a trades feed only with dates. These tasks sync the last seven days.
    trade_feeds = BankSyncListOperator(
        task_id="trade_feeds",
        resource="feeds",
        scope="family",
        where={"dataType": "trades"},
        fields={"feed_id": "id", "workspace_id": "workspaceId"},
    )

    # Each feed has its own task. All of these tasks wait in the triggerer and hold no worker. Airflow maps at most
    # 1,024 tasks, unless [core] max_map_length allows more.
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

    # One client's expired bank login must not stop the exports of the others. So the exports run when all syncs have
    # ended, even if some of them failed.
    for resource in ("banks", "feeds", "integrations", "accounts"):
        export = BankSyncToObjectStorageOperator(
            task_id=f"export_{resource}",
            resource=resource,
            scope="family",
            destination=EXPORT_URL,
            trigger_rule="all_done",
        )
        [sync, sync_trades] >> export

    @task(trigger_rule="all_done", retries=0)
    def clients_to_call(
        listed: list[Iterable[Any] | None], jobs: list[Iterable[Any] | None], mail_to: str
    ) -> list[str]:
        """Return each feed that was not synced, with its client, and tell a person. Its task has the reason."""
        wanted = {feed["feed_id"] for feeds in listed for feed in feeds or ()}
        synced = {job["feedId"] for each in jobs for job in each or ()}
        lines = sorted(
            f"{(feed.get('portal') or {}).get('name', 'own workspace')}: {feed['name']}"
            for feed in BankSyncHook().list_feeds("family")
            if feed["id"] in wanted - synced
        )
        if lines:
            tell("\n".join(lines), mail_to)
        return lines

    clients = clients_to_call([feeds.output, trade_feeds.output], [sync.output, sync_trades.output], MAIL_TO)

    @task(retries=0, trigger_rule="none_failed")
    def every_feed_synced() -> None:
        """Fail the DAG run if a sync failed. Without this task, the run would succeed.

        If the family has no trades feeds, Airflow skips ``sync_trades``. This does not fail the run.
        """

    [sync, sync_trades] >> clients
    [sync, sync_trades] >> every_feed_synced()
