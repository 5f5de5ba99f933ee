"""What an error of one account means for the export of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.exceptions import (
    BankSyncAuthError,
    BankSyncCertificateError,
    BankSyncConfigError,
    BankSyncEdgeBlockedError,
    BankSyncError,
    BankSyncNotFoundError,
    BankSyncPermissionError,
    BankSyncReauthRequiredError,
    BankSyncScopeError,
    BankSyncValidationError,
)

if TYPE_CHECKING:
    from airflow_provider_banksync.export.manifest import Unavailable

#: Another try may cure it.
FAILED = "failed"
#: These concern the key or the way to the API: no account would fare better.
_ALL = (
    BankSyncAuthError,
    BankSyncCertificateError,
    BankSyncConfigError,
    BankSyncEdgeBlockedError,
    BankSyncScopeError,
)
_REASONS = (
    (BankSyncReauthRequiredError, "sign_in"),
    (BankSyncNotFoundError, "not_found"),
    (BankSyncPermissionError, "forbidden"),
    (BankSyncValidationError, "refused"),
)


def reason_of(error: BankSyncError) -> str | None:
    """Return why one account's data could not be had, as `export.manifest.Unavailable` has it.

    :return: None for an error that concerns all accounts.
    """
    if isinstance(error, _ALL):
        return None
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), FAILED)


def describe(unavailable: list[Unavailable], most: int = 20) -> str:
    """Return the first of them as lines."""
    ordered = sorted(unavailable, key=lambda each: each.owner.key)
    lines = [f"\n  - {each}" for each in ordered[:most]]
    if len(ordered) > most:
        lines.append(f"\n  and {len(ordered) - most} more: see the manifest.")
    return "".join(lines)
