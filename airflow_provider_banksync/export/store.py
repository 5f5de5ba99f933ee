"""A folder on any file system that fsspec knows, and the few things that an export does there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.exceptions import BankSyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.providers.common.compat.sdk import ObjectStoragePath
    from fsspec import AbstractFileSystem
    from typing_extensions import Self


#: How names of files begin that are not complete.
TEMPORARY = "_tmp-"
#: These have no folders, and their libraries take the wish for one as a wish for a bucket, or a container.
_WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss"})
#: An object is sent in pieces of so many bytes, each held in memory until it is full: above the 5 MiB that S3 asks for.
_PIECE = 8 * 1024 * 1024
_PATTERN = frozenset("*?[")


class ExportError(Exception):
    """The destination cannot be read or written, or does not hold what it should.

    :param permanent: no retry cures it.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class Folder:
    """A folder; paths given to its methods are relative to it, with ``/``."""

    def __init__(self, fs: AbstractFileSystem, path: str, url: str) -> None:
        self._fs = fs
        self.path = path.rstrip("/")
        self.url = url.rstrip("/")
        protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
        #: On a disk a file is seen while it grows, in an object store only when it is complete.
        self.local = "file" in protocols
        self._flat = not _WITHOUT_FOLDERS.isdisjoint(protocols)

    @classmethod
    def of(cls, path: ObjectStoragePath) -> Self:
        """Return the folder at an Airflow path; its connection is read now."""
        # Airflow writes the connection into the URL, where no other reader expects it.
        scheme, separator, _ = str(path).partition("://")
        return cls(path.fs, path.path, f"{scheme}://{path.path}" if separator else str(path))

    def __truediv__(self, below: str) -> Folder:
        return Folder(self._fs, f"{self.path}/{below}", f"{self.url}/{below}")

    def __str__(self) -> str:
        return self.url

    def make(self) -> None:
        """See that the folder is there, where there are folders; a bucket is never made."""
        if not self._flat:
            self._fs.makedirs(self.path, exist_ok=True)

    def _at(self, path: str) -> str:
        return f"{self.path}/{path}" if path else self.path

    def read(self, path: str) -> bytes | None:
        """Return what a file holds; None when there is none."""
        try:
            return bytes(self._fs.cat_file(self._at(path)))
        except FileNotFoundError:
            return None

    def size(self, path: str) -> int | None:
        """Return how many bytes a file has; None when there is none."""
        try:
            return int(self._fs.size(self._at(path)))
        except FileNotFoundError:
            return None

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 of a file of any size; None when there is none."""
        digest = hashlib.sha256()
        try:
            with self._fs.open(self._at(path), "rb") as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    def read_json(self, path: str) -> dict[str, Any] | None:
        """Return the object that a file holds; None when there is none, or something else."""
        try:
            value = json.loads(self.read(path) or b"")
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def write(self, path: str, body: bytes, check: Callable[[], None] = lambda: None) -> None:
        """Write a file whole: it is never seen half written.

        :param check: raises where it shall not be; called at the last moment.
        """
        sink = self.open(path)
        try:
            sink.write(body)
            check()
            sink.close()  # a full disk may show itself here only
        except BaseException:
            sink.abandon()
            raise

    def write_json(self, path: str, value: Any, check: Callable[[], None]) -> None:
        """Write a file of JSON for people to read; see `write`."""
        self.write(path, json.dumps(value, ensure_ascii=False, indent=2).encode(), check)

    def create(self, path: str, body: bytes) -> bool:
        """Write a small file if it is not there; of several who do so at once, one succeeds.

        Not every object store has such a thing, nor every library: there, the caller has to look again.
        """
        if not self.local:
            return self._create_object(path, body)
        self._make_room(path)
        try:
            handle = os.open(self._at(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body)
        except BaseException:
            self.remove(path)
            raise
        return True

    def _create_object(self, path: str, body: bytes) -> bool:
        self._make_room(path)
        try:
            self._fs.pipe_file(self._at(path), body, mode="create")
        except FileExistsError:
            return False
        except Exception:  # noqa: BLE001 - a store, or a library, that knows no such thing; any other error comes again
            if self.read(path) is not None:
                return False
            self.write(path, body)
        return True

    def open(self, path: str) -> Sink:
        """Open a file for writing."""
        self._make_room(path)
        return Sink(self._fs, self._at(path), local=self.local)

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._at(path))

    def remove_all(self, path: str) -> None:
        """Remove a folder with all that it holds, if it is there."""
        self._fs.invalidate_cache()
        whole = self._at(path)
        with contextlib.suppress(FileNotFoundError):
            if self.local or not _PATTERN.intersection(whole):
                self._fs.rm(whole, recursive=True)
                return
            # Of such a name, rm would make a pattern, and remove what matches it.
            for found in self._fs.find(whole):
                self._fs.rm_file(found)

    def names(self, path: str) -> list[str]:
        """Return the names of what is in a folder, sorted; none when it is not there."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(self._at(path), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        # Consoles make an object that stands for the folder, and is then in it.
        entries = {str(entry).rstrip("/") for entry in found} - {self._at(path)}
        return sorted(entry.rsplit("/", 1)[-1] for entry in entries)

    def _make_room(self, path: str) -> None:
        if not self._flat:
            self._fs.makedirs(self._at(path).rsplit("/", 1)[0], exist_ok=True)


class Sink:
    """A file being written, counted and digested on the way; it is there when it is closed, not before."""

    def __init__(self, fs: AbstractFileSystem, path: str, *, local: bool) -> None:
        self._final = path
        folder, _, name = path.rpartition("/")
        # Beside its place under a name that readers pass over, so that the move is one step.
        self._place = f"{folder}/{TEMPORARY}{name}.{uuid.uuid4().hex[:8]}" if local else path
        self._local = local
        self._fs = fs
        self._file: Any = fs.open(self._place, "wb", block_size=None if local else _PIECE)
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes | memoryview) -> int:
        """Write some bytes."""
        self._digest.update(data)
        size = memoryview(data).nbytes
        self.bytes += size
        self._file.write(data)
        return size

    def close(self) -> str:
        """Put the file into its place and return its SHA-256."""
        self._file.close()
        if self._local:
            os.replace(self._place, self._final)  # noqa: PTH105 - a path of fsspec is text
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Leave nothing of it, nor an open file; whatever goes wrong with that, the reason to do so counts more."""
        from fsspec.spec import AbstractBufferedFile

        with contextlib.suppress(Exception):
            if isinstance(self._file, AbstractBufferedFile):
                # Not there before it is closed; and closed, it would be kept, as much as there is of it.
                self._file.closed = True
                self._file.discard()
                return
            with contextlib.suppress(Exception):  # of a full disk
                self._file.close()
            self._fs.rm_file(self._place)


@contextlib.contextmanager
def told(folder: Folder, what: str = "written") -> Iterator[None]:
    """Turn whatever a file system raises into an `ExportError` that names the folder."""
    try:
        yield
    except (ExportError, BankSyncError):  # the one says so already, the other is of the rows
        raise
    except Exception as error:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
        raise ExportError(f"destination {folder} cannot be {what}: {reason}.") from error
