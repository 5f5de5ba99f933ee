"""The files of one owner, as they are written."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from airflow_provider_banksync.export.manifest import File, Owner, Receipt
from airflow_provider_banksync.export.store import ExportError, Sink, told

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self._sink: Sink | None = None
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
            if self._sink is not None:
                self._sink.abandon()
                self._sink = self._writer = None

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        with self._turn, told(self._run.base):
            if self._given_up:
                raise ExportError(f"{self._owner}: given up, as this try has ended.")
            yield

    def _open(self) -> RowWriter:
        if self._writer is None:
            self._path = self._run.path(self._owner, len(self._files))
            self._sink = self._run.base.open(self._path)
            self._writer = self._run.made.writer(self._sink)
        return self._writer

    def _close(self) -> None:
        if self._writer is None or self._sink is None:
            return
        self._writer.close()
        self._run.check()
        digest = self._sink.close()
        self._files.append(File(self._path, self._rows, self._sink.bytes, digest))
        self._sink = self._writer = None
        self._rows = 0
