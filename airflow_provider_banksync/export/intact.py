"""Whether the files that a manifest or a checkpoint lists are still as they were written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.api.redaction import counted
from airflow_provider_banksync.export.clean_up import concurrently
from airflow_provider_banksync.export.storage.folder import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_banksync.export.checkpoints import Checkpoint, DataFile, PartitionKey
    from airflow_provider_banksync.export.storage.folder import Folder


def damaged_files(base: Folder, checkpoints: Iterable[Checkpoint]) -> dict[str, set[PartitionKey]]:
    """Return the files that are missing or were changed, with the keys of their partitions."""
    files: dict[str, DataFile] = {}
    keys: dict[str, set[PartitionKey]] = {}
    for each in checkpoints:
        for file in each.files:
            files[file.path] = file
            keys.setdefault(file.path, set()).add(each.partition.key)
    differing = concurrently(lambda path: "" if files[path].is_intact(base) else path, files)
    return {path: keys[path] for path in differing if path}


def refuse_damaged(base: Folder, checkpoints: Iterable[Checkpoint]) -> None:
    """Refuse to list files again that are not as the manifest says.

    :param checkpoints: of partitions that this export does not read.
    :raises ExportError: if a file is missing or was changed.
    """
    damaged = sorted(damaged_files(base, checkpoints))
    if damaged:
        others = f" and {counted(len(damaged) - 1, 'other file')}" if len(damaged) > 1 else ""
        raise ExportError(
            f"destination {base}: {damaged[0]}{others} cannot be kept, because a file is missing or is not as the "
            "manifest says. Nothing was changed. Restore the files. Or run this export once without "
            "workspace_ids, bank_ids, account_ids and where: it then reads all accounts again.",
            permanent=True,
        )
