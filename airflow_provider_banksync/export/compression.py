"""Bytes, compressed on their way to a stream: the same bytes in, the same bytes out, in whatever pieces they come."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from airflow_provider_banksync.export.formats import Stream

#: No library promises that its output does not depend on the pieces that it is given: it gets equal ones.
_PIECE = 256 * 1024
#: That of the gzip command.
_GZIP_LEVEL = 6
#: zlib's way of saying: with gzip's header, which then has neither a time nor a file's name in it.
_GZIP_WINDOW = 31


class Sink(Protocol):
    """Where a format's bytes go, and that there are no more of them."""

    def write(self, data: bytes, /) -> object:
        """Take all of the bytes."""

    def close(self) -> None:
        """Write what is still held back. The stream behind stays open."""


class _Packer(Protocol):
    def compress(self, data: Any, /) -> bytes: ...

    def flush(self) -> bytes: ...


def compressed(stream: Stream, compression: str | None) -> Sink:
    """Return what compresses into the stream; with None, what passes the bytes on as they are."""
    if compression is None:
        return _Plain(stream)
    if compression == "gzip":
        return _Compressed(stream, zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW))
    return _Compressed(stream, _Zstd())


class Held(io.RawIOBase):
    """A file that keeps what is written to it until it is taken.

    pyarrow writes to such a one rather than to the stream: so an error of the stream is raised as it is, and a writer
    that is given up does not write its end to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def write(self, data: Any, /) -> int:
        """Keep the bytes."""
        self._pieces.append(bytes(data))
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        """Return how many bytes have been written so far."""
        return self._written

    def take(self) -> bytes:
        """Return what has been written since the last time."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


class _Plain:
    def __init__(self, stream: Stream) -> None:
        self.write = stream.write

    def close(self) -> None:
        pass


class _Compressed:
    def __init__(self, stream: Stream, packer: _Packer) -> None:
        self._stream = stream
        self._packer = packer
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        self._waiting += data
        whole = len(self._waiting) - len(self._waiting) % _PIECE
        for start in range(0, whole, _PIECE):
            self._pass_on(self._packer.compress(bytes(self._waiting[start : start + _PIECE])))
        del self._waiting[:whole]

    def close(self) -> None:
        self._pass_on(self._packer.compress(bytes(self._waiting)))
        self._pass_on(self._packer.flush())

    def _pass_on(self, data: bytes) -> None:
        if data:
            self._stream.write(data)


class _Zstd:
    """One frame of zstd, by pyarrow: Python has it since 3.14 only."""

    def __init__(self) -> None:
        import pyarrow as pa

        self._held = Held()
        self._stream = pa.CompressedOutputStream(pa.PythonFile(self._held, mode="w"), "zstd")

    def compress(self, data: bytes) -> bytes:
        self._stream.write(data)
        return self._held.take()

    def flush(self) -> bytes:
        self._stream.close()
        return self._held.take()
