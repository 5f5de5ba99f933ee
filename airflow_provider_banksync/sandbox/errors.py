"""Errors of the sandbox itself, and the errors that the API answers with."""

from __future__ import annotations


class SandboxError(RuntimeError):
    """The sandbox cannot do what you asked for. The message says why, in one line."""


class ApiError(Exception):
    """An error of the API. The rules raise it, and ``http.app`` turns it into a response.

    ``members`` are added to the error envelope.
    """

    def __init__(
        self, status: int, message: str, headers: dict[str, str] | None = None, **members: object
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}
        self.envelope: dict[str, object] = {"success": False, "error": message, **members}
