"""Write a listing: one folder per workspace, and a manifest that is there only when everything else is."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export import jsonl, layout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.providers.common.compat.sdk import ObjectStoragePath

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Owner:
    """Whose rows: a workspace, and the portal's name where it is one."""

    workspace_id: str
    portal: str | None = None


@dataclass(frozen=True)
class File:
    """One file of an export, as the manifest has it; `path` is relative to the manifest's folder."""

    path: str
    rows: int
    bytes: int
    sha256: str
    workspace_id: str
    portal: str | None


class ExportError(Exception):
    """The destination cannot be written."""


def prepare(folder: ObjectStoragePath, *, alone: bool = False) -> None:
    """See that an export can be written below the folder, before anything is fetched.

    :param alone: only one workspace is to be written (`own` of `write`).
    :raises ExportError: naming the folder, and why: it cannot be written, or one workspace would change what the
        manifest of a family's export vouches for.
    """
    if alone and read_manifest(folder) is not None:
        raise ExportError(
            f"destination {folder} holds an export of the family: give another destination, or scope='family'."
        )
    probe = folder / f"_writable-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)
    except Exception as error:
        raise ExportError(f"destination {folder} cannot be written: {_reason(error)}.") from error


def write(
    folder: ObjectStoragePath,
    rows: Iterable[tuple[Owner, dict[str, Any]]],
    *,
    own: str | None = None,
    description: dict[str, Any],
    generated_at: str,
) -> dict[str, Any]:
    """Write rows below a folder, in the place of what an earlier run of the same export has left there.

    While files change there is no manifest: a reader who waits for one never sees half of an export. What the earlier
    manifest lists and this run does not write is removed; files that no manifest ever listed are left alone. One
    writer at a time.

    :param rows: each with its owner; the order is kept.
    :param own: the one workspace whose rows these are: its folder then has a manifest of its own, and nothing outside
        is touched. None: all workspaces of the rows, with one manifest beside their folders.
    :param description: goes to the manifest's head (resource, scope, ...).
    :return: the manifest.
    :raises ExportError: a file could not be written; there is no manifest then, and running it again mends it.
    """
    names: dict[str, str | None] = {}
    grouped: dict[str, list[dict[str, Any]]] = {}
    for owner, row in rows:
        names[owner.workspace_id] = names.get(owner.workspace_id) or owner.portal
        grouped.setdefault(owner.workspace_id, []).append(row)
    contents: dict[str, bytes] = {}
    files: list[File] = []
    for workspace_id in sorted(grouped):
        path = layout.part(workspace_id, 0, jsonl.EXTENSION)
        body = contents[path] = jsonl.encode(grouped[workspace_id])
        digest = hashlib.sha256(body).hexdigest()
        files.append(
            File(path, len(grouped[workspace_id]), len(body), digest, workspace_id, names[workspace_id])
        )
    manifest = {
        "format_version": FORMAT_VERSION,
        **description,
        "file_format": jsonl.EXTENSION,
        "generated_at": generated_at,
        "rows": sum(file.rows for file in files),
        "files": [asdict(file) for file in files],
        "unavailable": [],
    }
    try:
        if own is None:
            _publish(folder, contents, manifest)
        else:
            _publish_one(folder, own, contents, manifest)
    except Exception as error:
        raise ExportError(f"destination {folder} could not be written: {_reason(error)}.") from error
    return manifest


def read_manifest(folder: ObjectStoragePath, name: str = layout.MANIFEST) -> dict[str, Any] | None:
    """Return the manifest of a folder; None when there is none that can be read."""
    try:
        manifest = json.loads((folder / name).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _publish(folder: ObjectStoragePath, contents: dict[str, bytes], manifest: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    listed = _paths(read_manifest(folder)) | _paths(read_manifest(folder, layout.PREVIOUS))
    known = {"files": [{"path": path} for path in sorted(listed | set(contents))]}
    (folder / layout.PREVIOUS).write_bytes(json.dumps(known).encode())
    (folder / layout.MANIFEST).unlink(missing_ok=True)
    for path, body in contents.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # A workspace that was exported alone has a manifest of its own, which is not true any more.
        (target.parent / layout.MANIFEST).unlink(missing_ok=True)
        target.write_bytes(body)
    for path in sorted(listed - set(contents)):
        (folder / path).unlink(missing_ok=True)
    (folder / layout.MANIFEST).write_bytes(json.dumps(manifest, ensure_ascii=False, indent=2).encode())
    (folder / layout.PREVIOUS).unlink(missing_ok=True)


def _publish_one(
    folder: ObjectStoragePath, own: str, contents: dict[str, bytes], manifest: dict[str, Any]
) -> None:
    """Publish one workspace in its own folder; the manifest's paths are relative to that."""
    below = layout.workspace_folder(own)
    inside = {path.removeprefix(f"{below}/"): body for path, body in contents.items()}
    manifest["files"] = [
        {**file, "path": file["path"].removeprefix(f"{below}/")} for file in manifest["files"]
    ]
    _publish(folder / below, inside, manifest)


def _paths(manifest: dict[str, Any] | None) -> set[str]:
    """Return the files that a manifest lists; a damaged one lists none, and none leads out of the folder."""
    files = (manifest or {}).get("files")
    entries = (
        [file.get("path") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    )
    return {path for path in entries if isinstance(path, str) and _ours(path)}


def _ours(path: str) -> bool:
    *folders, name = path.split("/")
    inside = all(folder.startswith("workspace_id=") for folder in folders) and len(folders) <= 1
    return inside and name.startswith("part-") and "\\" not in path


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
