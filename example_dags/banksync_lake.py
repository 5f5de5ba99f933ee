"""Export every client's transactions and balances to a lake each morning.

The task `transactions` exports the days that ended within the run's data interval. On Airflow 3, the data interval of a
cron schedule has zero length. The task then exports the days since the previous scheduled time.

The task `new_transactions` exports all transactions that are new since the last run, including those of earlier days.

If a bank needs a new sign-in, the rest is exported, and DAGs that read the lake run. The task `clients_to_call` tells a
person, and the run fails.

Writes to the folder (`file:///data/lake`) or bucket (`s3://bucket/lake`) in the Airflow variable `banksync_export_url`.
"""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from html import escape
from typing import Any

from airflow.providers.common.compat.sdk import DAG, AirflowFailException, Asset, get_current_context, task

from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

LAKE = "{{ var.value.get('banksync_export_url', 'file:///tmp/banksync') }}"
# DAGs that read the lake can use this asset as their schedule. Its events contain the number of rows and the banks that
# need a new sign-in.
TRANSACTIONS = Asset("banksync://lake/transactions")
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
    dag_id="banksync_lake",
    schedule="0 5 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,  # each batch begins where the previous one ended
    tags=["banksync"],
    doc_md=__doc__,
) as dag:
    transactions = BankSyncToObjectStorageOperator(
        task_id="transactions",
        resource="transactions",
        scope="family",
        destination=LAKE,
        on_unavailable="report",
        outlets=[TRANSACTIONS],
        retries=2,
    )
    new_transactions = BankSyncToObjectStorageOperator(
        task_id="new_transactions",
        resource="transactions",
        scope="family",
        destination=f"{LAKE}/new",
        incremental=True,
        compression="gzip",
        on_unavailable="report",
        retries=2,
    )
    balances = BankSyncToObjectStorageOperator(
        task_id="balances",
        resource="balances",
        scope="family",
        destination=LAKE,
        file_format="csv",
        on_unavailable="report",
        retries=2,
    )
    exports = [transactions, new_transactions, balances]

    @task(trigger_rule="all_done", retries=0)
    def clients_to_call(summaries: list[dict[str, Any] | None], mail_to: str) -> list[str]:
        """Return the clients and banks whose data is missing, and tell a person."""
        rows = [row for summary in summaries for row in (summary or {}).get("unavailable", ())]
        lines = {f"{row['portal'] or 'own workspace'}: {row.get('bank')}: {row['reason']}" for row in rows}
        if lines:
            tell("\n".join(sorted(lines)), mail_to)
        return sorted(lines)

    @task(retries=0, trigger_rule="none_failed")
    def everything_exported(clients: list[str]) -> None:
        """Fail the DAG run if an export failed or data is missing. Without this task, the run would succeed."""
        if clients:
            raise AirflowFailException("\n".join(["The lake lacks data of these clients:", *clients]))

    clients = clients_to_call([export.output for export in exports], MAIL_TO)
    exports >> clients
    exports >> everything_exported(clients)
