"""JSON Lines: a row a line, every field as it came, every digit kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_banksync.export.compression import Sink
    from airflow_provider_banksync.export.rows import Batch


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
