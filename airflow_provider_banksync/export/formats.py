"""The file formats of an export: which there are, what they need, and the writer of each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from airflow_provider_banksync.exceptions import BankSyncConfigError

if TYPE_CHECKING:
    from airflow_provider_banksync.export.rows import Batch

FORMATS = ("jsonl", "csv", "parquet")
COMPRESSIONS = ("gzip", "zstd")
_SUFFIXES = {None: "", "gzip": ".gz", "zstd": ".zst"}


class Stream(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take all of the bytes."""


class RowWriter(Protocol):
    """Turns rows into the bytes of one file. The same rows give the same bytes, however they come in batches."""

    def write(self, batch: Batch) -> None:
        """Add rows."""

    def hold(self, batch: Batch) -> bool:
        """Add rows without writing to the stream; return False, and add none, where that cannot be."""

    def close(self) -> None:
        """Write what the format still owes. The stream stays open."""


def check_format(file_format: str, compression: str | None) -> None:
    """Refuse a format or a compression that there is not. Loads nothing.

    :raises BankSyncConfigError: naming the parameter.
    """
    if file_format not in FORMATS:
        raise BankSyncConfigError(f"file_format must be one of {', '.join(FORMATS)}, not {file_format!r}.")
    if compression is not None and compression not in COMPRESSIONS:
        raise BankSyncConfigError(
            f"compression must be one of {', '.join(COMPRESSIONS)}, or None, not {compression!r}."
        )


def require_format(file_format: str, compression: str | None) -> None:
    """See that what writes the format is installed, and load it.

    :raises BankSyncConfigError: naming the parameter, and what to install.
    """
    check_format(file_format, compression)
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
            hint="Install airflow-provider-banksync[parquet].",
        ) from error


@dataclass(frozen=True)
class Format:
    """How the files of an export are written.

    :param resource: whose columns CSV and Parquet have.
    :param escape_formulas: CSV: see to it that no spreadsheet takes a text for a formula.
    """

    file_format: str
    compression: str | None
    resource: str
    escape_formulas: bool = True

    @property
    def takes_apart(self) -> bool:
        """Whether rows are looked into, and not only passed on."""
        return self.file_format != "jsonl"

    @property
    def extension(self) -> str:
        """What the names of the files end in, without the first dot."""
        inside = self.file_format == "parquet"  # Parquet compresses its pages, not the file
        return self.file_format + ("" if inside else _SUFFIXES[self.compression])

    def writer(self, stream: Stream) -> RowWriter:
        """Return a writer of one file, which is to hold at least one row."""
        if self.file_format == "parquet":
            from airflow_provider_banksync.export.parquet import ParquetWriter

            return ParquetWriter(stream, self.resource, self.compression)
        from airflow_provider_banksync.export.compression import compressed
        from airflow_provider_banksync.export.delimited import CsvWriter
        from airflow_provider_banksync.export.jsonl import JsonlWriter

        sink = compressed(stream, self.compression)
        if self.file_format == "csv":
            return CsvWriter(sink, self.resource, escape_formulas=self.escape_formulas)
        return JsonlWriter(sink)


def open_format(
    file_format: str, compression: str | None, resource: str, *, escape_formulas: bool = True
) -> Format:
    """Return a format that is ready to write.

    :raises BankSyncConfigError: there is no such format or compression, or what it needs is not installed.
    """
    require_format(file_format, compression)
    return Format(file_format, compression, resource, escape_formulas)
