"""The exception that the demo shows as a sentence, without a traceback."""

from __future__ import annotations


class DemoError(Exception):
    """An error that stops the demo. ``details`` are lines that help to find the cause."""

    def __init__(self, message: str, details: list[str] | None = None) -> None:
        super().__init__(message)
        self.details = details or []
