"""JSON Lines: each row as it was sent, with every field and every digit."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_banksync.export.formats.base import ByteSink
    from airflow_provider_banksync.extract.rows import RowBatch

#: A flush is due after this many bytes.
_FLUSH_BYTES = 2 * 1024 * 1024


class JsonlWriter:
    """Writes rows as JSON Lines, without decoding them."""

    def __init__(self, sink: ByteSink) -> None:
        self.unfit: Counter[str] = Counter()  # stays empty: JSON Lines have no columns
        self._sink = sink
        self._pending: list[bytes] = []
        self._size = 0

    def add(self, batch: RowBatch) -> bool:
        """Add rows. Return whether there are enough for a write."""
        lines = b"\n".join([*batch.raw, b""])
        self._pending.append(lines)
        self._size += len(lines)
        return self._size > _FLUSH_BYTES

    def close(self) -> None:
        """Write what was held back."""
        self.flush()
        self._sink.close()

    def flush(self) -> None:
        """Write all rows."""
        for lines in self._pending:
            self._sink.write(lines)
        self._pending.clear()
        self._size = 0
