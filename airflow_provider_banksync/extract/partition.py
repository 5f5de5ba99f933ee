"""The workspace, bank and account that rows belong to, and why some could not be read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.redaction import show_name
from airflow_provider_banksync.api.retry_policy import asks_for_long_wait
from airflow_provider_banksync.exceptions import (
    BankSyncAuthError,
    BankSyncCertificateError,
    BankSyncConfigError,
    BankSyncEdgeBlockedError,
    BankSyncError,
    BankSyncNotFoundError,
    BankSyncPermissionError,
    BankSyncRateLimitError,
    BankSyncReauthRequiredError,
    BankSyncScopeError,
    BankSyncValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Partition:
    """A workspace, bank and account that rows belong to. Rows of a listing have a workspace only.

    ``portal``, ``bank`` and ``account`` are names for people. ``portal`` is None for the parent workspace.

    :param identity: a digest of an account's institution, currency and last digits. If a bank is linked again, its
        accounts have new ids, but the same identity. None if one of these is unknown.
    """

    workspace_id: str
    portal: str | None = None
    bank_id: str | None = None
    bank: str | None = None
    account_id: str | None = None
    account: str | None = None
    identity: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """The ids. Two partitions with the same key are the same partition."""
        return self.workspace_id, self.bank_id or "", self.account_id or ""

    def __str__(self) -> str:
        names = ["own workspace" if self.portal is None else f"client {show_name(self.portal)!r}"]
        if self.bank_id is not None:
            name = show_name(self.bank) if self.bank else self.bank_id
            names.append(f"bank {name!r}")
        if self.account_id is not None:
            name = show_name(self.account) if self.account else self.account_id
            names.append(f"account {name!r} ({self.account_id})")
        return ", ".join(names)

    def to_json(self) -> dict[str, Any]:
        """Return the fields for a manifest, without bank and account if there is none."""
        if self.bank_id is None:
            return {"workspace_id": self.workspace_id, "portal": self.portal}
        return {name: value for name, value in asdict(self).items() if name != "identity"}


@dataclass(frozen=True)
class Unavailable:
    """An account, or all accounts of a bank, that could not be read.

    :param reason: ``sign_in`` (the bank needs a new sign-in), ``not_found``, ``forbidden``, ``refused`` (the API calls
        the request invalid), ``rate_limited`` (the bank allows no more requests for now) or ``failed`` (a retry may
        succeed).
    """

    partition: Partition
    reason: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields for a manifest or an XCom."""
        return {**self.partition.to_json(), "reason": self.reason, "message": self.message}

    def __str__(self) -> str:
        return f"{self.partition}: {self.message}"


#: `format_unavailable` shows at most this many.
_MAX_SHOWN = 20
#: The reason that a retry may cure, and the one that needs hours.
RETRYABLE, RATE_LIMITED = "failed", "rate_limited"
#: The API calls the request invalid.
REFUSED = "refused"
#: Errors of the key, the connection or the network. Every other account would fail in the same way.
ERRORS_FOR_ALL_ACCOUNTS = (
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
    (BankSyncValidationError, REFUSED),
)


def unavailable_reason(error: BankSyncError) -> str | None:
    """Return the reason that `Unavailable` has for an error, or None if the error concerns all accounts."""
    if isinstance(error, ERRORS_FOR_ALL_ACCOUNTS):
        return None
    if isinstance(error, BankSyncRateLimitError) and asks_for_long_wait(error):
        return RATE_LIMITED
    return next((reason for error_class, reason in _REASONS if isinstance(error, error_class)), RETRYABLE)


def format_unavailable(unavailable: Iterable[Unavailable]) -> str:
    """Return the first of them as an indented list."""
    ordered = sorted(unavailable, key=lambda each: each.partition.key)
    lines = [f"\n  - {each}" for each in ordered[:_MAX_SHOWN]]
    if len(ordered) > _MAX_SHOWN:
        lines.append(f"\n  and {len(ordered) - _MAX_SHOWN} more. The manifest lists all of them.")
    return "".join(lines)
