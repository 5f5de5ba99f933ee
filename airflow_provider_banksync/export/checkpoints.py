"""What a try of a task records, so that a later try need not read everything again, and knows what it may remove."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export.storage import layout
from airflow_provider_banksync.export.storage.checksum import checked_json, has_valid_checksum
from airflow_provider_banksync.export.storage.folder import ExportError
from airflow_provider_banksync.extract.partition import Partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_banksync.export.storage.folder import FileStat, Folder

#: Number of small files that are read, or removed, at the same time.
MAX_THREADS = 16
#: The version of a try's record.
_RECORD_VERSION = 1

PartitionKey = tuple[str, str, str]


@dataclass(frozen=True)
class DataFile:
    """One part. Its path is relative to the folder of the export.

    :param rows: number of rows of the partition in it.
    :param bytes: size of the whole file.
    :param unfit: how many values of each column do not fit it, and are in `extra`.
    :param etag: the ETag that the store gave it. None: the store has no ETags.
    :param segment: where the rows of the account are in a file of a workspace: the start and the length, in bytes of
        the uncompressed text, or in rows of Parquet. None: all rows of the file are of this partition.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    unfit: dict[str, int] = field(default_factory=dict)
    etag: str | None = None
    segment: tuple[int, int] | None = None

    def is_intact(self, base: Folder) -> bool:
        """Return whether the file is there, and still has its size and its ETag.

        A copy of an object can have another ETag. So if the ETag differs, the content decides.
        """
        found = base.stat(self.path)
        if found is None or found.size != self.bytes:
            return False
        return self.has_same_etag(found) or base.digest(self.path) == self.sha256

    def has_same_etag(self, found: FileStat) -> bool:
        """Return whether the ETag is the same, or the store has none."""
        return self.etag is None or found.etag in (None, self.etag)


@dataclass(frozen=True)
class Checkpoint:
    """The data of one partition is complete.

    :param read_at: when the read began, ISO 8601.
    :param cursor: where the next incremental read of the account continues.
    :param gone: since when no listing has the account or workspace, ISO 8601; None: a listing has it.
    :param counts: what was special about the answers, such as ``duplicates``, if it is not 0.
    """

    partition: Partition
    files: tuple[DataFile, ...]
    read_at: str
    cursor: str | None = None
    gone: str | None = None
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def shares_files(self) -> bool:
        """Whether its files can have rows of other accounts too."""
        return any(file.segment is not None for file in self.files)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Checkpoint:
        """Return the checkpoint that `asdict` was called on.

        :raises KeyError, TypeError: if the value is something else.
        """
        return cls(
            Partition(**value["partition"]),
            tuple(DataFile(**file) for file in value["files"]),
            value["read_at"],
            value["cursor"],
            counts=value["counts"],
        )


@dataclass(frozen=True)
class TryRecord:
    """What a try records before it writes its first part.

    :param token: in the names of its parts.
    :param writer: names the task; the same for every try.
    :param settings_digest: of everything that decides which rows a part has.
    :param folders: where it writes parts.
    :param superseded: parts that earlier manifests list. A part that no new manifest lists can be removed.
    :param adopted: manifests of single workspaces that this export replaces.
    """

    token: str
    writer: str
    settings_digest: str
    folders: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()


def reading_again(partition: Partition) -> str:
    """Return a sentence for the log: what an earlier try has read does not count."""
    return f"{partition}: a file of an earlier try is missing or was changed. It is read again."


def checkpoint_name(partition: Partition) -> str:
    """Return the name of the checkpoint of a partition, without its extension."""
    ids = "\0".join(partition.key).encode("utf-8", "surrogatepass")
    return hashlib.sha256(ids).hexdigest()[:32]


class CheckpointStore:
    """The records of tries and their checkpoints: for each try a small file, and one for each partition.

    :param control: the folder of the manifest.
    :param base: the folder that paths of parts are relative to.
    """

    def __init__(self, control: Folder, base: Folder) -> None:
        self._control = control
        self._base = base

    def records(self) -> list[TryRecord]:
        """Return the records of all tries, in the order of their tokens.

        :raises ExportError: if one cannot be understood.
        """
        names = self._control.names(layout.PROGRESS)
        tokens = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        with ThreadPoolExecutor(MAX_THREADS) as pool:
            found = pool.map(self._record, filter(layout.is_token, tokens))
            return [record for record in found if record is not None]

    def _record(self, token: str) -> TryRecord | None:
        path = f"{layout.PROGRESS}/{token}.json"
        body = self._control.read(path)
        if body is None:
            return None
        try:
            value = json.loads(body)
            record = TryRecord(
                token,
                value["writer"],
                value["settings_digest"],
                *(tuple(value[name]) for name in ("folders", "superseded", "adopted")),
            )
            safe = all(map(layout.is_part_path, record.superseded)) and has_valid_checksum(value)
            safe = safe and all(map(layout.is_manifest_path, record.adopted))
            if value["format_version"] == _RECORD_VERSION and safe:
                return record
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        raise ExportError(
            f"{self._control}/{path}, the record of an earlier try, is damaged, or a newer version of this package "
            "wrote it. Nothing was changed. Upgrade airflow-provider-banksync. If the file is damaged, remove it: the "
            "parts that this try has written then stay, and `verify` names them.",
            permanent=True,
        )

    def begin(self, record: TryRecord, check_lock: Callable[[], None]) -> None:
        """Write the record of a try."""
        value = {"format_version": _RECORD_VERSION, **asdict(record)}
        del value["token"]
        path = f"{layout.PROGRESS}/{record.token}.json"
        self._control.write(path, checked_json(value), check_lock, durable=True)

    def read(
        self, tokens: Iterable[str], warn: Callable[[str], None] = lambda _: None
    ) -> dict[PartitionKey, Checkpoint]:
        """Return the checkpoints of some tries. For each partition, the one that was read last.

        A checkpoint counts only if its files are still as they were.

        :param warn: is called with a sentence for each that does not count.
        """
        folders = [f"{layout.PROGRESS}/{token}" for token in tokens]
        paths = [
            f"{folder}/{name}"
            for folder in folders
            for name in self._control.names(folder)
            if name.endswith(".json")
        ]

        def read(path: str) -> Checkpoint | None:
            value = self._control.read_json(path) or {}
            try:
                checkpoint = Checkpoint.from_json(value) if has_valid_checksum(value) else None
            except (KeyError, TypeError):
                checkpoint = None
            if checkpoint is None:
                return None
            complete = all(
                (layout.is_part_path(file.path) or layout.is_account_rows(file.path))
                and file.is_intact(self._base)
                for file in checkpoint.files
            )
            if complete:
                return checkpoint
            warn(reading_again(checkpoint.partition))
            return None

        with ThreadPoolExecutor(MAX_THREADS) as pool:
            found = [checkpoint for checkpoint in pool.map(read, paths) if checkpoint is not None]
        return {
            checkpoint.partition.key: checkpoint
            for checkpoint in sorted(found, key=lambda checkpoint: checkpoint.read_at)
        }

    def save(self, token: str, checkpoint: Checkpoint, check_lock: Callable[[], None]) -> None:
        """Write a checkpoint of a try."""
        path = f"{layout.PROGRESS}/{token}/{checkpoint_name(checkpoint.partition)}.json"
        self._control.write(path, checked_json(asdict(checkpoint)), check_lock)

    def remove(self, tokens: Iterable[str]) -> None:
        """Remove the checkpoints of tries, then their records."""
        for token in tokens:
            self.remove_checkpoints(token)
            self._control.remove(f"{layout.PROGRESS}/{token}.json")

    def remove_checkpoints(self, token: str) -> None:
        """Remove the checkpoints of a try, and keep its record."""
        self._control.remove_all(f"{layout.PROGRESS}/{token}")

    def remove_all(self) -> None:
        """Remove the checkpoints of every try."""
        self._control.remove_all(layout.PROGRESS)
