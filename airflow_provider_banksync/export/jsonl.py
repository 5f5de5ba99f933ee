"""JSON Lines: a row a line, every field as it came, every digit kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_banksync.export.compression import Sink
    from airflow_provider_banksync.export.rows import Batch

#: No more bytes than these are held back; so many are enough to be written at once.
_MOST_HELD = 2 * 1024 * 1024


class JsonlWriter:
    """Writes rows as JSON Lines: each as it was sent, without looking into it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held: list[bytes] = []
        self._size = 0

    def write(self, batch: Batch) -> None:
        """Add rows."""
        self._take(batch)
        self._flush()

    def hold(self, batch: Batch) -> bool:
        """Take rows until there are enough to be written at once."""
        if self._size + batch.size > _MOST_HELD:
            return False
        self._take(batch)
        return True

    def close(self) -> None:
        """Write what is still held back."""
        self._flush()
        self._sink.close()

    def _take(self, batch: Batch) -> None:
        if batch.owner:
            batch.rows()  # says whose they are
        lines = b"\n".join([*batch.raw, b""])
        self._held.append(lines)
        self._size += len(lines)

    def _flush(self) -> None:
        for lines in self._held:
            self._sink.write(lines)
        self._held.clear()
        self._size = 0
