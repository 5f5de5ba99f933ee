"""The one exception that the demo shows to its user: a sentence, not a traceback."""

from __future__ import annotations


class DemoError(Exception):
    """Something that stops the demo, said in a sentence; ``details`` are lines that help to see why."""

    def __init__(self, message: str, details: list[str] | None = None) -> None:
        super().__init__(message)
        self.details = details or []
