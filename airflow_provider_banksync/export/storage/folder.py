"""A folder on any file system that fsspec knows, and the errors of one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_banksync.exceptions import BankSyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fsspec import AbstractFileSystem

#: Names of incomplete files begin with this.
TEMPORARY_PREFIX = "_tmp-"
#: Object stores have no folders. Their libraries would create a bucket or a container instead.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss"})
#: Size of the parts of an upload. Each is in memory until it is full. S3 needs at least 5 MiB.
_PART_BYTES = 8 * 1024 * 1024
_GLOB_CHARACTERS = frozenset("*?[")
_S3 = frozenset({"s3", "s3a"})
#: Errors of a file system that cannot sync a folder, or of a folder that we may not read.
_CANNOT_SYNC = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES, errno.EPERM})


class ExportError(Exception):
    """The destination cannot be read or written, or holds something unexpected.

    :param permanent: a retry cannot help.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


def to_json(value: Any) -> bytes:
    """Return a value as indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


@contextlib.contextmanager
def storage_errors(folder: Folder, action: str = "written") -> Iterator[None]:
    """Turn every error of a file system into an `ExportError` that names the folder."""
    try:
        yield
    except (ExportError, BankSyncError):  # BankSyncError: of a row, not of the file system
        raise
    except Exception as error:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
        raise ExportError(f"destination {folder} cannot be {action}: {reason}.") from error


@dataclass(frozen=True)
class FileStat:
    """What a store says about a file without reading it.

    :param etag: changes with the content. None: the store has none, as a disk.
    """

    size: int
    etag: str | None

    @classmethod
    def from_info(cls, info: dict[str, Any]) -> FileStat:
        """Return what fsspec knows about a file. Google's ``etag`` also changes with the metadata of an object."""
        etags = (info.get(name) for name in ("md5Hash", "ETag", "etag"))
        return cls(int(info["size"] or 0), next((each for each in etags if isinstance(each, str)), None))


class Folder:
    """A folder. Its methods take paths relative to it, with ``/``."""

    def __init__(self, fs: AbstractFileSystem, path: str, url: str) -> None:
        self._fs = fs
        self.path = path.rstrip("/")
        self.url = url.rstrip("/")
        protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
        #: On a disk, readers see a file while it grows. In an object store, they see it when it is complete.
        self.is_local = "file" in protocols
        self._has_folders = _OBJECT_STORES.isdisjoint(protocols)
        self._has_etags = not _S3.isdisjoint(protocols)

    def __truediv__(self, below: str) -> Folder:
        return Folder(self._fs, f"{self.path}/{below}", f"{self.url}/{below}")

    def __str__(self) -> str:
        return self.url

    def create_folder(self) -> None:
        """Create the folder, if the file system has folders. Never creates a bucket."""
        if self._has_folders:
            self._fs.makedirs(self.path, exist_ok=True)

    def full_path(self, path: str) -> str:
        """Return a path as the file system knows it."""
        return f"{self.path}/{path}" if path else self.path

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, or None if there is no such file."""
        try:
            return bytes(self._fs.cat_file(self.full_path(path)))
        except FileNotFoundError:
            return None

    def stat(self, path: str) -> FileStat | None:
        """Return the size and the ETag of a file, or None if there is no such file."""
        try:
            return FileStat.from_info(self._fs.info(self.full_path(path)))
        except FileNotFoundError:
            return None

    def stat_all(self) -> dict[str, FileStat]:
        """Return the size and the ETag of every file below the folder, by its path.

        :raises FileNotFoundError: if there is no such folder.
        """
        self._fs.invalidate_cache()
        if not self._fs.exists(self.path):
            raise FileNotFoundError(f"there is no folder {self}")
        found = self._fs.find(self.path, detail=True)
        start = len(self.path.rstrip("/")) + 1
        return {str(path)[start:]: FileStat.from_info(info) for path, info in found.items()}

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 of a file of any size, or None if there is no such file."""
        digest = hashlib.sha256()
        try:
            with self._fs.open(self.full_path(path), "rb") as file:
                while chunk := file.read(_PART_BYTES):
                    digest.update(chunk)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    def open_to_read(self, path: str) -> IO[bytes]:
        """Return a file to read, of any size.

        :raises FileNotFoundError: if there is no such file.
        """
        file: IO[bytes] = self._fs.open(self.full_path(path), "rb")
        return file

    def read_json(self, path: str) -> dict[str, Any] | None:
        """Return the JSON object in a file, or None if there is no such file or no object in it."""
        try:
            value = json.loads(self.read(path) or b"")
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def write(
        self, path: str, body: bytes, check: Callable[[], None] = lambda: None, *, durable: bool = False
    ) -> None:
        """Write a file. Readers never see half of it.

        :param check: called just before the file appears; raises if it must not.
        :param durable: the file survives a power failure.
        """
        file = self.open(path, durable=durable)
        try:
            file.write(body)
            check()
            file.close()  # if the disk is full, the error may occur here
        except BaseException:
            file.abort()
            raise
        if durable:
            self.sync([path.rpartition("/")[0]])

    def replace(self, path: str, body: bytes, before: bytes | None, check: Callable[[], None]) -> None:
        """Write a durable file, if it is still as it was when it was read.

        S3 itself refuses the write if the file has changed. Other object stores refuse it if the file must not exist.

        :param before: what was read; None if there was no such file.
        :param check: called just before the file appears; raises if it must not.
        :raises ExportError: if the file has changed.
        """
        etag = (
            self._fs.info(self.full_path(path), refresh=True)["ETag"] if before and self._has_etags else None
        )
        if self.read(path) != before:
            raise self._lost_race(path)
        if self._has_folders or (before is not None and etag is None):
            self.write(path, body, check, durable=True)
            return
        check()
        condition = {"mode": "create"} if etag is None else {"IfMatch": etag}
        try:
            self._fs.pipe_file(self.full_path(path), body, **condition)
        except Exception as error:
            found = self.read(path)
            if found == body:  # the store has written it, but its answer was lost
                return
            if found != before:
                raise self._lost_race(path) from error
            unsupported = isinstance(error, (NotImplementedError, TypeError))
            if not unsupported and getattr(error, "errno", None) != errno.ENOSYS:
                raise
            self.write(path, body, check)

    def _lost_race(self, path: str) -> ExportError:
        return ExportError(
            f"{self}/{path} has changed since this try read it, so another task has written it. This try changes "
            "nothing. Retry the task."
        )

    def sync(self, folders: Iterable[str]) -> None:
        """On a disk, make the names in some folders, and those of the folders themselves, survive a power failure."""
        if not self.is_local:
            return
        paths = {PurePosixPath(self.full_path(folder)) for folder in folders}
        # An export may have created any folder above, too.
        for path in sorted(paths.union(*(path.parents for path in paths))):
            try:
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
            except OSError as error:
                if error.errno not in _CANNOT_SYNC:
                    raise

    def create(self, path: str, body: bytes) -> bool:
        """Write a small file, if it does not exist. If several writers try at the same time, one succeeds.

        Some object stores, and some libraries, cannot do this. There, the caller must read the file again.
        """
        if not self.is_local:
            return self._create_object(path, body)
        self.make_parent(path)
        try:
            handle = os.open(self.full_path(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
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
        self.make_parent(path)
        try:
            self._fs.pipe_file(self.full_path(path), body, mode="create")
        except FileExistsError:
            return False
        except Exception:  # noqa: BLE001 - not supported here; `write` raises any other error again
            if self.read(path) is not None:
                return False
            self.write(path, body)
        return True

    def open(self, path: str, *, durable: bool = True) -> AtomicFile:
        """Return a file to write. Nothing is created before the first write.

        :param durable: when it is closed, its content is on the disk. Its name is there after `sync` of its folder.
        """
        return AtomicFile(self, self._fs, path, durable=durable)

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self.full_path(path))

    def remove_all(self, path: str) -> None:
        """Remove a folder and everything in it, if it exists."""
        self._fs.invalidate_cache()
        full_path = self.full_path(path)
        with contextlib.suppress(FileNotFoundError):
            if self.is_local or not _GLOB_CHARACTERS.intersection(full_path):
                self._fs.rm(full_path, recursive=True)
                return
            # rm would take the name for a pattern, and remove everything that matches.
            for found in self._fs.find(full_path):
                self._fs.rm_file(found)

    def names(self, path: str) -> list[str]:
        """Return the sorted names of everything in a folder. Empty if there is no such folder."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(self.full_path(path), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        # Consoles of object stores create an object that stands for the folder. It is in its own listing.
        entries = {str(entry).rstrip("/") for entry in found} - {self.full_path(path)}
        return sorted(entry.rsplit("/", 1)[-1] for entry in entries)

    def make_parent(self, path: str) -> None:
        """Create the folder of a file, if the file system has folders."""
        if self._has_folders:
            self._fs.makedirs(self.full_path(path).rsplit("/", 1)[0], exist_ok=True)


class AtomicFile:
    """A file that appears when it is closed, complete. Counts its bytes and computes their SHA-256."""

    def __init__(self, folder: Folder, fs: AbstractFileSystem, path: str, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable
        self._fs = fs
        self._final_path = self._path = path
        if folder.is_local:
            # In the same folder, so that the final move is one step; readers ignore the prefix.
            parent, slash, name = path.rpartition("/")
            self._path = f"{parent}{slash}{TEMPORARY_PREFIX}{name}.{uuid.uuid4().hex[:8]}"
        self._file: Any = None
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes | memoryview) -> int:
        """Write some bytes."""
        if self._file is None:
            self._folder.make_parent(self._path)
            block_size = None if self._folder.is_local else _PART_BYTES
            self._file = self._fs.open(self._folder.full_path(self._path), "wb", block_size=block_size)
        self._digest.update(data)
        size = memoryview(data).nbytes
        self.bytes += size
        self._file.write(data)
        return size

    def close(self) -> str:
        """Let the file appear. Return its SHA-256. Something must have been written."""
        if self._folder.is_local and self._durable:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if self._folder.is_local:
            paths = map(self._folder.full_path, (self._path, self._final_path))
            os.replace(*paths)  # noqa: PTH105 - fsspec paths are text
        return self._digest.hexdigest()

    def abort(self) -> None:
        """Remove the file. Errors are ignored, because the earlier error matters more."""
        from fsspec.spec import AbstractBufferedFile

        with contextlib.suppress(Exception):
            if self._file is None:
                return
            if isinstance(self._file, AbstractBufferedFile):
                # Closing the file would complete the upload.
                self._file.closed = True
                self._file.discard()
                return
            with contextlib.suppress(Exception):  # the disk may be full
                self._file.close()
            self._folder.remove(self._path)
