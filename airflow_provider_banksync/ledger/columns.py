"""The columns of a ledger's table: those of a Parquet export, whose rows they are, and when they were seen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from airflow_provider_banksync.api.validation import ACCOUNT_DATA, WINDOWED
from airflow_provider_banksync.export.formats import parquet
from airflow_provider_banksync.export.formats.schema import PORTAL_NAME

WORKSPACE_ID, BANK_ID, ACCOUNT_ID = "workspace_id", "bank_id", "account_id"
#: The day of a balance, a holding or a loan: when it was read.
DAY = "day"
#: Names a holding of an account: its id, else its symbol, else its name. The API documents none of them.
POSITION = "position"
#: When a row came into the table, and when it changed last.
FIRST_SEEN_AT, CHANGED_AT = "first_seen_at", "changed_at"
#: Times have microseconds, and are in UTC.
TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Columns:
    """The columns of a resource, and which of them identify a row."""

    resource: str

    @property
    def is_account_data(self) -> bool:
        """Whether rows belong to an account. Otherwise they belong to a workspace."""
        return self.resource in ACCOUNT_DATA

    @property
    def is_windowed(self) -> bool:
        """Whether rows have a day of their own, and are read by days."""
        return self.resource in WINDOWED

    @property
    def is_daily(self) -> bool:
        """Whether the table keeps one state for each day."""
        return self.is_account_data and not self.is_windowed

    @property
    def key(self) -> str:
        """The column that names a row of one account and day, or of one workspace."""
        if self.resource in ("balances", "loans"):
            return ACCOUNT_ID
        return POSITION if self.resource == "holdings" else "id"

    @property
    def day(self) -> str | None:
        """The column with the day of a row."""
        if self.is_windowed:
            return "date"
        return DAY if self.is_daily else None

    @property
    def owner(self) -> tuple[str, ...]:
        """The columns that say whose rows they are."""
        return (WORKSPACE_ID, ACCOUNT_ID) if self.is_account_data else (WORKSPACE_ID,)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns that identify a row of the table."""
        day = (DAY,) if self.is_daily else ()
        name = () if self.key in self.owner else (self.key,)
        return (*self.owner, *day, *name)

    @cached_property
    def api_schema(self) -> pa.Schema:
        """The columns that the API fills, and ``extra``."""
        return parquet.schema(self.resource)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of the table."""
        owner = (WORKSPACE_ID, PORTAL_NAME, *((BANK_ID, ACCOUNT_ID) if self.is_account_data else ()))
        return pa.schema(
            [
                *(pa.field(name, pa.string()) for name in owner),
                *([pa.field(DAY, pa.date32())] if self.is_daily else []),
                *([pa.field(POSITION, pa.string())] if self.key == POSITION else []),
                *self.api_schema,
                *(pa.field(name, TIMESTAMP) for name in (FIRST_SEEN_AT, CHANGED_AT)),
            ]
        )
