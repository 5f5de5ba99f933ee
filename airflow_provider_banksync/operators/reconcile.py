"""Compare the transactions of a ledger with its balances."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, BaseOperator

from airflow_provider_banksync.api.validation import (
    validate_choice,
    validate_integer,
    validate_literal_days,
)
from airflow_provider_banksync.tasks.base import BankSyncTaskMixin, fail_on_permanent_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from decimal import Decimal

    from airflow.providers.common.compat.sdk import Context

#: Ten years.
_MAX_DAYS = 3_650


class BankSyncReconcileOperator(BankSyncTaskMixin, BaseOperator):
    """Tell whether the transactions of each account explain its balances, and whether new ones still come.

    The operator reads two tables that `BankSyncToDeltaLakeOperator` or `BankSyncToSqlOperator` writes, and sends no
    request to BankSync. For each
    account and currency it compares the balances of two days with the posted transactions between them. The outcome of
    an account is one of these:

    - ``reconciled``: the transactions explain the balances.
    - ``difference``: they do not. The result names the amount, and the smallest span of balances in which it arises.
    - ``no_balance``: there are fewer than two balances to compare.
    - ``stale``: there has been no transaction for longer than is usual for this account, or its bank needs a new
      sign-in.

    The result is a table of the same kind, with one row for each account, currency and day of a run. A second run of
    the same day replaces the rows. See docs/reconcile.md.

    Returns a summary: ``table``, ``version``, ``day``, ``accounts``, the number of accounts with each outcome,
    ``differences`` (a list with ``workspace_id``, ``portal_name``, ``bank_id``, ``account_id``, ``currency``,
    ``difference``, ``first_day``, ``last_day`` and more, of at most 100 entries), ``difference_count``,
    ``transactions_version`` and ``balances_version``.

    :param transactions: the table of transactions: URL or absolute path of a Delta Lake table, or with `sql_conn_id`
        the name of a SQL table (templated).
    :param balances: the table of balances (templated).
    :param reconciliation: the table of results. The first run creates it (templated).
    :param accounts: a table of accounts, which tells the types of accounts. Only for ``liabilities="owed"``
        (templated).
    :param banks: a table of banks, which tells which banks need a new sign-in, and when each was linked (templated).
    :param storage_conn_id: Airflow connection of the object store, as for `BankSyncToDeltaLakeOperator` (templated).
    :param sql_conn_id: Airflow connection of the database, of type ``postgres`` or ``sqlite``, if the tables are SQL
        tables (templated).
    :param schema: of the SQL tables. None means the default one (templated).
    :param workspace_ids: reconcile these workspaces only (templated).
    :param from_date: first day of the balances, ``YYYY-MM-DD``. Without it, `days` counts (templated).
    :param days: how many days before the day of the run the balances begin.
    :param min_days_open: the last days are open, because rows of them may still come: 2 are today and yesterday.
        Balances of open days can explain a difference, but cause none.
    :param tolerance: the largest amount that is no difference, in each currency: a Decimal, an int or a text
        (templated).
    :param liabilities: ``signed`` if the balance of a card or a loan is negative while something is owed, as it changes
        by the amounts of transactions. ``owed`` if it is what is owed, as a positive amount. BankSync does not document
        which.
    :param on_difference: ``report`` differences in the result, or ``fail`` the task after the result is written.
    """

    template_fields: Sequence[str] = (
        "transactions",
        "balances",
        "reconciliation",
        "accounts",
        "banks",
        "storage_conn_id",
        "sql_conn_id",
        "schema",
        "workspace_ids",
        "from_date",
        "tolerance",
    )
    ui_color = "#f7f0de"
    #: No request is sent, so no workspace is addressed.
    workspace_id: str | None = None

    def __init__(
        self,
        *,
        transactions: str,
        balances: str,
        reconciliation: str,
        accounts: str | None = None,
        banks: str | None = None,
        storage_conn_id: str | None = None,
        sql_conn_id: str | None = None,
        schema: str | None = None,
        workspace_ids: Sequence[str] | None = None,
        from_date: str | date | None = None,
        days: int = 90,
        min_days_open: int = 2,
        tolerance: Decimal | int | str = 0,
        liabilities: Literal["signed", "owed"] = "signed",
        on_difference: Literal["report", "fail"] = "report",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        validate_choice("liabilities", liabilities, ("signed", "owed"))
        validate_choice("on_difference", on_difference, ("report", "fail"))
        validate_integer("min_days_open", min_days_open, least=0, most=_MAX_DAYS)
        validate_integer("days", days, least=1, most=_MAX_DAYS)
        validate_literal_days(from_date, None)
        self.transactions = transactions
        self.balances = balances
        self.reconciliation = reconciliation
        self.accounts = accounts
        self.banks = banks
        self.storage_conn_id = storage_conn_id
        self.sql_conn_id = sql_conn_id
        self.schema = schema
        self.workspace_ids = workspace_ids
        self.from_date = from_date
        self.days = days
        self.min_days_open = min_days_open
        self.tolerance = tolerance
        self.liabilities = liabilities
        self.on_difference = on_difference

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the tables, write the result, and return the summary."""
        from airflow_provider_banksync.ledger.table import LedgerError
        from airflow_provider_banksync.tasks.reconcile_task import ReconcileRequest, ReconcileTask

        with fail_on_permanent_errors():
            request = ReconcileRequest(
                **{each.name: getattr(self, each.name) for each in fields(ReconcileRequest)}
            )
            try:
                summary: dict[str, Any] = self.to_xcom(ReconcileTask(request, context, self.log).run())
            except LedgerError as error:
                raise (AirflowFailException if error.permanent else AirflowException)(str(error)) from error
            return summary
