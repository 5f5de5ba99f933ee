"""The files of one partition."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_banksync.export.checkpoints import Checkpoint, DataFile
from airflow_provider_banksync.export.formats.schema import PORTAL_NAME
from airflow_provider_banksync.export.storage.folder import ExportError, storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_banksync.export.formats.base import RowWriter
    from airflow_provider_banksync.export.formats.factory import OutputFormat
    from airflow_provider_banksync.export.settings import ExportSettings
    from airflow_provider_banksync.export.storage.folder import AtomicFile, Folder
    from airflow_provider_banksync.extract.partition import Partition
    from airflow_provider_banksync.extract.rows import RowBatch


@dataclass(frozen=True)
class WriteTarget:
    """Where and how an export writes.

    :param path_of: the path of the file with this number of a partition.
    :param check_lock: raises if another task has taken the lock.
    :param save: stores the checkpoint of a complete partition.
    """

    folder: Folder
    output_format: OutputFormat
    settings: ExportSettings
    path_of: Callable[[Partition, int], str]
    check_lock: Callable[[], None]
    save: Callable[[Checkpoint], None]


class AccountWriter:
    """Writes the files of one partition, one after the other."""

    def __init__(self, target: WriteTarget, partition: Partition) -> None:
        self._target = target
        self._partition = partition
        self._files: list[DataFile] = []
        self._path = ""
        self._rows = 0
        self._file: AtomicFile | None = None
        self._writer: RowWriter | None = None
        self._pending: RowBatch | None = None
        # `abort` may be called while another thread writes.
        self._lock = threading.Lock()
        self._aborted = False

    def add(self, batch: RowBatch) -> bool:
        """Add rows without I/O. Return whether a flush is due. Rows that fill a file wait for it."""
        limit = self._target.settings.max_rows
        with self._locked():
            if not len(batch):
                return False
            if limit is not None and self._rows + len(batch) >= limit:
                self._pending = batch
                return True
            self._rows += len(batch)
            return self._open().add(batch)

    def flush(self) -> None:
        """Write what is due. If `add` returned True, call this before the next `add`."""
        with self._locked():
            self._flush()

    def finish(
        self, read_at: str, cursor: str | None = None, counts: Mapping[str, int] | None = None
    ) -> Checkpoint:
        """Complete the last file, and store the checkpoint.

        :param read_at: when the read began, ISO 8601.
        :param cursor: where the next incremental read continues.
        :param counts: what was special about the answers.
        """
        with self._locked():
            self._flush()
            self._close()
            special = {name: count for name, count in (counts or {}).items() if count}
            checkpoint = Checkpoint(self._partition, tuple(self._files), read_at, cursor, counts=special)
            self._target.save(checkpoint)
        return checkpoint

    def restart(self) -> None:
        """Remove all files that this writer has written, to begin again."""
        with self._locked():
            if self._file is not None:
                self._file.abort()
            for file in self._files:
                self._target.folder.remove(file.path)
            self._file = self._writer = self._pending = None
            self._files, self._rows = [], 0

    def abort(self) -> None:
        """Remove the file that is open."""
        with self._lock:
            self._aborted = True
            if self._file is not None:
                self._file.abort()
            self._file = self._writer = None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock, storage_errors(self._target.folder):
            if self._aborted:
                raise ExportError(f"{self._partition}: this try has ended, so nothing more is written.")
            yield

    def _open(self) -> RowWriter:
        if self._writer is None:
            self._path = self._target.path_of(self._partition, len(self._files))
            self._file = self._target.folder.open(self._path)
            constants = {PORTAL_NAME: self._partition.portal} if self._target.settings.portal_name else {}
            self._writer = self._target.output_format.writer(self._file, constants)
        return self._writer

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()
        pending, self._pending = self._pending, None
        limit = self._target.settings.max_rows
        while pending is not None and limit is not None and len(pending):
            now, pending = pending.split(limit - self._rows)
            writer = self._open()
            writer.add(now)
            writer.flush()
            self._rows += len(now)
            if self._rows == limit:
                self._close()

    def _close(self) -> None:
        if self._writer is None or self._file is None:
            return
        self._writer.close()
        self._target.check_lock()
        digest, unfit = self._file.close(), self._writer.unfit
        # On a disk, this says nothing new.
        stat = None if self._target.folder.is_local else self._target.folder.stat(self._path)
        etag = None if stat is None else stat.etag
        self._files.append(DataFile(self._path, self._rows, self._file.bytes, digest, dict(unfit), etag))
        self._file = self._writer = None
        self._rows = 0
