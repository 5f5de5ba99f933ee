"""JSON Lines: a row a line, every field as it came, every digit kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

EXTENSION = "jsonl"


def encode(rows: Iterable[dict[str, Any]]) -> bytes:
    """Encode rows, one to a line, UTF-8; a `Decimal` becomes a number with all its digits."""
    return msgspec.json.Encoder(decimal_format="number").encode_lines(rows)
