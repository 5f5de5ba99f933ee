"""What the sandbox says when it says no.

SandboxError            the sandbox itself cannot start or stop: for the person at the keyboard
ApiError                an answer of the API: status and sentence, becomes {"success": false, "error": …}
    BadRequestError     400   the request is wrong
    UnauthorizedError   401   the key or token is missing, wrong, revoked or expired
    ForbiddenError      403   the key lacks a scope, or its user's role is too low
    MissingError        404   no such thing, or deleted
    ConflictError       409   not now: a job runs, or has ended already
    InvalidError        422   what was sent to be kept does not hold together; carries lists
    TooManyError        429   more requests than the key may send; carries Retry-After
    ReauthError         503   the bank wants its owner to sign in again
"""

from __future__ import annotations


class SandboxError(RuntimeError):
    """The sandbox cannot do what it was asked to; the message says why in one line."""


class ApiError(Exception):
    """An error answer of the API. Raised by the rules, turned into HTTP in one place."""

    status = 500

    def __init__(self, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers = headers or {}

    def envelope(self) -> dict[str, object]:
        """Give the body of the answer."""
        return {"success": False, "error": self.message}


class BadRequestError(ApiError):
    """The request is wrong."""

    status = 400


class UnauthorizedError(ApiError):
    """Nobody we know sent this."""

    status = 401


class ForbiddenError(ApiError):
    """Somebody we know, who may not do this."""

    status = 403


class MissingError(ApiError):
    """There is no such thing, or it was deleted; the API does not say which."""

    status = 404


class ConflictError(ApiError):
    """The state of the thing forbids it at this moment."""

    status = 409


class InvalidError(ApiError):
    """What was sent does not hold together. ``errors`` stand in the way of it, ``warnings`` would not."""

    status = 422

    def __init__(self, errors: list[str], warnings: list[str]) -> None:
        super().__init__("Validation failed")
        self.errors = errors
        self.warnings = warnings

    def envelope(self) -> dict[str, object]:
        """Give the body of the answer, with both lists."""
        return {**super().envelope(), "errors": self.errors, "warnings": self.warnings}


class TooManyError(ApiError):
    """The key has sent more requests than it may."""

    status = 429


class ReauthError(ApiError):
    """The bank, not the service, refuses: its owner has to sign in again. Not cured by a retry."""

    status = 503
