"""The arguments that the operators of ledgers share, checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.validation import (
    ACCOUNT_DATA,
    RESOURCES,
    WINDOWED,
    validate_days,
    validate_resource,
)
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.extract.selection import AccountSelection
from airflow_provider_banksync.tasks.export_request import parse_flag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_LOOKBACK_DAYS = 3_650


@dataclass(frozen=True)
class LedgerRequest:
    """What an operator of a ledger was given, with its templates rendered.

    :raises BankSyncConfigError: if an argument is wrong, or two of them exclude each other.
    """

    resource: str
    scope: str
    workspace_ids: Sequence[str] | None
    bank_ids: Sequence[str] | None
    account_ids: Sequence[str] | None
    where: Mapping[str, Any] | None
    from_date: str | date | None
    lookback_days: int
    include_pending: bool
    full_refresh: bool | str
    allow_shrink: bool | str
    rekey: Mapping[str, str] | None
    concurrency: int
    on_unavailable: str

    def __post_init__(self) -> None:
        if self.resource not in (*RESOURCES, *ACCOUNT_DATA):
            known = ", ".join((*RESOURCES, *ACCOUNT_DATA))
            raise BankSyncConfigError(f"resource must be one of {known}, not {self.resource!r}.")
        validate_resource(self.resource if self.resource in RESOURCES else "banks", self.scope)
        _ = self.selection, self.is_full_refresh, self.allows_shrink, self.first_day
        if self.account_ids is not None and not self.is_account_data:
            raise BankSyncConfigError(f"account_ids is for data of accounts, not for {self.resource}.")
        if self.bank_ids is not None and not self.is_account_data and self.resource != "accounts":
            raise BankSyncConfigError(f"bank_ids is for accounts and their data, not for {self.resource}.")
        if not self.is_account_data and self.where:
            raise BankSyncConfigError(
                f"where is for data of accounts. A table of {self.resource} has all rows of a workspace."
            )
        if self.resource == "accounts" and self.bank_ids is not None:
            raise BankSyncConfigError(
                "a table of accounts has all accounts of a workspace, so it takes no bank_ids."
            )
        if self.first_day and self.resource not in WINDOWED:
            raise BankSyncConfigError(
                f"from_date is for transactions and trades. The API returns {self.resource} as of now."
            )
        if self.rekey and self.resource != "transactions":
            raise BankSyncConfigError("rekey is for transactions.")

    @property
    def is_account_data(self) -> bool:
        """Whether the resource is read account by account."""
        return self.resource in ACCOUNT_DATA

    @property
    def is_full_refresh(self) -> bool:
        """The value of ``full_refresh``."""
        return parse_flag("full_refresh", self.full_refresh)

    @property
    def allows_shrink(self) -> bool:
        """The value of ``allow_shrink``."""
        return parse_flag("allow_shrink", self.allow_shrink)

    @property
    def first_day(self) -> date | None:
        """The value of ``from_date``."""
        first, _ = validate_days(self.from_date, None)
        return None if first is None else date.fromisoformat(first)

    @cached_property
    def selection(self) -> AccountSelection:
        """The account selection of the family. `__post_init__` computes it in the task's thread, as for an export."""
        return AccountSelection.from_arguments(
            self.scope,
            workspace_ids=self.workspace_ids,
            bank_ids=self.bank_ids,
            account_ids=self.account_ids,
            where=self.where,
        )
