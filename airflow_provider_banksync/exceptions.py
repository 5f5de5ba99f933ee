"""The errors that the hook, the operators, the sensors and the triggers raise. `BankSyncError` is the base of all.

A `permanent` error repeats until you change something, such as the key or an argument. It fails the task without a
retry. After other errors, Airflow retries the task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class BankSyncError(Exception):
    """Base class of all errors of this package.

    :param message: what is wrong.
    :param status: HTTP status of the answer; None if there was none.
    :param method: HTTP method of the request; None if there was no request.
    :param path: path of the request, without the host.
    :param hint: what to do.
    :param ambiguous: the request may have taken effect in spite of the error.
    """

    permanent: bool = False
    #: The same request may soon succeed. Never true together with `permanent`.
    transient: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        method: str | None = None,
        path: str | None = None,
        hint: str = "",
        ambiguous: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.method = method
        self.path = path
        self.hint = hint
        self.ambiguous = ambiguous

    def hide(self, secret: str) -> None:
        """Remove a secret from the error. Some servers repeat what they received."""
        if secret:
            self.rewrite(lambda text: text.replace(secret, "***"))

    def rewrite(self, change: Callable[[str], str]) -> None:
        """Change each text of the error."""
        self.message, self.hint = change(self.message), change(self.hint)
        self.path = self.path and change(self.path)
        self.args = (self.message,)

    def __str__(self) -> str:
        request = f"{self.method} {self.path}: " if self.method and self.path else ""
        stop = "" if self.message.endswith((".", "!", "?", "…")) else "."
        space = "\n" if "\n" in self.message else f"{stop} "
        hint = f"{space}{self.hint}" if self.hint else ""
        return f"{request}{self.message}{hint}"


class BankSyncConfigError(BankSyncError, ValueError):
    """The connection or an argument is wrong. No request was sent."""

    permanent = True


class BankSyncAuthError(BankSyncError):
    """401: the API key or session token is missing, wrong, revoked or expired."""

    permanent = True


class BankSyncPermissionError(BankSyncError):
    """403: the API key lacks a scope, or the role of its owner is too low."""

    permanent = True


class BankSyncEdgeBlockedError(BankSyncError):
    """403 with Cloudflare's error 1010: it blocks the User-Agent. The request did not reach the API."""

    permanent = True


class BankSyncScopeError(BankSyncError):
    """``scope=family`` was refused: the workspace is a portal, or the role is below admin."""

    permanent = True


class BankSyncNotFoundError(BankSyncError):
    """404: the bank, account, feed, job, loan or workspace does not exist, or is deleted."""

    permanent = True


class BankSyncConflictError(BankSyncError):
    """409: a job of the feed is queued or running, or the job to cancel has ended."""


class BankSyncValidationError(BankSyncError):
    """400 or 422: the request itself is wrong.

    :param errors: BankSync's messages about what blocks the request.
    :param warnings: BankSync's other messages.
    """

    permanent = True

    def __init__(
        self,
        message: str = "",
        *,
        errors: list[str] | None = None,
        warnings: list[str] | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.errors = errors or []
        self.warnings = warnings or []

    def rewrite(self, change: Callable[[str], str]) -> None:
        """Change each text of the error, also in both lists."""
        super().rewrite(change)
        self.errors = [change(entry) for entry in self.errors]
        self.warnings = [change(entry) for entry in self.warnings]


class _RetryAfterError(BankSyncError):
    """The server may say when to try again.

    :param retry_after: seconds that the server asks to wait; None if it does not say.
    """

    transient = True

    def __init__(self, message: str = "", *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class BankSyncRateLimitError(_RetryAfterError):
    """429: the rate limit of the key is used up."""


class BankSyncBudgetError(BankSyncRateLimitError):
    """The request was not sent, because the rate limit allows none in time."""


class BankSyncReauthRequiredError(BankSyncError):
    """503 on bank data: the owner of the bank must sign in again. Retries do not help."""

    permanent = True


class BankSyncServerError(_RetryAfterError):
    """5xx: the service, or the edge in front of it, failed."""


class BankSyncConnectionError(BankSyncError):
    """There is no complete answer: name not found, refused, reset or timed out."""

    transient = True


class BankSyncCertificateError(BankSyncConnectionError):
    """The server's certificate cannot be verified. No request was sent."""

    permanent = True
    transient = False


class BankSyncResponseError(BankSyncError):
    """The answer breaks the API's contract: not JSON, not the envelope, or a row without its workspace.

    :param truncated: the body is incomplete, unreadable, or not from BankSync. A retry may help.
    """

    def __init__(self, message: str = "", *, truncated: bool = False, **details: Any) -> None:
        super().__init__(message, **details)
        self.transient = truncated


class BankSyncJobError(BankSyncError):
    """A job failed, was cancelled, or did not end in time.

    :param job: the job's last known state.
    """

    def __init__(self, message: str = "", *, job: dict[str, Any] | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.job = job or {}


class BankSyncJobFailedError(BankSyncJobError):
    """The job failed, or completed with errors and `fail_on_job_errors` is set."""


class BankSyncJobReauthRequiredError(BankSyncJobFailedError, BankSyncReauthRequiredError):
    """The job failed, because the owner of the bank must sign in again. Another job would fail, too."""


class BankSyncJobCancelledError(BankSyncJobError):
    """The job was cancelled."""


class BankSyncJobTimeoutError(BankSyncJobError):
    """The job was still running when the wait timed out."""
