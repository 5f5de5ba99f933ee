"""What the formats share: their protocols, and a file object for pyarrow."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections import Counter

    from airflow_provider_banksync.extract.rows import RowBatch


class ByteStream(Protocol):
    """Takes the bytes of a file."""

    def write(self, data: bytes, /) -> object:
        """Write all bytes."""


class ByteSink(ByteStream, Protocol):
    """A stream that may hold bytes back."""

    def close(self) -> None:
        """Write what was held back. The stream behind stays open."""


class RowWriter(Protocol):
    """Turns rows into the bytes of one file. The bytes do not depend on how the rows are split into batches."""

    #: How many values of each column do not fit it, and are in `extra`. Complete after `close`.
    unfit: Counter[str]

    def add(self, batch: RowBatch) -> bool:
        """Add rows without writing to the stream. Return whether a flush is due."""

    def flush(self) -> None:
        """Write what is due to the stream. If `add` returned True, call this before the next `add`."""

    def close(self) -> None:
        """Write what was held back, and the end of the file. The stream stays open."""


class DrainFile(io.RawIOBase):
    """Keeps what is written to it until `drain`.

    pyarrow writes to this file instead of the stream. So an error of the stream reaches the caller unchanged, and a
    writer that is dropped does not write the end of its file.
    """

    def __init__(self) -> None:
        super().__init__()
        self._chunks: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any, /) -> int:
        """Keep the bytes."""
        self._chunks.append(bytes(data))
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._written

    def drain(self) -> bytes:
        """Return what was written since the last call."""
        drained = b"".join(self._chunks)
        self._chunks.clear()
        return drained
