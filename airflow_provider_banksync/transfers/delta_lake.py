"""BankSyncToDeltaLakeOperator: a Delta Lake table that follows the bank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.validation import validate_flags
from airflow_provider_banksync.transfers.base import BankSyncLedgerOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_banksync.ledger.table import LedgerTable


class BankSyncToDeltaLakeOperator(BankSyncLedgerOperator):
    """Keep a Delta Lake table equal to what BankSync answers.

    :param table_uri: URL or absolute path of the table (templated).
    """

    template_fields: Sequence[str] = (*BankSyncLedgerOperator.template_fields, "table_uri", "storage_conn_id")

    def __init__(
        self,
        *,
        table_uri: str,
        storage_conn_id: str | None = None,
        optimize: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        validate_flags(optimize=optimize)
        self.table_uri = table_uri
        self.storage_conn_id = storage_conn_id
        self.optimize = optimize

    def open_table(self) -> LedgerTable:
        """Return the table, without a change to it."""
        from airflow_provider_banksync.tasks.delta_table import open_delta_table

        return open_delta_table(self.table_uri, self.storage_conn_id, self.resource)
