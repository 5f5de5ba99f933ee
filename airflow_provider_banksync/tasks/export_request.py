"""The arguments of an export, checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.validation import (
    ACCOUNT_DATA,
    ON_DRIFT,
    RESOURCES,
    WINDOWED,
    validate_choice,
    validate_resource,
)
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.extract.selection import AccountSelection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

_BOOLEANS = {"true": True, "false": False, "": False, "none": False}


@dataclass(frozen=True)
class ExportRequest:
    """What `BankSyncToObjectStorageOperator` was given, with its templates rendered.

    :raises BankSyncConfigError: if an argument is wrong, or two of them exclude each other.
    """

    resource: str
    destination: str
    storage_conn_id: str | None
    scope: str
    workspace_ids: Sequence[str] | None
    bank_ids: Sequence[str] | None
    account_ids: Sequence[str] | None
    where: Mapping[str, Any] | None
    from_date: str | date | None
    to_date: str | date | None
    incremental: bool
    full_refresh: bool | str
    allow_shrink: bool | str
    file_format: str
    compression: str | None
    escape_formulas: bool
    portal_name: bool
    max_rows_per_file: int | None
    concurrency: int
    on_unavailable: str
    on_drift: str = "warn"
    files: str = "account"

    def __post_init__(self) -> None:
        if self.resource not in (*RESOURCES, *ACCOUNT_DATA):
            known = ", ".join((*RESOURCES, *ACCOUNT_DATA))
            raise BankSyncConfigError(f"resource must be one of {known}, not {self.resource!r}.")
        validate_resource(self.resource if self.resource in RESOURCES else "banks", self.scope)
        validate_choice("on_drift", self.on_drift, ON_DRIFT)
        _ = self.selection
        if self.account_ids is not None and not self.is_account_data:
            raise BankSyncConfigError(f"account_ids is for data of accounts, not for {self.resource}.")
        if self.bank_ids is not None and not self.is_account_data and self.resource != "accounts":
            raise BankSyncConfigError(f"bank_ids is for accounts and their data, not for {self.resource}.")
        self._check_incremental()
        _ = self.allows_shrink
        if (self.from_date or self.to_date) and self.resource not in WINDOWED:
            raise BankSyncConfigError(
                f"from_date and to_date are for transactions and trades. The API returns {self.resource} as of now."
            )

    def _check_incremental(self) -> None:
        if self.incremental and self.resource != "transactions":
            raise BankSyncConfigError(
                f"incremental is for transactions. The API has no cursors for {self.resource}."
            )
        if self.incremental and self.to_date:
            raise BankSyncConfigError("to_date cannot be used with incremental: a batch always ends now.")
        if self.resets_cursors and not self.incremental:
            raise BankSyncConfigError("full_refresh needs incremental=True. Other exports have no cursors.")

    @property
    def is_account_data(self) -> bool:
        """Whether the resource is read account by account."""
        return self.resource in ACCOUNT_DATA

    @property
    def resets_cursors(self) -> bool:
        """The value of ``full_refresh``."""
        return parse_flag("full_refresh", self.full_refresh)

    @property
    def allows_shrink(self) -> bool:
        """The value of ``allow_shrink``."""
        return parse_flag("allow_shrink", self.allow_shrink)

    @cached_property
    def selection(self) -> AccountSelection:
        """The account selection of the family.

        `__post_init__` computes it in the task's thread: Airflow passes the results of mapped tasks as sequences that
        read its database, and SQLite refuses to be read from another thread.
        """
        return AccountSelection.from_arguments(
            self.scope,
            workspace_ids=self.workspace_ids,
            bank_ids=self.bank_ids,
            account_ids=self.account_ids,
            where=self.where,
        )


def parse_flag(argument: str, value: object) -> bool:
    """Return the value of a flag, which a template may give as text."""
    if isinstance(value, str):
        value = _BOOLEANS.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise BankSyncConfigError(f"{argument} must be true or false, not {value!r}.")
    return value
