"""Incremental exports: one batch after the other, each continues where the one before ended.

The manifest of a batch is its commit, and holds the cursor of each account. So rows and cursors are always committed
together. Files that a batch wrote without a manifest do not count, and the next batch removes them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export import manifest as manifests
from airflow_provider_banksync.export.absent import mark_if_gone
from airflow_provider_banksync.export.checkpoints import CheckpointStore
from airflow_provider_banksync.export.clean_up import (
    concurrently,
    refuse_lost_manifest,
    remove_files,
    uncommitted_parts,
)
from airflow_provider_banksync.export.intact import damaged_files
from airflow_provider_banksync.export.job import ExportJob
from airflow_provider_banksync.export.storage import layout
from airflow_provider_banksync.export.storage.folder import ExportError
from airflow_provider_banksync.export.workspace_exports import WorkspaceExports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_banksync.export.checkpoints import Checkpoint, PartitionKey
    from airflow_provider_banksync.export.manifest import Manifest
    from airflow_provider_banksync.export.storage.folder import Folder
    from airflow_provider_banksync.extract.partition import Partition, Unavailable


class BatchExportJob(ExportJob):
    """One batch. A further try adds the accounts that were unavailable, and changes no other.

    Another task of the same DAG run, with another selection, adds its own accounts. So does an older DAG run that comes
    late and asks for more than this batch has. With ``full_refresh``, accounts that the batch has are read again, once.

    ``settings.label`` must be a `layout.batch_label`.
    """

    def _lock_folder(self) -> Folder:
        return self.base / layout.MANIFESTS

    def _resume(self) -> None:
        self._cursors: dict[PartitionKey, Checkpoint] = {}
        current = self._read_state()
        labels = self._labels()
        later = self._find_later_batch(labels)
        if self._has_asked(current) and (later or not current["unavailable"]):
            # The later batch has read what was unavailable then.
            self._mark_complete(current)
            return
        if later:
            if not current:
                self._remove_uncommitted(str(self.settings.label))
            self._move_to(later)
            current = self._read_state()
            if self._has_asked(current):
                self._mark_complete(current, "A later batch has the rows of this one.")
                return
        self._find_previous_batch(labels)
        if self._manifest_before is None:
            self._refuse_lost_manifest()

    def _has_asked(self, manifest: dict[str, Any]) -> bool:
        """Return whether a batch has everything that this task asks for."""
        return self.settings.asked in manifest.get("selections", [])

    def _find_later_batch(self, labels: list[str]) -> str | None:
        """Return the newest batch, if it is later than this one. Remove later batches that were never committed."""
        own = str(self.settings.label)
        for label in reversed(labels):
            if label <= own:
                break
            if self._read_manifest(label) is not None:
                return label
            self._remove_uncommitted(label)
        return None

    def _move_to(self, label: str) -> None:
        """Add to another batch: it has the cursors from which this one would have to continue."""
        header = {**self.settings.manifest_header, "batch": layout.batch_of(label)}
        self.settings = replace(self.settings, label=label, manifest_header=header)
        self._open_control()

    def _read_manifest(self, label: str) -> dict[str, Any] | None:
        """Return the manifest of a batch, or None if it was never committed."""
        found = manifests.read_manifest(self.base, f"{layout.MANIFESTS}/{label}/{layout.MANIFEST}")
        if found is not None:
            self._refuse_other_workspace(found)
        return found

    def _find_previous_batch(self, labels: list[str]) -> None:
        """Find the batch to continue from. Remove uncommitted batches in between."""
        own = str(self.settings.label)
        damaged: set[PartitionKey] = set()
        for label in reversed([label for label in labels if label < own]):
            found = self._read_manifest(label)
            if found is None:
                self._remove_uncommitted(label)
                continue
            cursors = manifests.read_cursors(found)
            if damaged:
                self._cursors |= {key: each for key, each in cursors.items() if key in damaged}
                return
            self._roll_back(label, found)
            damaged = self._damaged(label, manifests.read_checkpoints(found))
            self._cursors = {key: each for key, each in cursors.items() if key not in damaged}
            if not damaged:
                return

    def _damaged(self, label: str, checkpoints: list[Checkpoint]) -> set[PartitionKey]:
        """Return the accounts of a batch whose files are not as its manifest says."""
        damaged = damaged_files(self.base, checkpoints)
        self.warnings += [
            f"{path} is missing, or is not as the manifest of {label} says. Its "
            f"{'account is' if len(keys) == 1 else 'accounts are'} read again from where that batch began."
            for path, keys in damaged.items()
        ]
        return set().union(*damaged.values())

    def _labels(self) -> list[str]:
        """Return the labels of all batches, the oldest first. This includes batches that only have parts."""
        folders = sorted([""] if self.settings.single_workspace else self._paths.workspace_folders())
        found = dict(zip(folders, concurrently(self.base.names, folders), strict=True))
        if not self.settings.single_workspace:
            self._refuse_workspace_batches(folder for folder in folders if layout.MANIFESTS in found[folder])
        with_parts = {name for names in found.values() for name in names if layout.is_batch(name)}
        return sorted(with_parts.union(layout.batches(self.base)))

    def _store_of(self, label: str) -> CheckpointStore:
        return CheckpointStore(self.base / f"{layout.MANIFESTS}/{label}", self.base)

    def _remove_uncommitted(self, label: str) -> None:
        """Remove a batch that was never committed. This batch reads its rows again."""
        store, control = self._store_of(label), self.base / f"{layout.MANIFESTS}/{label}"
        tokens = {each.token for each in store.records()}
        folders = self._paths.folders(label)
        refuse_lost_manifest(self.base, control, folders, tokens)
        remove_files(self.base, uncommitted_parts(self.base, folders, tokens))
        store.remove(tokens)
        store.remove_all()
        for folder in (*folders, f"{layout.MANIFESTS}/{label}"):
            if not self.base.names(folder):
                self.base.remove_all(folder)

    def _roll_back(self, label: str, manifest: dict[str, Any]) -> None:
        """Remove what a killed try has added to a committed batch. This batch reads it again."""
        store = self._store_of(label)
        tokens = {each.token for each in store.records()}
        if tokens:
            listed = manifests.read_paths(manifest)
            remove_files(self.base, uncommitted_parts(self.base, self._paths.folders(label), tokens, listed))
            store.remove(tokens)
            store.remove_all()

    def _refuse_workspace_batches(self, folders: Iterable[str]) -> None:
        """Refuse a batch of a family if a workspace has batches of its own: rows would come twice."""
        for folder in folders:
            if layout.batches(self.base / folder):
                raise ExportError(
                    f"destination {self.base / folder} holds batches of this workspace alone. A batch of the family "
                    "would export their rows again. Use another destination, or scope='self'.",
                    permanent=True,
                )

    def plan(
        self,
        partitions: Iterable[Partition],
        includes: Callable[[Partition], bool] = lambda _: True,
        unlisted: Iterable[Unavailable] = (),
        rows: int | None = None,
        lists: Mapping[Partition, int] | None = None,
    ) -> list[Unavailable]:
        """See `ExportJob.plan`. The committed files of this batch stay, with any selection."""
        shrunken = super().plan(partitions, includes, unlisted, rows, lists)
        planned = self._planned_keys()
        if self.settings.resets_cursors:

            def is_reset(checkpoint: Checkpoint) -> bool:
                return checkpoint.partition.key in planned or includes(checkpoint.partition)

            self._cursors = {key: each for key, each in self._cursors.items() if not is_reset(each)}
            if not self._has_asked(self._manifest_before or {}):
                # What stays because it is unavailable now has no cursor, so a later batch reads it from its beginning.
                self._previous = [
                    replace(each, cursor=None) if is_reset(each) else each for each in self._previous
                ]
        own = [each for each in self._previous if each.partition.key in planned]
        damaged = self._damaged(str(self.settings.label), own)
        for checkpoint in self._previous:
            if checkpoint.cursor is not None and checkpoint.partition.key not in damaged:
                self.checkpoints[checkpoint.partition.key] = checkpoint
        return shrunken

    def _last_export(self) -> Iterable[Checkpoint]:
        return self._cursors.values()

    def _read_workspace_exports(self) -> WorkspaceExports:
        """Read none: `_refuse_workspace_batches` refuses them."""
        return WorkspaceExports()

    def find_linked_again(self, partitions: Iterable[Partition]) -> list[tuple[Partition, Partition]]:
        """Return each new account that seems to be a known one under another id, and the known one.

        Call it before `plan`.

        :param partitions: the accounts to read.
        """
        known: dict[tuple[str, str], Partition] = {}
        for each in (*(checkpoint.partition for checkpoint in self._cursors.values()), *partitions):
            if each.identity is not None:
                known.setdefault((each.workspace_id, each.identity), each)
        return [
            (new, known[new.workspace_id, new.identity])
            for new in partitions
            if new.identity is not None
            and new.key not in self._cursors
            and known[new.workspace_id, new.identity].key != new.key
        ]

    def cursor_of(self, partition: Partition) -> str | None:
        """Return where the read of an account continues; None for its beginning."""
        checkpoint = self._cursors.get(partition.key)
        return None if checkpoint is None else checkpoint.cursor

    def _extend(self, manifest: Manifest) -> None:
        super()._extend(manifest)
        read = {checkpoint.partition.key for checkpoint in manifest.checkpoints}
        missing = {each.partition.key for each in manifest.unavailable}
        manifest.carried_cursors = [
            mark_if_gone(each, missing, manifest.generated_at) if self._includes(each.partition) else each
            for key, each in self._cursors.items()
            if key not in read
        ]
