"""The writer of each file format, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.export.formats import validate_format

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_banksync.export.formats.base import ByteStream, RowWriter

_SUFFIXES = {None: "", "gzip": ".gz", "zstd": ".zst"}

#: The extra `parquet`. It names the library, which every package index has.
INSTALL_HINT = "Install it on every worker: pip install pyarrow"


def require_format(file_format: str, compression: str | None) -> None:
    """Load what writes the format.

    :raises BankSyncConfigError: naming the parameter, and what to install.
    """
    validate_format(file_format, compression)
    if file_format == "parquet":
        needed, parameter = "pyarrow.parquet", f"file_format={file_format!r}"
    elif compression == "zstd":
        needed, parameter = "pyarrow", f"compression={compression!r}"
    else:
        return
    try:
        import_module(needed)
    except ImportError as error:
        raise BankSyncConfigError(
            f"{parameter} needs pyarrow, which cannot be imported: {error}.",
            hint=INSTALL_HINT,
        ) from error


@dataclass(frozen=True)
class OutputFormat:
    """How the files of an export are written.

    :param resource: decides the columns of CSV and Parquet.
    :param escape_formulas: CSV: keep spreadsheets from taking a text for a formula.
    :param has_header: CSV: begin with the names of the columns.
    """

    file_format: str
    compression: str | None
    resource: str
    escape_formulas: bool = True
    has_header: bool = True

    @property
    def extension(self) -> str:
        """The end of the file names, without the first dot."""
        # Parquet compresses its pages, not the file.
        return self.file_format + ("" if self.file_format == "parquet" else _SUFFIXES[self.compression])

    def writer(self, stream: ByteStream, constants: Mapping[str, str | None] | None = None) -> RowWriter:
        """Return a writer of one file, which must get at least one row.

        :param constants: more text columns, before `EXTRA`, with the same value in all rows. JSON Lines have none.
        """
        if self.file_format == "parquet":
            from airflow_provider_banksync.export.formats.parquet import ParquetWriter

            return ParquetWriter(stream, self.resource, self.compression, constants)
        from airflow_provider_banksync.export.formats.compression import open_compressor
        from airflow_provider_banksync.export.formats.csv import CsvWriter
        from airflow_provider_banksync.export.formats.jsonl import JsonlWriter

        sink = open_compressor(stream, self.compression)
        if self.file_format == "csv":
            return CsvWriter(
                sink,
                self.resource,
                constants,
                escape_formulas=self.escape_formulas,
                has_header=self.has_header,
            )
        return JsonlWriter(sink)

    def without_frame(self) -> OutputFormat:
        """Return the format of rows that become a part of another file: texts without header and compression."""
        if self.file_format == "parquet":
            return self
        return replace(self, compression=None, has_header=False)

    def header(self, constants: Iterable[str] = ()) -> bytes:
        """Return what comes before the first row, uncompressed.

        :param constants: the names of the columns that `writer` adds.
        """
        if self.file_format != "csv":
            return b""
        from airflow_provider_banksync.export.formats.csv import header

        return header(self.resource, constants)


def open_format(
    file_format: str, compression: str | None, resource: str, *, escape_formulas: bool = True
) -> OutputFormat:
    """Return a format that is ready to write.

    :raises BankSyncConfigError: if the format or the compression is unknown, or what it needs is not installed.
    """
    require_format(file_format, compression)
    return OutputFormat(file_format, compression, resource, escape_formulas)
