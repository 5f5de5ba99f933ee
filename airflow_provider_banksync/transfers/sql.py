"""BankSyncToSqlOperator: a table of a SQL database that follows the bank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.tasks.ledger_operator import LedgerOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from airflow_provider_banksync.api.validation import OnUnavailable, Resource, Scope
    from airflow_provider_banksync.ledger.table import LedgerTable


class BankSyncToSqlOperator(LedgerOperator):
    """Keep a table of a SQL database equal to what BankSync answers.

    For transactions, each run reads the last `lookback_days` days of each account again, and whatever is new or changed
    on earlier days. Inside these days the API is the truth: the run inserts new rows, updates rows that differ, and
    deletes rows that the API does not have any more. Rows that are equal stay untouched. Each client is one
    transaction, so a reader sees all changes of a client, or none. A run that is killed loses nothing: the next run
    ends in the same table. See docs/ledger-sql.md.

    It works with PostgreSQL 12 and later, and with SQLite. The first run creates the table, and beside it
    ``<table>_state``, which belongs to this operator.

    A listing, such as accounts, replaces the rows of each workspace that could be read. Of balances, holdings and
    loans, the table keeps the state of each day.

    The table has the columns of a Parquet export, and ``workspace_id``, ``portal_name``, ``bank_id``, ``account_id``,
    ``first_seen_at`` and ``changed_at``. Names of columns are mixed case, so quote them: ``"pendingTransactionId"``.
    In PostgreSQL, amounts are ``numeric(38,18)``. In SQLite, they are texts with all digits, because SQLite has no
    exact numbers with a fraction. PostgreSQL refuses the character NUL in texts, so U+FFFD replaces it there.

    Returns a summary: ``table``, ``version`` (None), ``rows_read``, ``rows_inserted``, ``rows_updated``,
    ``rows_deleted``, ``accounts``, ``workspaces_changed``, ``unfit`` (a column and how many of its values are in the
    column ``extra``, because they do not fit), ``unavailable`` (a list with ``workspace_id``, ``portal``, ``bank``,
    ``account``, ``reason`` and more, of at most 100 entries), ``unavailable_count``, ``unavailable_reasons``,
    ``duplicates`` and ``outside_window`` (rows that the API sent twice, or for days that were not requested).

    :param resource: transactions or trades; balances, holdings or loans; or workspaces, portals, banks, accounts,
        feeds, integrations, enrichments or jobs (templated).
    :param sql_conn_id: Airflow connection of the database: of type ``postgres`` or ``sqlite`` (templated).
    :param table: name of the table, without the schema. The first run creates it (templated).
    :param schema: schema of the table in PostgreSQL, which must exist. None: the first one of the connection's search
        path, mostly ``public`` (templated).
    :param scope: ``self`` for this workspace, ``family`` for this workspace and all its portals (templated).
    :param workspace_ids: with ``scope="family"``, read these workspaces only. Other rows of the table stay (templated).
    :param bank_ids: read these bank connections only. For the data of accounts (templated).
    :param account_ids: read these accounts only. For the data of accounts (templated).
    :param where: fields of an account, and the value or list of values that each must have. For the data of accounts
        (templated).
    :param from_date: first day of the first read of an account, ``YYYY-MM-DD``. Without it, all that the bank has. For
        transactions and trades (templated).
    :param lookback_days: how many days before the day of the run are read again. Banks send changes of most rows
        within weeks.
    :param include_pending: False leaves out pending transactions.
    :param full_refresh: read each account from `from_date` again. True or False, or the text ``true`` or ``false``
        (templated).
    :param allow_shrink: accept an answer with much fewer posted rows than the table has for the same days. Without it,
        the account is unavailable, and its rows stay. True or False, or the text ``true`` or ``false`` (templated).
    :param rekey: ids of accounts that are gone, each with the id of the account that replaces it, because its bank was
        linked again. The rows of the old account become those of the new one (templated).
    :param concurrency: number of requests in flight.
    :param on_unavailable: if accounts cannot be read: ``fail`` the task after the others are written, or ``report``
        them in the summary. Their rows in the table stay.
    :param banksync_conn_id: Airflow connection to BankSync (templated).
    :param workspace_id: portal to read. None means the workspace of the connection (templated).
    """

    template_fields: Sequence[str] = (*LedgerOperator.template_fields, "sql_conn_id", "table", "schema")

    def __init__(
        self,
        *,
        resource: Resource,
        sql_conn_id: str,
        table: str,
        schema: str | None = None,
        scope: Scope = "self",
        workspace_ids: Sequence[str] | None = None,
        bank_ids: Sequence[str] | None = None,
        account_ids: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        from_date: str | date | None = None,
        lookback_days: int = 45,
        include_pending: bool = True,
        full_refresh: bool | str = False,
        allow_shrink: bool | str = False,
        rekey: Mapping[str, str] | None = None,
        concurrency: int = 8,
        on_unavailable: OnUnavailable = "fail",
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            resource=resource,
            scope=scope,
            workspace_ids=workspace_ids,
            bank_ids=bank_ids,
            account_ids=account_ids,
            where=where,
            from_date=from_date,
            lookback_days=lookback_days,
            include_pending=include_pending,
            full_refresh=full_refresh,
            allow_shrink=allow_shrink,
            rekey=rekey,
            concurrency=concurrency,
            on_unavailable=on_unavailable,
            banksync_conn_id=banksync_conn_id,
            workspace_id=workspace_id,
            **kwargs,
        )
        self.sql_conn_id = sql_conn_id
        self.table = table
        self.schema = schema

    def open_table(self) -> LedgerTable:
        """Return the table, without a change to it."""
        from airflow_provider_banksync.tasks.sql_table import open_sql_table

        return open_sql_table(self.sql_conn_id, self.table, self.schema, self.resource)
