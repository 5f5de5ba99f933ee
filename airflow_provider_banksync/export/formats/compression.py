"""Compression. The output depends only on the bytes, not on the chunks in which they arrive."""

from __future__ import annotations

import gzip
import zlib
from typing import IO, TYPE_CHECKING, Any, Protocol

from airflow_provider_banksync.export.formats.base import DrainFile

if TYPE_CHECKING:
    from airflow_provider_banksync.export.formats.base import ByteSink, ByteStream

#: No library promises that its output is independent of its chunks. So each gets chunks of this size.
_CHUNK = 256 * 1024
#: The default of the gzip command.
_GZIP_LEVEL = 6
#: Tells zlib to write gzip's header, without a time and without a file name.
_GZIP_WINDOW = 31


class _Codec(Protocol):
    def compress(self, data: Any, /) -> bytes: ...

    def flush(self) -> bytes: ...


def open_compressor(stream: ByteStream, compression: str | None) -> ByteSink:
    """Return a sink that compresses into the stream. With None, it passes bytes on unchanged."""
    if compression is None:
        return _Uncompressed(stream)
    if compression == "gzip":
        return _Compressor(stream, zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW))
    return _Compressor(stream, _Zstd())


class _Uncompressed:
    def __init__(self, stream: ByteStream) -> None:
        self.write = stream.write

    def close(self) -> None:
        pass


class _Compressor:
    def __init__(self, stream: ByteStream, codec: _Codec) -> None:
        self._stream = stream
        self._codec = codec
        self._pending = bytearray()

    def write(self, data: bytes) -> None:
        self._pending += data
        whole = len(self._pending) - len(self._pending) % _CHUNK
        for start in range(0, whole, _CHUNK):
            self._forward(self._codec.compress(bytes(self._pending[start : start + _CHUNK])))
        del self._pending[:whole]

    def close(self) -> None:
        self._forward(self._codec.compress(bytes(self._pending)))
        self._forward(self._codec.flush())

    def _forward(self, data: bytes) -> None:
        if data:
            self._stream.write(data)


class _Zstd:
    """One frame of zstd, by pyarrow. Python itself has zstd since 3.14."""

    def __init__(self) -> None:
        import pyarrow as pa

        self._file = DrainFile()
        self._stream = pa.CompressedOutputStream(pa.PythonFile(self._file, mode="w"), "zstd")

    def compress(self, data: bytes) -> bytes:
        self._stream.write(data)
        return self._file.drain()

    def flush(self) -> bytes:
        self._stream.close()
        return self._file.drain()


def open_decompressor(stream: IO[bytes], compression: str | None) -> IO[bytes]:
    """Return a file that reads the decompressed bytes of a stream."""
    if compression is None:
        return stream
    if compression == "gzip":
        return gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[return-value]
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")  # type: ignore[no-any-return]
