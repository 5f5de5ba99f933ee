"""Keep tables of every client's transactions and balances equal to what the banks say, each morning.

The task `transactions` reads the last 45 days of each account again, and inserts, updates and deletes what differs. The
task `balances` keeps the balance of each day.

If a bank needs a new sign-in, the rest is written. The task `clients_to_call` tells a person, and the run fails.

Writes to the folder (`/data/books`) or bucket (`s3://bucket/books`) in the Airflow variable `banksync_books_url`.
"""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from html import escape
from typing import Any

from airflow.providers.common.compat.sdk import DAG, AirflowFailException, get_current_context, task

from airflow_provider_banksync.transfers.delta_lake import BankSyncToDeltaLakeOperator

BOOKS = "{{ var.value.get('banksync_books_url', '/tmp/banksync_books') }}"
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
    transactions, balances = (
        BankSyncToDeltaLakeOperator(
            task_id=resource,
            resource=resource,
            scope="family",
            table_uri=f"{BOOKS}/{resource}",
            on_unavailable="report",
            retries=2,
        )
        for resource in ("transactions", "balances")
    )

    @task
    def clients_to_call(summary: dict[str, Any], mail_to: str) -> None:
        """Tell a person about accounts that could not be read, and fail if there are any."""
        unavailable = summary["unavailable"]
        lines = {
            f"{entry['portal'] or 'own workspace'}: {entry['bank']}: {entry['reason']}"
            for entry in unavailable
        }
        if lines:
            tell("\n".join(sorted(lines)), mail_to)
            raise AirflowFailException(
                f"{summary['unavailable_count']} accounts or banks could not be read:\n"
                + "\n".join(sorted(lines))
            )

    transactions >> balances
    clients_to_call(transactions.output, MAIL_TO)
