"""JSON Lines: a row a line, every field as it came, every digit kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_banksync.export.compression import Sink
    from airflow_provider_banksync.export.rows import Batch

EXTENSION = "jsonl"


def encode(rows: Iterable[dict[str, Any]]) -> bytes:
    """Encode rows, one to a line, UTF-8; a `Decimal` becomes a number with all its digits."""
    return msgspec.json.Encoder(decimal_format="number").encode_lines(rows)


class JsonlWriter:
    """Writes rows as JSON Lines: each as it was sent, without looking into it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, batch: Batch) -> None:
        """Add rows."""
        self._sink.write(b"\n".join([*batch.raw, b""]))

    def close(self) -> None:
        """Write what is still held back."""
        self._sink.close()
