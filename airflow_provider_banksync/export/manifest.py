"""The manifest: what an export consists of."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export.checkpoints import Checkpoint, DataFile, PartitionKey
from airflow_provider_banksync.export.storage import layout
from airflow_provider_banksync.export.storage.checksum import CHECKSUM, has_valid_checksum
from airflow_provider_banksync.export.storage.folder import ExportError, storage_errors
from airflow_provider_banksync.extract.partition import Partition, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_banksync.export.storage.folder import Folder

FORMAT_VERSION = 3
#: What is counted for each account, if it is not 0, and for all accounts together: rows that came twice, rows outside
#: of the requested days, and accounts that do not support the resource.
SPECIAL = ("duplicates", "outside_window", "not_supported")
_DAMAGED = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass
class Manifest:
    """The list of everything that an export consists of.

    :param header: resource, scope, window and format.
    :param carried_over: partitions in `checkpoints` that an earlier run has read, and this one could not.
    :param carried_cursors: of a batch: the cursors of accounts that it did not read.
    :param selections: the account selection of each task that has added to the export.
    """

    header: dict[str, Any]
    checkpoints: list[Checkpoint]
    unavailable: list[Unavailable]
    generated_at: str
    carried_over: set[PartitionKey] = field(default_factory=set)
    carried_cursors: list[Checkpoint] = field(default_factory=list)
    selections: list[str] = field(default_factory=list)

    @property
    def paths(self) -> set[str]:
        """The paths of all parts."""
        return {file.path for checkpoint in self.checkpoints for file in checkpoint.files}

    def to_json(self, base: str) -> dict[str, Any]:
        """Return the manifest as JSON values.

        :param base: from the manifest's folder to the folder that paths are relative to.
        """
        checkpoints = _sorted(self.checkpoints)
        manifest = {
            "format_version": FORMAT_VERSION,
            **self.header,
            "generated_at": self.generated_at,
            "rows": sum(checkpoint.rows for checkpoint in checkpoints),
            "unfit": count_unfit(checkpoints),
            **count_special(checkpoints),
            "base": base,
            "files": _files(checkpoints),
        }
        accounts = [each for each in checkpoints if each.partition.account_id is not None]
        if accounts:
            manifest["accounts"] = [self._account(checkpoint) for checkpoint in accounts]
        if self.selections:
            manifest["selections"] = self.selections
        if self.carried_cursors:
            manifest["carried_cursors"] = [
                {**_identified(each), "read_at": each.read_at, "cursor": each.cursor, **_gone(each)}
                for each in _sorted(self.carried_cursors)
            ]
        manifest["unavailable"] = [each.to_json() for each in _sorted(self.unavailable)]
        return manifest

    def _account(self, checkpoint: Checkpoint) -> dict[str, Any]:
        account = {**_identified(checkpoint), "rows": checkpoint.rows, "read_at": checkpoint.read_at}
        if checkpoint.cursor is not None:
            account["cursor"] = checkpoint.cursor
        if checkpoint.partition.key in self.carried_over:
            account["carried_over"] = True
        return account | _gone(checkpoint) | checkpoint.counts


def _identified(checkpoint: Checkpoint) -> dict[str, Any]:
    partition = checkpoint.partition
    identity = {} if partition.identity is None else {"identity": partition.identity}
    return partition.to_json() | identity


def _gone(checkpoint: Checkpoint) -> dict[str, str]:
    return {} if checkpoint.gone is None else {"gone": checkpoint.gone}


def count_unfit(checkpoints: Iterable[Checkpoint]) -> dict[str, int]:
    """Return how many values of each column do not fit it, and are in the column `extra`."""
    counts = Counter[str]()
    for checkpoint in checkpoints:
        for file in checkpoint.files:
            counts.update(file.unfit)
    return dict(sorted(counts.items()))


def count_special(checkpoints: Iterable[Checkpoint]) -> dict[str, int]:
    """Return how many rows came twice, and so on, for all accounts."""
    counts = Counter(dict.fromkeys(SPECIAL, 0))
    for checkpoint in checkpoints:
        counts.update(checkpoint.counts)
    return dict(counts)


def _files(checkpoints: Iterable[Checkpoint]) -> list[dict[str, Any]]:
    """Return one entry for each file. The accounts of a workspace can share one."""
    files: list[dict[str, Any]] = []
    shared: dict[str, dict[str, Any]] = {}
    for checkpoint in checkpoints:
        partition = checkpoint.partition
        for file in checkpoint.files:
            if file.segment is None:
                files.append({**_file(file), **partition.to_json(), **_gone(checkpoint)})
                continue
            entry = shared.get(file.path)
            if entry is None:
                workspace = Partition(partition.workspace_id, partition.portal)
                entry = shared[file.path] = {**_file(replace(file, rows=0, unfit={})), **workspace.to_json()}
                entry["segments"] = []
                files.append(entry)
            entry["rows"] += file.rows
            if file.unfit:
                entry["unfit"] = dict(sorted((Counter(entry.get("unfit")) + Counter(file.unfit)).items()))
            start, length = file.segment
            ids = {"bank_id": partition.bank_id, "account_id": partition.account_id}
            segment = {**ids, "rows": file.rows, "start": start, "length": length}
            entry["segments"].append(segment | ({"unfit": file.unfit} if file.unfit else {}))
    return files


def _file(file: DataFile) -> dict[str, Any]:
    values = asdict(replace(file, segment=None))
    return {
        name: value for name, value in values.items() if name not in ("unfit", "etag", "segment") or value
    }


def _read_files(entry: dict[str, Any]) -> list[tuple[Partition, DataFile]]:
    """Return the partitions that have rows in a file of a manifest, each with its part of the file."""
    partition, file = _partition(entry), DataFile(**_known_fields(entry, DataFile))
    if not layout.is_part_path(file.path):
        raise ValueError(file.path)
    segments = entry.get("segments")
    if segments is None:
        return [(partition, file)]
    found = [
        (
            replace(partition, bank_id=each["bank_id"], account_id=each["account_id"]),
            replace(
                file,
                rows=each["rows"],
                unfit=each.get("unfit", {}),
                segment=(int(each["start"]), int(each["length"])),
            ),
        )
        for each in segments
    ]
    if sum(each.rows for _, each in found) != file.rows:
        raise ValueError(file.path)
    return found


def _sorted(entries: Iterable[Any]) -> list[Any]:
    return sorted(entries, key=lambda entry: entry.partition.key)


def read_manifest(folder: Folder, path: str) -> dict[str, Any] | None:
    """Return the manifest in a file, or None if there is no such file.

    Only a manifest tells which files are committed. If it cannot be understood, nothing may be removed or replaced.

    :raises ExportError: if this version cannot continue from it.
    """
    body = folder.read(path)
    return None if body is None else parse_manifest(body, f"{folder}/{path}")


def parse_manifest(body: bytes, path: str) -> dict[str, Any]:
    """Return the manifest in the content of a file.

    :raises ExportError: if this version cannot continue from it.
    """
    try:
        manifest = json.loads(body)
        version = manifest["format_version"]
    except _DAMAGED:
        version = None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ExportError(
            f"destination {path} has format_version {version}, and this version of the package reads "
            f"{FORMAT_VERSION}. Nothing was changed. Upgrade airflow-provider-banksync, or use another "
            "destination.",
            permanent=True,
        )
    if version != FORMAT_VERSION or not _is_complete(manifest):
        raise ExportError(
            f"destination {path} is not a manifest of this package, or it is damaged. Nothing was changed. "
            "Restore the file, for example from a backup. To export everything again, use another destination.",
            permanent=True,
        )
    return dict(manifest)


def refuse_mixed_destination(base: Folder, family: Folder, label: str | None, workspace_id: str) -> None:
    """Refuse to export one workspace over files that the manifest of a family lists.

    :param base: the folder of the workspace.
    :param family: the folder of the resource, where an export of the family has its manifest.
    :param label: name of the folder of the window or batch; None if there is neither.
    :raises ExportError: if it would, or if the folder belongs to another workspace.
    """
    prefix = "" if label is None else f"{layout.MANIFESTS}/{label}/"
    with storage_errors(base, "read"):
        names = (layout.MANIFEST, layout.LOCK)
        has_export = any(family.read(f"{prefix}{name}") is not None for name in names)
        if (
            has_export
            or family.names(f"{prefix}{layout.PROGRESS}")
            or (layout.is_batch(label) and layout.batches(family))
        ):
            raise ExportError(
                f"destination {family} holds an export of the family. Use another destination, or scope='family'.",
                permanent=True,
            )
        found = read_checkpoints(read_manifest(base, f"{prefix}{layout.MANIFEST}"))
        if {checkpoint.partition.workspace_id for checkpoint in found} - {workspace_id}:
            raise ExportError(
                f"destination {base} is the folder of another workspace. Its id differs in upper and lower case only, "
                "which this file system ignores. Use another destination.",
                permanent=True,
            )


def read_checkpoints(manifest: dict[str, Any] | None) -> list[Checkpoint]:
    """Return what a manifest lists as checkpoints."""
    manifest = manifest or {}
    found: dict[PartitionKey, Checkpoint] = {}
    for entry in manifest.get("accounts", []):
        partition = _partition(entry)
        found[partition.key] = Checkpoint(
            partition,
            (),
            entry["read_at"],
            entry.get("cursor"),
            entry.get("gone"),
            {name: entry[name] for name in SPECIAL if name in entry},
        )
    for entry in manifest.get("files", []):
        for partition, file in _read_files(entry):
            known = found.get(partition.key) or Checkpoint(
                partition, (), str(manifest.get("generated_at")), gone=entry.get("gone")
            )
            found[partition.key] = replace(known, files=(*known.files, file))
    return list(found.values())


def read_unavailable(manifest: dict[str, Any] | None) -> list[Unavailable]:
    """Return what a manifest lists as unavailable."""
    return [
        Unavailable(_partition(entry), entry["reason"], entry["message"])
        for entry in (manifest or {}).get("unavailable", [])
    ]


def read_cursors(manifest: dict[str, Any]) -> dict[PartitionKey, Checkpoint]:
    """Return the accounts that have a cursor in the manifest of a batch, read by it or carried."""
    carried = read_checkpoints({"accounts": manifest.get("carried_cursors", [])})
    return {
        checkpoint.partition.key: checkpoint
        for checkpoint in (*carried, *read_checkpoints(manifest))
        if checkpoint.cursor is not None
    }


def read_key(entry: dict[str, Any]) -> PartitionKey:
    """Return the key of the partition of an entry of a manifest."""
    return _partition(entry).key


def read_gone(manifest: dict[str, Any]) -> list[Checkpoint]:
    """Return the accounts and workspaces that no listing has any more, but whose data the export keeps."""
    found = {**read_cursors(manifest), **{each.partition.key: each for each in read_checkpoints(manifest)}}
    return [checkpoint for checkpoint in found.values() if checkpoint.gone is not None]


def read_paths(manifest: dict[str, Any] | None) -> set[str]:
    """Return the parts that a manifest lists."""
    return {file.path for checkpoint in read_checkpoints(manifest) for file in checkpoint.files}


def _is_complete(manifest: dict[str, Any]) -> bool:
    """Return whether a manifest has all fields of this format, and they agree.

    If a part of the list were lost, the next batch would read its accounts from the beginning, and double their rows.
    """
    try:
        read_cursors(manifest)
        read_unavailable(manifest)
        checkpoints = read_checkpoints(manifest)
        count_unfit(checkpoints)
        files = [entry["path"] for entry in manifest["files"]]
        rows = {
            each.partition.key: each.rows for each in checkpoints if each.partition.account_id is not None
        }
        accounts = {_partition(entry).key: entry["rows"] for entry in manifest.get("accounts", [])}
        agree = manifest["rows"] == sum(each.rows for each in checkpoints) and accounts == rows
        lists = (manifest["files"], manifest.get("selections", []), manifest.get("ended_tries", []))
        agree = agree and (CHECKSUM not in manifest or has_valid_checksum(manifest))  # earlier versions: none
        return agree and len(set(files)) == len(files) and all(isinstance(each, list) for each in lists)
    except _DAMAGED:
        return False


def _partition(entry: dict[str, Any]) -> Partition:
    return Partition(**_known_fields(entry, Partition))


def _known_fields(entry: dict[str, Any], record: type[Partition | DataFile]) -> dict[str, Any]:
    return {each.name: entry[each.name] for each in fields(record) if each.name in entry}
