"""Copies rows of finished files into another file: bytes of a text, or rows of Parquet."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import groupby
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_banksync.export.formats.compression import open_compressor, open_decompressor
from airflow_provider_banksync.export.storage.folder import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_banksync.export.formats.base import ByteStream
    from airflow_provider_banksync.export.storage.folder import Folder

#: Bytes that are in memory at a time. Of Parquet, a row group and as much as this.
_CHUNK = 4 * 1024 * 1024
#: A row group of Parquet ends with the row that reaches this.
_GROUP_ROWS = 100_000
_COMPRESSIONS = {"gz": "gzip", "zst": "zstd"}


@dataclass(frozen=True)
class Range:
    """Successive rows of a file.

    :param path: of the file, relative to a folder.
    :param start: how many bytes of the uncompressed text, or rows of Parquet, come before.
    :param length: number of bytes, or rows.
    """

    path: str
    start: int
    length: int


def copy_ranges(
    folder: Folder,
    ranges: Sequence[Range],
    stream: ByteStream,
    extension: str,
    header: bytes,
    check: Callable[[], None],
) -> None:
    """Write some ranges into one file, in their order. The ranges of one file must follow one another.

    :param extension: of the new file.
    :param header: what comes before the first range of a text.
    :param check: called again and again; raises if the copy must stop.
    :raises ExportError: if a file is shorter than its range.
    """
    if extension == "parquet":
        _copy_parquet(folder, ranges, stream, check)
        return
    sink = open_compressor(stream, _compression(extension))
    if header:
        sink.write(header)
    for data in _read_ranges(folder, ranges):
        check()
        sink.write(data)
    sink.close()


def read_text(folder: Folder, text: Range) -> bytes:
    """Return a small range of a text, uncompressed."""
    return b"".join(_read_ranges(folder, [text]))


def _read_ranges(folder: Folder, ranges: Sequence[Range]) -> Iterator[bytes]:
    for path, group in groupby(ranges, lambda each: each.path):
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(folder.open_to_read(path))
            file = stack.enter_context(open_decompressor(raw, _compression(path)))
            position = 0
            for each in group:
                for data in _read(file, each.start - position):
                    position += len(data)
                for data in _read(file, each.start + each.length - position):
                    position += len(data)
                    yield data
                if position < each.start + each.length:
                    raise _too_short(folder, path)


def _read(file: IO[bytes], length: int) -> Iterator[bytes]:
    """Return the next bytes of a file in chunks; fewer if the file ends."""
    while length > 0 and (data := file.read(min(_CHUNK, length))):
        length -= len(data)
        yield data


def _copy_parquet(
    folder: Folder, ranges: Sequence[Range], stream: ByteStream, check: Callable[[], None]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from airflow_provider_banksync.export.formats.base import DrainFile

    drain = DrainFile()
    writer: Any = None
    pending: list[Any] = []

    def write_group() -> None:
        table = pa.concat_tables(pending).combine_chunks()
        pending.clear()
        writer.write_table(table, row_group_size=table.num_rows)
        stream.write(drain.drain())

    for path, group in groupby(ranges, lambda each: each.path):
        with folder.open_to_read(path) as raw, pq.ParquetFile(raw) as file:
            metadata = file.metadata
            if writer is None:
                compression = metadata.row_group(0).column(0).compression
                writer = pq.ParquetWriter(drain, file.schema_arrow, compression=compression)
            wanted = list(group)
            if wanted[-1].start + wanted[-1].length > metadata.num_rows:
                raise _too_short(folder, path)
            first = 0
            for number in range(metadata.num_row_groups):
                rows = metadata.row_group(number).num_rows
                for table in _slices(file, number, first, rows, wanted):
                    check()
                    pending.append(table)
                    if (
                        sum(each.num_rows for each in pending) >= _GROUP_ROWS
                        or sum(each.nbytes for each in pending) >= _CHUNK
                    ):
                        write_group()
                first += rows
    if pending:
        write_group()
    writer.close()
    stream.write(drain.drain())


def _slices(file: Any, number: int, first: int, rows: int, wanted: list[Range]) -> list[Any]:
    """Return the wanted rows of a row group, as tables.

    :param first: the number of the first row of the row group in the file.
    """
    overlaps = [
        (max(each.start, first), min(each.start + each.length, first + rows))
        for each in wanted
        if each.start < first + rows and each.start + each.length > first
    ]
    if not overlaps:
        return []
    table = file.read_row_group(number, use_threads=False)
    return [table.slice(begin - first, end - begin) for begin, end in overlaps]


def _compression(name: str) -> str | None:
    return _COMPRESSIONS.get(name.rpartition(".")[2])


def _too_short(folder: Folder, path: str) -> ExportError:
    return ExportError(f"{folder}/{path} has fewer rows than were written. Retry the task.")
