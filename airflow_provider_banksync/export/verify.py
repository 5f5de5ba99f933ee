"""Compares the files at a destination with what their manifests list."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.redaction import counted
from airflow_provider_banksync.export.clean_up import concurrently
from airflow_provider_banksync.export.manifest import parse_manifest, read_checkpoints
from airflow_provider_banksync.export.storage import layout
from airflow_provider_banksync.export.storage.folder import TEMPORARY_PREFIX, ExportError

if TYPE_CHECKING:
    from airflow_provider_banksync.export.checkpoints import DataFile
    from airflow_provider_banksync.export.storage.folder import Folder


@dataclass
class Verification:
    """What a check has found.

    :param problems: one line for each.
    """

    manifests: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{counted(self.manifests, 'manifest')}, {counted(self.files, 'file')}, {counted(self.rows, 'row')}, "
            f"{counted(self.bytes, 'byte')}. "
            f"{counted(len(self.problems), 'problem')}."
        )


def verify(destination: Folder, *, digests: bool = True) -> Verification:
    """Check every manifest below a folder, every file that it lists, and that there is no other part.

    :param digests: read every file, and compare its SHA-256. Otherwise compare sizes, and ETags if the store has them.
    """
    found = destination.stat_all()
    result = Verification()
    listed: dict[str, DataFile] = {}
    for path in sorted(found):
        if posixpath.basename(path) == layout.MANIFEST:
            _check_manifest(destination, path, listed, result)
    if not result.manifests and not result.problems:
        result.problems.append(f"no manifest: {destination}")
    result.files, result.bytes = len(listed), sum(file.bytes for file in listed.values())

    def check(path: str) -> str | None:
        file, stat = listed[path], found.get(path)
        if stat is None:
            return f"missing: {path}"
        if stat.size != file.bytes:
            return f"other size: {path} has {stat.size} bytes, and the manifest says {file.bytes}"
        if (digests or not file.has_same_etag(stat)) and destination.digest(path) != file.sha256:
            return f"other content: {path} differs from the SHA-256 in the manifest"
        return None

    result.problems += [problem for problem in concurrently(check, listed) if problem]
    tokens = {
        posixpath.basename(path).removesuffix(".json")
        for path in found
        if posixpath.basename(posixpath.dirname(path)) == layout.PROGRESS
    }
    for path in sorted(found.keys() - listed.keys()):
        name = posixpath.basename(path)
        if name.startswith(("part-", TEMPORARY_PREFIX)):
            uncommitted = layout.token_of(name) in tokens
            why = (
                "a try that is running or was killed has written it"
                if uncommitted
                else "no manifest lists it"
            )
            result.problems.append(f"{'uncommitted' if uncommitted else 'unknown'}: {path}: {why}")
    return result


def _check_manifest(
    destination: Folder, path: str, listed: dict[str, DataFile], result: Verification
) -> None:
    try:
        manifest: dict[str, Any] = parse_manifest(destination.read(path) or b"", f"{destination}/{path}")
    except ExportError as error:
        result.problems.append(f"manifest: {error}")
        return
    result.manifests += 1
    base = posixpath.normpath(posixpath.join(posixpath.dirname(path), str(manifest.get("base", "."))))
    files = [file for checkpoint in read_checkpoints(manifest) for file in checkpoint.files]
    result.rows += sum(file.rows for file in files)
    if sum(file.rows for file in files) != manifest["rows"]:
        result.problems.append(
            f"rows: {path} says {manifest['rows']}, and its files have other rows in total"
        )
    for file in {each.path: each for each in files}.values():  # the accounts of a workspace can share a file
        full_path = posixpath.normpath(posixpath.join(base, file.path))
        if full_path in listed:
            result.problems.append(f"twice: {full_path} is listed by two manifests, or twice by {path}")
        listed[full_path] = file
