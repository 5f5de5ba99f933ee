"""One file for each workspace: the rows of its accounts, one after the other.

Each account is first written to a file of its own, next to its checkpoint, so that a retry resumes as it does without.
Before the manifest, these files become one for each workspace. If a later run reads only some accounts of such a file
again, the rows of the others are copied into a file of their own. So no row is ever in two files that a manifest lists.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export.checkpoints import DataFile, reading_again
from airflow_provider_banksync.export.formats.ranges import Range, copy_ranges, read_text
from airflow_provider_banksync.export.formats.schema import PORTAL_NAME
from airflow_provider_banksync.export.intact import damaged_files
from airflow_provider_banksync.export.manifest import read_checkpoints, read_key
from airflow_provider_banksync.export.storage import layout
from airflow_provider_banksync.export.storage.folder import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_banksync.export.checkpoints import Checkpoint, PartitionKey
    from airflow_provider_banksync.export.formats.factory import OutputFormat
    from airflow_provider_banksync.export.paths import ExportPaths
    from airflow_provider_banksync.export.settings import ExportSettings
    from airflow_provider_banksync.export.storage.folder import Folder
    from airflow_provider_banksync.extract.partition import Partition

#: Workspaces whose files are written at the same time.
_THREADS = 8


@dataclass(frozen=True)
class _Rows:
    """The rows of an account in a file."""

    partition: Partition
    file: DataFile


class WorkspaceFiles:
    """Writes the files of the workspaces of one export.

    :param check_lock: raises if another task has taken the lock.
    """

    def __init__(
        self,
        base: Folder,
        output_format: OutputFormat,
        settings: ExportSettings,
        paths: ExportPaths,
        check_lock: Callable[[], None],
    ) -> None:
        self._base = base
        self._format = output_format
        self._paths = paths
        self._check_lock = check_lock
        names = [PORTAL_NAME] if settings.portal_name else []
        self._header = output_format.header(names)

    def combine(self, checkpoints: Iterable[Checkpoint], before: Iterable[Checkpoint]) -> list[Checkpoint]:
        """Write the files that the manifest needs, and return the checkpoints with their new files.

        :param checkpoints: what the manifest will list.
        :param before: what earlier manifests list. A file of a workspace stays if all its accounts do.
        :raises ExportError: if rows must be copied from a file that is not as its manifest says.
        """
        listed = {each.partition.key: each for each in checkpoints}
        known, listed_now = _starts(before), _starts(listed.values())
        changed = {path for path, starts in listed_now.items() if len(starts) < len(known[path])}
        sources: dict[str, dict[str, list[_Rows]]] = {}
        for each in sorted(listed.values(), key=lambda checkpoint: checkpoint.partition.key):
            for file in each.files:
                is_new = layout.is_account_rows(file.path)
                if is_new or file.path in changed:
                    by_source = sources.setdefault(each.partition.workspace_id, {})
                    by_source.setdefault("" if is_new else file.path, []).append(_Rows(each.partition, file))

        def combine_workspace(by_source: dict[str, list[_Rows]]) -> list[tuple[_Rows, DataFile]]:
            moved = []
            for number, (source, rows) in enumerate(sorted(by_source.items())):
                if source:
                    moved += self._copy_remaining(number, source, rows, header_bytes=min(known[source]))
                else:
                    moved += self._combine_new(number, rows)
            return moved

        if not sources:
            return list(listed.values())
        with ThreadPoolExecutor(_THREADS) as pool:
            for moved in pool.map(combine_workspace, sources.values()):
                for rows, file in moved:
                    checkpoint = listed[rows.partition.key]
                    files = tuple(file if each == rows.file else each for each in checkpoint.files)
                    listed[rows.partition.key] = replace(checkpoint, files=files)
        return list(listed.values())

    def _combine_new(self, number: int, rows: list[_Rows]) -> list[tuple[_Rows, DataFile]]:
        is_parquet = self._format.file_format == "parquet"
        ranges = [
            Range(each.file.path, 0, each.file.rows if is_parquet else each.file.bytes) for each in rows
        ]
        return self._write(number, self._format.extension, rows, ranges, self._header)

    def _copy_remaining(
        self, number: int, source: str, rows: list[_Rows], header_bytes: int
    ) -> list[tuple[_Rows, DataFile]]:
        if self._base.digest(source) != rows[0].file.sha256:
            raise ExportError(
                f"destination {self._base}/{source} is missing, or differs from what the manifest says. It has rows of "
                f"{rows[0].partition}, which this export does not read again. Nothing was changed. Restore the file, "
                "or use another destination.",
                permanent=True,
            )
        rows = sorted(rows, key=lambda each: each.file.segment or (0, 0))
        ranges = [Range(source, *each.file.segment) for each in rows if each.file.segment is not None]
        header = read_text(self._base, Range(source, 0, header_bytes)) if header_bytes else b""
        return self._write(number, source.rpartition("/")[2].partition(".")[2], rows, ranges, header)

    def _write(
        self, number: int, extension: str, rows: list[_Rows], ranges: list[Range], header: bytes
    ) -> list[tuple[_Rows, DataFile]]:
        """Write a file, and return the rows, each with where they are now."""
        path = self._paths.workspace_part(rows[0].partition, number, extension)
        out = self._base.open(path)
        try:
            copy_ranges(self._base, ranges, out, extension, header, self._check_lock)
            self._check_lock()
            digest = out.close()
            stat = None if self._base.is_local else self._base.stat(path)
        except BaseException:
            out.abort()
            raise
        whole = DataFile(path, 0, out.bytes, digest, etag=None if stat is None else stat.etag)
        lengths = [each.length for each in ranges]
        starts = accumulate(lengths[:-1], initial=len(header))
        return [
            (each, replace(whole, rows=each.file.rows, unfit=each.file.unfit, segment=segment))
            for each, segment in zip(rows, zip(starts, lengths, strict=True), strict=True)
        ]


def read_committed(
    base: Folder, manifest: dict[str, Any], warn: Callable[[str], None]
) -> dict[PartitionKey, Checkpoint]:
    """Return what the try of a manifest has read. Only files of workspaces are left of it, and no checkpoints.

    An account counts only if its file is still as it was.

    :param warn: is called with a sentence for each account that does not count.
    """
    carried_over = {read_key(each) for each in manifest.get("accounts", []) if each.get("carried_over")}
    read = [each for each in read_checkpoints(manifest) if each.partition.key not in carried_over]
    damaged = set().union(*damaged_files(base, read).values())
    for each in read:
        if each.partition.key in damaged:
            warn(reading_again(each.partition))
    return {each.partition.key: each for each in read if each.partition.key not in damaged}


def _starts(checkpoints: Iterable[Checkpoint]) -> dict[str, set[int]]:
    """Return where the rows of each account begin, for each file that several accounts can share."""
    found: dict[str, set[int]] = {}
    for each in checkpoints:
        for file in each.files:
            if file.segment is not None:
                found.setdefault(file.path, set()).add(file.segment[0])
    return found
