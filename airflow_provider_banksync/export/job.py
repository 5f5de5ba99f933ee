"""One export: resumes what a killed try has completed, and writes the manifest last."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export.absent import carry_over, compare_lists, covers, read_newest_window
from airflow_provider_banksync.export.account_writer import AccountWriter, WriteTarget
from airflow_provider_banksync.export.checkpoints import (
    Checkpoint,
    CheckpointStore,
    PartitionKey,
    TryRecord,
)
from airflow_provider_banksync.export.clean_up import (
    refuse_lost_manifest,
    remove_files,
    remove_incomplete_manifests,
    uncommitted_parts,
)
from airflow_provider_banksync.export.intact import refuse_damaged
from airflow_provider_banksync.export.manifest import (
    Manifest,
    parse_manifest,
    read_checkpoints,
    read_paths,
    read_unavailable,
)
from airflow_provider_banksync.export.paths import ExportPaths
from airflow_provider_banksync.export.storage import layout
from airflow_provider_banksync.export.storage.checksum import checked_json
from airflow_provider_banksync.export.storage.folder import ExportError, storage_errors
from airflow_provider_banksync.export.storage.lock import FolderLock
from airflow_provider_banksync.export.workspace_exports import (
    WorkspaceExports,
    read_workspace_exports,
    workspace_manifest,
)
from airflow_provider_banksync.export.workspace_files import WorkspaceFiles, read_committed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_banksync.export.formats.factory import OutputFormat
    from airflow_provider_banksync.export.settings import ExportSettings
    from airflow_provider_banksync.export.storage.folder import Folder
    from airflow_provider_banksync.extract.partition import Partition, Unavailable


@dataclass(frozen=True)
class CompleteExport:
    """An export that has all rows already.

    :param folder: the folder of its manifest.
    """

    manifest: dict[str, Any]
    folder: Folder
    reason: str


class ExportJob:
    """An export into a folder: of a resource, or of one workspace of it.

    Call ``begin``, ``plan``, ``open_writer`` for each of ``unfinished``, ``commit``, and ``release`` in any case.

    :param base: the folder. Paths in the manifest are relative to it.
    """

    #: Set by `begin` if there is nothing to do.
    complete: CompleteExport | None = None

    def __init__(self, base: Folder, settings: ExportSettings, output_format: OutputFormat) -> None:
        self.base = base
        self.settings = settings
        self.output_format = output_format
        self.checkpoints: dict[PartitionKey, Checkpoint] = {}
        self._partitions: list[Partition] = []
        self._previous: list[Checkpoint] = []
        self._known: list[Checkpoint] = []
        self._unavailable: list[Unavailable] = []
        self._includes: Callable[[Partition], bool] = lambda _: True
        self._body_before: bytes | None = None
        self._manifest_before: dict[str, Any] | None = None
        self._open_control()
        self._lock = FolderLock(self._lock_folder(), settings.writer_id)
        self._lock_check = threading.Lock()
        self._earlier: list[TryRecord] = []
        #: What a person should know, in sentences.
        self.warnings: list[str] = []
        self._target = WriteTarget(
            base,
            output_format.without_frame() if settings.workspace_files else output_format,
            settings,
            self._path_of,
            self.check_lock,
            self.save_checkpoint,
        )

    def _open_control(self) -> None:
        """Set the folder of the manifest, and the record of this try."""
        label, extension = self.settings.label, self.output_format.extension
        self._control_path = f"{layout.MANIFESTS}/{label}"
        self.control = self.base if label is None else self.base / self._control_path
        self._store = CheckpointStore(self.control, self.base)
        self._record = TryRecord(layout.new_token(), self.settings.writer_id, self.settings.digest(extension))
        control = "" if label is None else self._control_path
        self._paths = ExportPaths(self.base, self.settings, control, self._record.token)

    def _lock_folder(self) -> Folder:
        return self.control

    # --- begin ---

    def begin(self) -> None:
        """Take the lock, and resume what an earlier try of the same task has completed.

        :raises ExportError: if the folder cannot be written, or another task writes to it.
        """
        with storage_errors(self.base):
            self._lock.acquire()
            self._resume()

    def _resume(self) -> None:
        current = self._read_state()
        if self._is_finished(current):
            self._mark_complete(current)

    def _read_state(self) -> dict[str, Any]:
        """Read the manifest, the records of earlier tries, and their checkpoints. Return the manifest."""
        body = self._body_before = self.control.read(layout.MANIFEST)
        self._manifest_before = (
            None if body is None else parse_manifest(body, f"{self.control}/{layout.MANIFEST}")
        )
        current = self._manifest_before or {}
        self._refuse_other_workspace(current)
        self._previous = read_checkpoints(current)
        self._known = [*self._previous]
        self._unavailable = read_unavailable(current)
        self._earlier = self._store.records()
        ended = current.get("ended_tries", [])
        self.checkpoints = self._store.read(
            (each.token for each in self._earlier if self._is_same_task(each) and each.token not in ended),
            self.warnings.append,
        )
        is_own = any(each.token == current.get("try") for each in self._earlier if self._is_same_task(each))
        if self.settings.workspace_files and is_own:
            self.checkpoints |= read_committed(self.base, current, self.warnings.append)
        return current

    def _is_same_task(self, record: TryRecord) -> bool:
        return (record.writer, record.settings_digest) == (self._record.writer, self._record.settings_digest)

    def _is_finished(self, current: dict[str, Any]) -> bool:
        """Return whether an earlier try of this task was killed between its manifest and the end of its clean-up."""
        tries = {each.token for each in self._earlier if self._is_same_task(each)}
        return bool(current) and not current["unavailable"] and current.get("try") in tries

    def _refuse_other_workspace(self, manifest: dict[str, Any]) -> None:
        """Refuse to replace the export of another workspace or family: its files would be removed as stale."""
        own, other = self.settings.manifest_header.get("workspace_id"), manifest.get("workspace_id")
        if other is not None and other != own:
            raise ExportError(
                f"destination {self.base} holds an export of workspace {other!r}, but this one is of {own!r}. Use "
                "another destination.",
                permanent=True,
            )

    def _mark_complete(
        self, manifest: dict[str, Any], reason: str = "This export is complete already."
    ) -> None:
        """Record that an earlier try has finished this export, and finish what it left of its clean-up."""
        self.complete = CompleteExport(manifest, self.control, reason)
        self._clean_up(manifest)

    # --- plan ---

    def plan(
        self,
        partitions: Iterable[Partition],
        includes: Callable[[Partition], bool] = lambda _: True,
        unlisted: Iterable[Unavailable] = (),
        rows: int | None = None,
        lists: Mapping[Partition, int] | None = None,
    ) -> list[Unavailable]:
        """Set the partitions to export, and record this try.

        Checkpoints of any other partition are dropped.

        :param includes: returns whether the export is about a partition. An earlier export of any other stays.
        :param unlisted: banks whose accounts, or workspaces whose rows, could not be listed. Their checkpoints stay.
        :param rows: number of rows of a listing; None for the data of accounts.
        :param lists: number of accounts of each bank, or of rows of each workspace, that could be listed.
        :return: the banks or workspaces whose list is much shorter than before. They are not part of the export.
        :raises ExportError: if the listing is much shorter than before, and `allow_shrink` is not set. Or if parts are
            there that a manifest has listed, but no manifest.
        """
        self._includes = includes
        self._partitions = sorted(partitions, key=lambda partition: partition.key)
        done = (checkpoint.partition for checkpoint in (*self._previous, *self.checkpoints.values()))
        self._paths.distinguish([*self._partitions, *done])
        missing = {each.partition.key for each in unlisted}
        shrunken: list[Unavailable] = []
        wanted = self._planned_keys() | missing
        self.checkpoints = {
            key: checkpoint for key, checkpoint in self.checkpoints.items() if covers(wanted, key)
        }
        with storage_errors(self.base):
            adopted = self._read_workspace_exports()
            if self._manifest_before is None:
                self._refuse_lost_manifest()
            if not self.settings.allow_shrink:
                before = [each for each in self._last_export() if includes(each.partition)]
                asked = (self._manifest_before or {}).get("selections", [])
                lists = lists if rows is None or self.settings.asked in asked else {}
                shrunken = compare_lists(before, self._planned_keys(), missing, rows, lists or {})
                keys = {each.partition.key for each in shrunken}
                self._partitions = [each for each in self._partitions if not covers(keys, each.key)]
            planned = self._planned_keys()
            refuse_damaged(
                self.base,
                [
                    each
                    for each in self._previous
                    if not includes(each.partition) and each.partition.key not in planned
                ],
            )
            superseded = read_paths(self._manifest_before) | adopted.parts
            writing = [*self._partitions, *(each.partition for each in self._known if each.shares_files)]
            folders = {self._paths.folder_of(each).rstrip("/") for each in writing}
            self._record = replace(
                self._record,
                folders=tuple(sorted(folders)),
                superseded=tuple(sorted(superseded)),
                adopted=tuple(sorted(adopted.manifests)),
            )
            self._store.begin(self._record, self.check_lock)
        return shrunken

    def _last_export(self) -> Iterable[Checkpoint]:
        """Return what the last export has. A new window compares its accounts with those of another window."""
        if self._previous or self.settings.label is None:
            return self._previous
        return read_newest_window(self.base, self.settings.label)

    def _planned_keys(self) -> set[PartitionKey]:
        return {partition.key for partition in self._partitions}

    def _read_workspace_exports(self) -> WorkspaceExports:
        """Make exports of single workspaces, in the folders of this family, part of its export."""
        if self.settings.single_workspace:
            return WorkspaceExports()
        portals = {self._paths.workspace_folder(each.workspace_id): each.portal for each in self._partitions}
        found = read_workspace_exports(self.base, self.settings.label, portals)
        self._known += found.checkpoints
        known = {checkpoint.partition.key for checkpoint in self._previous}
        self._previous += [each for each in found.checkpoints if each.partition.key not in known]
        self._unavailable += found.unavailable
        return found

    def _refuse_lost_manifest(self) -> None:
        def is_listed(folder: str) -> bool:
            manifest = workspace_manifest(folder.split("/", 1)[0], self.settings.label)
            return not self.settings.single_workspace and self.base.stat(manifest) is not None

        tokens = {each.token for each in self._earlier}
        folders = self._paths.folders(self.settings.label)
        refuse_lost_manifest(self.base, self.control, folders, tokens, is_listed)

    def unfinished(self) -> list[Partition]:
        """Return the partitions that have no checkpoint, in the order of their ids."""
        return [partition for partition in self._partitions if partition.key not in self.checkpoints]

    # --- write ---

    def open_writer(self, partition: Partition) -> AccountWriter:
        """Return a writer of one partition. Several may be open at once, in several threads."""
        return AccountWriter(self._target, partition)

    def cursor_of(self, _partition: Partition) -> str | None:
        """Return where the read of an account continues; None for its beginning."""
        return None

    def _path_of(self, partition: Partition, number: int) -> str:
        extension = self._target.output_format.extension
        if self.settings.workspace_files:
            return self._paths.account_rows(partition, extension)
        return self._paths.account_part(partition, number, extension)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Record that a partition is complete, so that the next try does not read it again."""
        self.checkpoints[checkpoint.partition.key] = checkpoint
        if self.settings.resumable:
            self._store.save(self._record.token, checkpoint, self.check_lock)

    def check_lock(self) -> None:
        """Check the lock, and write a heartbeat if one is due.

        :raises ExportError: if another task has taken it.
        """
        with self._lock_check:
            self._lock.check()

    # --- commit ---

    def commit(self, unavailable: Iterable[Unavailable], generated_at: str) -> dict[str, Any]:
        """Write the manifest, then remove the files that it does not list.

        If an earlier run has read a partition that is unavailable now, or not listed any more, its files stay.

        :return: the manifest.
        """
        with storage_errors(self.base):
            self.check_lock()
            missing = list(unavailable)
            carried_over = self._carried_over(missing, generated_at)
            files = WorkspaceFiles(self.base, self.output_format, self.settings, self._paths, self.check_lock)
            manifest = Manifest(
                self.settings.manifest_header,
                files.combine([*self.checkpoints.values(), *carried_over], self._known),
                [*missing, *self._unavailable_elsewhere()],
                generated_at,
                {checkpoint.partition.key for checkpoint in carried_over},
            )
            self._extend(manifest)
            content = manifest.to_json("." if self.settings.label is None else "../..")
            content["try"] = self._record.token
            resumable = self.settings.resumable and bool(missing)
            keeps_checkpoints = resumable and not self.settings.workspace_files
            ended = [
                each.token for each in self._earlier if not (keeps_checkpoints and self._is_same_task(each))
            ]
            if ended:
                content["ended_tries"] = ended
            remove_incomplete_manifests(self.control)
            folders = {file.path.rpartition("/")[0] for each in manifest.checkpoints for file in each.files}
            self.base.sync(folders if self.settings.label is None else {*folders, self._control_path})
            self.control.replace(layout.MANIFEST, checked_json(content), self._body_before, self.check_lock)
            self.check_lock()
            self._clean_up(content, resumable=resumable)
        return content

    def _extend(self, manifest: Manifest) -> None:
        """Add what was asked for. A listing replaces the rows of earlier selections."""
        before = (self._manifest_before or {}).get("selections", []) if self.settings.resumable else []
        manifest.selections = sorted({*before, self.settings.asked})

    def release(self) -> None:
        """Release the lock."""
        with storage_errors(self.base):
            self._lock.release()

    def _unavailable_elsewhere(self) -> list[Unavailable]:
        """Return what was unavailable for an earlier run, and is not part of this one."""
        planned = self._planned_keys()
        return [
            each
            for each in self._unavailable
            if each.partition.key not in planned and not self._includes(each.partition)
        ]

    def _carried_over(self, missing: list[Unavailable], generated_at: str) -> list[Checkpoint]:
        """Return earlier checkpoints of partitions outside this export, unavailable with files intact, or gone."""
        earlier = [each for each in self._previous if each.partition.key not in self.checkpoints]
        return carry_over(self.base, earlier, self._includes, missing, generated_at)

    def _clean_up(self, manifest: dict[str, Any], *, resumable: bool = False) -> None:
        """Remove what no manifest lists any more: parts that it replaces, parts of ended tries, and their records.

        A part is removed only if a manifest before this one has listed it, or if a recorded try has written it.

        :param manifest: the one that was just committed.
        :param resumable: a retry of this task continues from its checkpoints.
        """
        listed = read_paths(manifest)
        records = [*self._earlier, self._record]
        stale = self._paths.written.union(*(each.superseded for each in records))
        tokens = {each.token for each in self._earlier} | set(
            (self._manifest_before or {}).get("ended_tries", [])
        )
        if tokens:
            folders = {folder for each in records for folder in each.folders}
            stale |= uncommitted_parts(self.base, folders, tokens, listed)
        remove_files(self.base, stale - listed)
        remove_files(self.base, {path for each in records for path in each.adopted})
        if resumable and self.settings.workspace_files:
            # A retry continues from the manifest, and knows by the record that it may.
            self._store.remove(each.token for each in self._earlier)
            self._store.remove_checkpoints(self._record.token)
        elif resumable:
            self._store.remove(each.token for each in self._earlier if not self._is_same_task(each))
        else:
            self._store.remove(each.token for each in records)
            self._store.remove_all()
