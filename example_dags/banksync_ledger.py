"""Keep tables of every client's transactions and balances equal to what the banks say, and reconcile them.

The tasks `transactions`, `balances` and `banks` keep tables. For transactions, the last 45 days are read again each
morning, and what differs is inserted, updated and deleted. The task `reconcile` compares the transactions with the
balances, once the tables have balances of several days.

If a bank needs a new sign-in, the rest is written. The task `clients_to_call` tells a person about such banks, about
accounts without new transactions, and about differences. Then the run fails.

Writes to the folder (`/data/books`) or bucket (`s3://bucket/books`) in the Airflow variable `banksync_books_url`.
"""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from html import escape
from typing import Any

from airflow.providers.common.compat.sdk import DAG, AirflowFailException, chain, get_current_context, task

from airflow_provider_banksync.operators.reconcile import BankSyncReconcileOperator
from airflow_provider_banksync.transfers.delta_lake import BankSyncToDeltaLakeOperator

BOOKS = "{{ var.value.get('banksync_books_url', '/tmp/banksync_books') }}"
TABLES = {name: f"{BOOKS}/{name}" for name in ("transactions", "balances", "banks")}
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
    dag_id="banksync_ledger",
    schedule="0 5 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["banksync"],
    doc_md=__doc__,
) as dag:
    tables = [
        BankSyncToDeltaLakeOperator(
            task_id=resource,
            resource=resource,
            scope="family",
            table_uri=table_uri,
            on_unavailable="report",
            retries=2,
        )
        for resource, table_uri in TABLES.items()
    ]
    reconcile = BankSyncReconcileOperator(
        task_id="reconcile", reconciliation=f"{BOOKS}/reconciliation", **TABLES
    )

    @task
    def clients_to_call(summary: dict[str, Any], result: dict[str, Any], mail_to: str) -> None:
        """Tell a person which accounts could not be read, or do not reconcile, and fail if there are any."""
        lines = {
            f"{row['portal'] or 'own workspace'}: {row['bank']}: {row['reason']}"
            for row in summary["unavailable"]
        }
        lines |= {
            f"{row['portal_name'] or 'own workspace'}: account {row['account_id']}: difference {row['difference']} "
            f"{row['currency']}, {row['first_day']} to {row['last_day']}"
            for row in result["differences"]
        }
        if lines:
            tell("\n".join(sorted(lines)), mail_to)
            raise AirflowFailException("\n".join(["These clients need attention:", *sorted(lines)]))

    chain(*tables, reconcile)
    clients_to_call(tables[0].output, reconcile.output, MAIL_TO)
