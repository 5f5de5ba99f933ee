"""What the last export has, and the API does not list any more. It may be gone, or the answer may be incomplete."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from airflow_provider_banksync.api.redaction import counted
from airflow_provider_banksync.export.manifest import read_checkpoints, read_manifest
from airflow_provider_banksync.export.storage import layout
from airflow_provider_banksync.export.storage.folder import ExportError
from airflow_provider_banksync.extract.partition import RETRYABLE, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_banksync.export.checkpoints import Checkpoint, PartitionKey
    from airflow_provider_banksync.export.storage.folder import Folder
    from airflow_provider_banksync.extract.partition import Partition

#: If a listing has lost more than this many entries, and more than a tenth, it may be incomplete.
_MAX_LOST = 3


def covers(keys: set[PartitionKey], key: PartitionKey) -> bool:
    """Return whether the keys contain this one, or the one of its bank."""
    return key in keys or (*key[:2], "") in keys


def mark_if_gone(checkpoint: Checkpoint, missing: set[PartitionKey], now: str) -> Checkpoint:
    """Return the checkpoint of an earlier run, with the time since when its partition is gone.

    :param missing: the keys of what is listed but unavailable.
    """
    is_listed = covers(missing, checkpoint.partition.key)
    return replace(checkpoint, gone=None if is_listed else checkpoint.gone or now)


def carry_over(
    base: Folder,
    earlier: Iterable[Checkpoint],
    includes: Callable[[Partition], bool],
    unavailable: Iterable[Unavailable],
    now: str,
) -> list[Checkpoint]:
    """Return earlier checkpoints of partitions outside the export, unavailable with files intact, or gone.

    :param earlier: of partitions that the export has not read.
    :param includes: returns whether the export is about a partition.
    """
    keys = {each.partition.key for each in unavailable}

    digest = cache(base.digest)  # several accounts can share a file

    def is_intact(checkpoint: Checkpoint) -> bool:
        return all(digest(file.path) == file.sha256 for file in checkpoint.files)

    carried = []
    for checkpoint in earlier:
        if not includes(checkpoint.partition):
            carried.append(checkpoint)
        elif not covers(keys, checkpoint.partition.key) or is_intact(checkpoint):
            carried.append(mark_if_gone(checkpoint, keys, now))
    return carried


def compare_lists(
    before: Iterable[Checkpoint],
    planned: set[PartitionKey],
    unlisted: set[PartitionKey],
    rows: int | None,
    lists: Mapping[Partition, int],
) -> list[Unavailable]:
    """Refuse a listing that is much shorter than in the last export, and find parts of it that are much shorter.

    :param before: what the last export has.
    :param planned: the keys of what is listed.
    :param unlisted: the keys of what could not be listed.
    :param rows: number of rows of a listing; None: compare the number of accounts.
    :param lists: number of accounts of each listed bank, or of rows of each listed workspace.
    :return: the banks or workspaces that have lost more than three, and more than a tenth.
    :raises ExportError: if the whole listing has.
    """
    before = list(before)
    known = {each.partition.key: each.rows for each in before if each.gone is None}
    if rows is None:
        what, had = "accounts", len(known)
        has = len(planned.union(key for key in known if covers(unlisted, key)))
    else:
        what, had = "rows", sum(count for key, count in known.items() if not covers(unlisted, key))
        has = rows
    if _is_much_shorter(has, had):
        raise ExportError(
            f"the API lists {has} {what}, and the last export has {had}. Nothing was changed, because the answer may "
            "be incomplete. If it is right, run this task once with allow_shrink=True."
        )
    return _find_shrunken(before, lists)


def _find_shrunken(before: Iterable[Checkpoint], lists: Mapping[Partition, int]) -> list[Unavailable]:
    known: Counter[PartitionKey] = Counter()
    for each in before:
        if each.gone is None:
            key = each.partition.key
            known[key[0], key[1], ""] += each.rows if each.partition.bank_id is None else 1
    return [
        Unavailable(
            partition,
            RETRYABLE,
            f"the API lists {counted(has, 'row' if partition.bank_id is None else 'account')} of it, and the last "
            f"export has {known[partition.key]}. The answer may be incomplete, so what the last export has stays. "
            "If it is right, run this task once with allow_shrink=True.",
        )
        for partition, has in lists.items()
        if _is_much_shorter(has, known[partition.key])
    ]


def _is_much_shorter(has: int, had: int) -> bool:
    return had - has > _MAX_LOST and (had - has) * 10 > had


def read_newest_window(base: Folder, other_than: str) -> list[Checkpoint]:
    """Return what the export of the newest other window has."""
    for label in reversed(base.names(layout.MANIFESTS)):
        if label == other_than or layout.is_batch(label):
            continue
        found = read_manifest(base, f"{layout.MANIFESTS}/{label}/{layout.MANIFEST}")
        if found is not None:
            return read_checkpoints(found)
    return []
