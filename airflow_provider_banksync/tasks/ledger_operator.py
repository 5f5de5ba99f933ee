"""The base of the operators that keep a table equal to what BankSync answers."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, BaseOperator

from airflow_provider_banksync.api.validation import (
    ACCOUNT_DATA,
    ON_UNAVAILABLE,
    RESOURCES,
    SCOPES,
    is_rendered_later,
    validate_choice,
    validate_flags,
    validate_integer,
    validate_literal_days,
    validate_literals,
    validate_resource,
)
from airflow_provider_banksync.tasks.base import BankSyncTaskMixin, fail_on_permanent_errors
from airflow_provider_banksync.tasks.literals import validate_literal_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.ledger.table import LedgerTable
    from airflow_provider_banksync.tasks.ledger_task import LedgerTask

MAX_CONCURRENCY = 64
#: Ten years.
MAX_LOOKBACK_DAYS = 3_650


class LedgerOperator(BankSyncTaskMixin, BaseOperator):
    """What `BankSyncToDeltaLakeOperator` and `BankSyncToSqlOperator` share. Use one of them."""

    template_fields: Sequence[str] = (
        "resource",
        "scope",
        "workspace_ids",
        "bank_ids",
        "account_ids",
        "where",
        "from_date",
        "full_refresh",
        "allow_shrink",
        "rekey",
        "workspace_id",
        "banksync_conn_id",
    )
    ui_color = "#f7f0de"
    _ledger: LedgerTask | None = None

    def __init__(
        self,
        *,
        resource: str,
        scope: str,
        workspace_ids: Sequence[str] | None,
        bank_ids: Sequence[str] | None,
        account_ids: Sequence[str] | None,
        where: Mapping[str, Any] | None,
        from_date: str | date | None,
        lookback_days: int,
        include_pending: bool,
        full_refresh: bool | str,
        allow_shrink: bool | str,
        rekey: Mapping[str, str] | None,
        concurrency: int,
        on_unavailable: str,
        banksync_conn_id: str,
        workspace_id: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        validate_choice("on_unavailable", on_unavailable, ON_UNAVAILABLE)
        validate_flags(include_pending=include_pending)
        validate_integer("concurrency", concurrency, least=1, most=MAX_CONCURRENCY)
        validate_integer("lookback_days", lookback_days, least=0, most=MAX_LOOKBACK_DAYS)
        validate_literals((*RESOURCES, *ACCOUNT_DATA), resource=resource)
        validate_literals(SCOPES, scope=scope)
        if resource in RESOURCES and not is_rendered_later(scope):
            validate_resource(resource, scope)
        validate_literal_days(from_date, None)
        self.resource = resource
        self.scope = scope
        validate_literal_arguments(
            workspace_ids=workspace_ids,
            bank_ids=bank_ids,
            account_ids=account_ids,
            where=where,
            workspace_id=workspace_id,
        )
        self.workspace_ids = workspace_ids
        self.bank_ids = bank_ids
        self.account_ids = account_ids
        self.where = where
        self.from_date = from_date
        self.lookback_days = lookback_days
        self.include_pending = include_pending
        self.full_refresh = full_refresh
        self.allow_shrink = allow_shrink
        self.rekey = rekey
        self.concurrency = concurrency
        self.on_unavailable = on_unavailable
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id

    def open_table(self) -> LedgerTable:
        """Return the table, without a change to it."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the accounts, change the table, and return the summary."""
        from airflow_provider_banksync.tasks.ledger_request import LedgerRequest

        with fail_on_permanent_errors():
            request = LedgerRequest(
                **{field.name: getattr(self, field.name) for field in fields(LedgerRequest)}
            )
            return self._run(request, context)

    def _run(self, request: Any, context: Context) -> dict[str, Any]:
        from airflow_provider_banksync.ledger.table import LedgerError
        from airflow_provider_banksync.tasks.ledger_task import LedgerTask

        try:
            self._ledger = LedgerTask(request, self.hook, self.open_table(), context, self.log)
            summary: dict[str, Any] = self.to_xcom(self._ledger.run())
        except LedgerError as error:
            raise (AirflowFailException if error.permanent else AirflowException)(str(error)) from error
        finally:
            self._ledger = None
        return summary

    def on_kill(self) -> None:
        """Stop the run. The clients that are written stay."""
        if self._ledger is not None:
            self._ledger.stop()
