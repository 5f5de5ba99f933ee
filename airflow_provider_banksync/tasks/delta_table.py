"""From an Airflow URL and its connection to a Delta Lake table."""

from __future__ import annotations

from airflow_provider_banksync.ledger.columns import Columns
from airflow_provider_banksync.ledger.delta import DeltaLedger


def open_delta_table(table_uri: str, storage_conn_id: str | None, resource: str) -> DeltaLedger:
    return DeltaLedger(table_uri, Columns(resource), {})
