"""An answer on its way out: what is said, and how it gets onto the wire."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_banksync.sandbox.encoding import encode

JSON = "application/json"
HTML = "text/html; charset=UTF-8"


@dataclass(frozen=True)
class Answer:
    """One response. ``wire`` says how it is sent: whole, cut, dripping, reset or silence."""

    status: int
    """0 where nothing is said."""
    body: bytes
    media_type: str | None = JSON
    headers: dict[str, str] = field(default_factory=dict)
    wire: str = "whole"
    part: float = 1.0
    """Of a cut body the share that is sent."""
    seconds: float = 0.0
    """How long a dripping body takes."""

    def but(self, **changes: Any) -> Answer:
        """Give this answer with something else about it."""
        return replace(self, **changes)


def refusal_body(message: str) -> bytes:
    """Write the error envelope."""
    return encode({"success": False, "error": message})
