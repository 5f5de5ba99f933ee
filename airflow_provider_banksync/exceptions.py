"""Every error that comes out of the BankSync hook, its clients and its triggers.

::

    BankSyncError                         .status .method .path .hint .permanent
    ├── BankSyncConfigError               the connection or an argument is wrong; nothing was sent (also a ValueError)
    ├── BankSyncAuthError                 401: the key is missing, wrong, revoked or expired
    ├── BankSyncPermissionError           403: the key lacks a scope, or its owner's role is too low
    ├── BankSyncEdgeBlockedError          403 by Cloudflare, before the API was reached
    ├── BankSyncScopeError                scope=family was refused (400 or 403)
    ├── BankSyncNotFoundError             404: no such thing, or deleted
    ├── BankSyncConflictError             409: a job runs already, has ended already, ...
    ├── BankSyncValidationError           400 or 422                          .errors .warnings
    ├── BankSyncRateLimitError            429                                 .retry_after
    │   └── BankSyncBudgetError           not sent: our own budget is spent for longer than the request may wait
    ├── BankSyncReauthRequiredError       503: the bank wants its owner to sign in again
    ├── BankSyncServerError               the service or its edge failed (5xx)
    ├── BankSyncConnectionError           no answer: DNS, refused, reset, timeout
    │   └── BankSyncCertificateError      the server's certificate is not to be trusted; nothing was sent
    ├── BankSyncResponseError             an answer that is not BankSync's envelope
    └── job errors                        .job (the job's last known state)
        ├── BankSyncJobFailedError
        ├── BankSyncJobCancelledError
        └── BankSyncJobTimeoutError       still running when the time was up

`permanent` says whether the same request can ever succeed without somebody changing something. In a task, a
permanent error fails at once; the others leave the task's retries to work.
"""

from __future__ import annotations

from typing import Any


class BankSyncError(Exception):
    """Base class of every error that this package raises.

    :param message: what was asked, what came back.
    :param status: HTTP status of the answer; None when there was no answer.
    :param method: HTTP method of the request; None when no request was involved.
    :param path: path of the request, without the host.
    :param hint: what to do about it.
    :param ambiguous: True when the request may have done its work although this error came back.
    """

    permanent: bool = False
    #: When the request left, by the monotonic clock of this process; None where none did.
    sent_at: float | None = None
    #: Worth trying again soon, by itself. Never true together with `permanent`.
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
        """Take a secret out of everything that this error says; servers have been known to echo what they got."""
        if secret:
            self.message = self.message.replace(secret, "***")
            self.args = (self.message,)

    def __str__(self) -> str:
        request = f"{self.method} {self.path}: " if self.method and self.path else ""
        stop = "" if self.message.endswith((".", "!", "?", "…")) else "."
        space = "\n" if "\n" in self.message else f"{stop} "
        hint = f"{space}{self.hint}" if self.hint else ""
        return f"{request}{self.message}{hint}"


class BankSyncConfigError(BankSyncError, ValueError):
    """The connection or an argument is wrong. Raised before any request is sent."""

    permanent = True


class BankSyncAuthError(BankSyncError):
    """401: the API key or session token is missing, wrong, revoked or expired."""

    permanent = True


class BankSyncPermissionError(BankSyncError):
    """403: the API key lacks a scope, or the role of its owner is too low."""

    permanent = True


class BankSyncEdgeBlockedError(BankSyncError):
    """403 from Cloudflare: the request was stopped before it reached the API."""

    permanent = True


class BankSyncScopeError(BankSyncError):
    """``scope=family`` was refused: a portal was asked, or the role is below admin."""

    permanent = True


class BankSyncNotFoundError(BankSyncError):
    """404: no such bank, account, feed, job, loan or workspace; or it was deleted."""

    permanent = True


class BankSyncConflictError(BankSyncError):
    """409: a job of this feed is queued or running, or the job to cancel has ended."""


class BankSyncValidationError(BankSyncError):
    """400 or 422: the request itself is wrong.

    :param errors: what blocks, in the vendor's words.
    :param warnings: what does not block, in the vendor's words.
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

    def hide(self, secret: str) -> None:
        """Take a secret out of the message and of both lists."""
        super().hide(secret)
        if secret:
            self.errors = [entry.replace(secret, "***") for entry in self.errors]
            self.warnings = [entry.replace(secret, "***") for entry in self.warnings]


class BankSyncRateLimitError(BankSyncError):
    """429: the key's request budget is spent.

    :param retry_after: seconds that the server asks to wait; None when it does not say.
    """

    transient = True

    def __init__(self, message: str = "", *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class BankSyncBudgetError(BankSyncRateLimitError):
    """The request was not sent: the rate budget is spent for longer than there is time."""


class BankSyncReauthRequiredError(BankSyncError):
    """503 on bank data: the bank wants its owner to sign in again. No retry cures it."""

    permanent = True


class BankSyncServerError(BankSyncError):
    """The service, or the edge in front of it, failed.

    :param retry_after: seconds that the server asks to wait; None when it does not say.
    """

    transient = True

    def __init__(self, message: str = "", *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class BankSyncConnectionError(BankSyncError):
    """There was no complete answer: name not found, refused, reset, timeout."""

    transient = True


class BankSyncCertificateError(BankSyncConnectionError):
    """The server's certificate is not to be trusted; nothing was sent."""

    permanent = True
    transient = False


class BankSyncResponseError(BankSyncError):
    """The answer is not what the API promises: not JSON, not the envelope, a row without its workspace.

    :param truncated: the body broke off or could not be read, which another try may cure.
    """

    def __init__(self, message: str = "", *, truncated: bool = False, **details: Any) -> None:
        super().__init__(message, **details)
        self.transient = truncated


class BankSyncJobError(BankSyncError):
    """A job did not end well.

    :param job: the job as it was last seen.
    """

    def __init__(self, message: str = "", *, job: dict[str, Any] | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.job = job or {}


class BankSyncJobFailedError(BankSyncJobError):
    """The job failed, or completed with errors where none are tolerated."""


class BankSyncJobCancelledError(BankSyncJobError):
    """Somebody cancelled the job."""


class BankSyncJobTimeoutError(BankSyncJobError):
    """The job was still running when the time to wait was over."""
