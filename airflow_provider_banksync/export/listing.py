"""Write a listing: one folder per workspace, and a manifest that is there only when everything else is."""

from __future__ import annotations

import hashlib
import json
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


def prepare(folder: ObjectStoragePath) -> None:
    """See that files can be written below the folder, before anything is fetched.

    :raises ExportError: naming the folder, and why.
    """
    probe = folder / "_writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExportError(f"destination {folder} cannot be written: {reason}.") from error


def write(
    folder: ObjectStoragePath,
    rows: Iterable[tuple[Owner, dict[str, Any]]],
    *,
    description: dict[str, Any],
    generated_at: str,
) -> dict[str, Any]:
    """Write a resource's rows below its folder, in the place of what an earlier run has left there.

    While files change there is no manifest: a reader who waits for one never sees half of an export. A run that finds
    the same rows leaves every file as it is.

    :param rows: each with its owner; the order is kept.
    :param description: goes to the manifest's head (resource, scope, ...).
    :return: the manifest.
    :raises ExportError: a file could not be written; the manifest is then missing, or still the earlier one.
    """
    grouped: dict[Owner, list[dict[str, Any]]] = {}
    for owner, row in rows:
        grouped.setdefault(owner, []).append(row)
    contents = {
        layout.part(owner.workspace_id, 0, jsonl.EXTENSION): (owner, jsonl.encode(owned), len(owned))
        for owner, owned in sorted(grouped.items(), key=lambda item: item[0].workspace_id)
    }
    files = [
        File(path, count, len(body), hashlib.sha256(body).hexdigest(), owner.workspace_id, owner.portal)
        for path, (owner, body, count) in contents.items()
    ]
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
        _publish(folder, {path: body for path, (_, body, _) in contents.items()}, files, manifest)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExportError(f"destination {folder} could not be written: {reason}.") from error
    return manifest


def read_manifest(folder: ObjectStoragePath) -> dict[str, Any] | None:
    """Return the manifest of a resource's folder; None when there is none that can be read."""
    try:
        manifest = json.loads((folder / layout.MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def _publish(
    folder: ObjectStoragePath, contents: dict[str, bytes], files: list[File], manifest: dict[str, Any]
) -> None:
    present = _files_below(folder)
    digests = _digests(read_manifest(folder))
    changed = [
        file
        for file in files
        if file.path not in present
        or digests.get(file.path) != file.sha256
        or (folder / file.path).stat().st_size != file.bytes
    ]
    stale = present - set(contents)
    if changed or stale:
        (folder / layout.MANIFEST).unlink(missing_ok=True)
    for file in changed:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(contents[file.path])
    for path in sorted(stale):
        (folder / path).unlink(missing_ok=True)
    (folder / layout.MANIFEST).write_bytes(json.dumps(manifest, ensure_ascii=False, indent=2).encode())


def _digests(manifest: dict[str, Any] | None) -> dict[str, str]:
    """Return the SHA-256 of each file that an earlier manifest lists; a damaged manifest lists none."""
    files = (manifest or {}).get("files")
    entries = [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    return {str(file.get("path")): str(file.get("sha256")) for file in entries}


def _files_below(folder: ObjectStoragePath) -> set[str]:
    """Return the files that an export has left below the folder, relative to it; others are none of our business."""
    found = folder.glob("workspace_id=*/part-*")
    return {"/".join(path.parts[-2:]) for path in found}
