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
        if batch.owner:
            batch.rows()  # says whose they are
        self._sink.write(b"\n".join([*batch.raw, b""]))

    def hold(self, _batch: Batch) -> bool:
        """Say that rows are written as they come."""
        return False

    def close(self) -> None:
        """Write what is still held back."""
        self._sink.close()
