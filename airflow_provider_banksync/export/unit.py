"""The files of one owner, as they are written."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING

from airflow_provider_banksync.export.manifest import File, Owner, Receipt
from airflow_provider_banksync.export.store import ExportError, Sink, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_banksync.export.formats import RowWriter
    from airflow_provider_banksync.export.rows import Batch
    from airflow_provider_banksync.export.run import Run


class Unit:
    """Writes the files of one owner, one after the other."""

    def __init__(self, run: Run, owner: Owner) -> None:
        self._run = run
        self._owner = owner
        self._files: list[File] = []
        self._path = ""
        self._rows = 0
        self._file: _Later | None = None
        self._writer: RowWriter | None = None
        # Who gives up may be another thread than the one that writes at that moment.
        self._turn = threading.Lock()
        self._given_up = False

    def write(self, batch: Batch) -> None:
        """Write some rows."""
        most = self._run.settings.max_rows
        with self._in_turn():
            while len(batch):
                now, batch = (batch, batch.split(0)[0]) if most is None else batch.split(most - self._rows)
                self._open().write(now)
                self._rows += len(now)
                if self._rows == most:
                    self._close()

    def hold(self, batch: Batch) -> bool:
        """Take rows without touching the destination; return False, and take none, where that cannot be.

        Formats that gather many rows before they write any can do so.
        """
        most = self._run.settings.max_rows
        with self._in_turn():
            if not len(batch):
                return True
            if (most is not None and self._rows + len(batch) >= most) or not self._open().hold(batch):
                return False
            self._rows += len(batch)
            return True

    def done(self, read_at: str, cursor: str | None = None) -> Receipt:
        """Say that this was all.

        :param read_at: when it was read, ISO 8601.
        :param cursor: where an incremental read goes on.
        """
        with self._in_turn():
            self._close()
            receipt = Receipt(self._owner, tuple(self._files), read_at, cursor)
            self._run.keep(receipt)
        return receipt

    def abandon(self) -> None:
        """Leave off: the file that is open goes away."""
        with self._turn:
            self._given_up = True
            if self._file is not None:
                self._file.abandon()
            self._file = self._writer = None

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        with self._turn, told(self._run.base):
            if self._given_up:
                raise ExportError(f"{self._owner}: given up, as this try has ended.")
            yield

    def _open(self) -> RowWriter:
        if self._writer is None:
            self._path = self._run.path(self._owner, len(self._files))
            self._file = _Later(functools.partial(self._run.base.open, self._path))
            self._writer = self._run.made.writer(self._file)
        return self._writer

    def _close(self) -> None:
        if self._writer is None or self._file is None:
            return
        self._writer.close()
        sink = self._file.opened()
        self._run.check()
        digest = sink.close()
        self._files.append(File(self._path, self._rows, sink.bytes, digest))
        self._file = self._writer = None
        self._rows = 0


class _Later:
    """A file that is opened when something is written to it."""

    def __init__(self, open_file: Callable[[], Sink]) -> None:
        self._open = open_file
        self._sink: Sink | None = None

    def opened(self) -> Sink:
        """Return the file, opened."""
        if self._sink is None:
            self._sink = self._open()
        return self._sink

    def write(self, data: bytes, /) -> None:
        """Write all of the bytes."""
        self.opened().write(data)

    def abandon(self) -> None:
        """Let go of it, if it was opened."""
        if self._sink is not None:
            self._sink.abandon()
