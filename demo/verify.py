"""Compares the exported files with the sandbox's rows, client by client and field by field."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.family import RESOURCES, decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from demo.family import Family, Row

MANIFEST = "_manifest.json"


@dataclass(frozen=True)
class ExportedFile:
    """A file with rows of one client."""

    resource: str
    workspace_id: str
    path: Path
    rows: int
    bytes: int


@dataclass(frozen=True)
class Export:
    """The exported files, and a sentence for each problem."""

    files: list[ExportedFile]
    problems: list[str]

    def rows(self, resource: str, workspace_id: str | None = None) -> int:
        """Return the number of rows of a resource, in total or of one client."""
        chosen = (file for file in self.files if file.resource == resource)
        return sum(file.rows for file in chosen if workspace_id in {None, file.workspace_id})

    def bytes(self, workspace_id: str | None = None) -> int:
        """Return the size of all files, or of one client's files."""
        return sum(file.bytes for file in self.files if workspace_id in {None, file.workspace_id})


def verify(folder: Path, family: Family) -> Export:
    """Read every file and compare its rows with the family's."""
    export = Export([], [])
    for resource in RESOURCES:
        base = folder / f"resource={resource}"
        if not (base / MANIFEST).is_file():
            export.problems.append(f"{resource}: {MANIFEST} is missing, so the export is not complete.")
            continue
        found = sorted(base.glob("workspace_id=*/**/part-*"))
        export.problems.extend(f"{resource}: {each}" for each in _check_manifest(base, found))
        rows = _load(export, resource, base, found)
        for workspace_id in [*family.names, *sorted(rows.keys() - family.names.keys())]:
            name = family.names.get(workspace_id, f"the unknown workspace {workspace_id}")
            served = family.rows[resource].get(workspace_id, [])
            problems = _compare(rows.get(workspace_id, []), served)
            export.problems.extend(f"{resource} of {name}: {each}" for each in problems)
    return export


def _load(export: Export, resource: str, base: Path, found: Sequence[Path]) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {}
    for path in found:
        workspace_id = path.relative_to(base).parts[0].removeprefix("workspace_id=")
        try:
            content = _read(path)
        except ValueError as error:
            export.problems.append(f"{resource}: {path} has a line that is not JSON: {error}")
            continue
        rows.setdefault(workspace_id, []).extend(content)
        export.files.append(ExportedFile(resource, workspace_id, path, len(content), path.stat().st_size))
    return rows


def _read(path: Path) -> list[Row]:
    # not splitlines(): a name can contain other characters that end a line in Unicode
    text = path.read_text("utf-8")
    return [decode(line) for line in text.removesuffix("\n").split("\n")] if text else []


_READ_TIMES = frozenset({"balanceAsOf"})
"""Fields with the time of the read, which is later in this check than in the export."""


def _compare(exported: Sequence[Row], served: Sequence[Row]) -> Iterator[str]:
    by_id = {row["id"]: row for row in exported}
    expected = {row["id"]: row for row in served}
    if len(by_id) != len(exported):
        yield f"{len(exported) - len(by_id)} rows are duplicates."
    if missing := expected.keys() - by_id.keys():
        yield f"{len(missing)} rows are missing: {_some(missing)}"
    if foreign := by_id.keys() - expected.keys():
        yield f"{len(foreign)} rows belong elsewhere: {_some(foreign)}"
    for key in expected.keys() & by_id.keys():
        differing = [
            name
            for name, value in expected[key].items()
            if name not in by_id[key] or (by_id[key][name] != value and name not in _READ_TIMES)
        ]
        if differing:
            yield f"row {key} differs from the sandbox's row in {', '.join(differing)}."


def _some(ids: set[str]) -> str:
    return ", ".join(sorted(ids)[:3]) + (" ..." if len(ids) > 3 else "")


def _check_manifest(base: Path, found: Sequence[Path]) -> Iterator[str]:
    try:
        manifest: dict[str, Any] = json.loads((base / MANIFEST).read_text("utf-8"))
    except ValueError as error:
        yield f"{MANIFEST} is not valid JSON, so the export is not complete: {error}"
        return
    listed = {entry["path"]: entry for entry in manifest["files"]}
    names = {path.relative_to(base).as_posix(): path for path in found}
    if differing := listed.keys() ^ names.keys():
        yield f"{MANIFEST} and the folder list different files: {_some(differing)}"
    for name in listed.keys() & names.keys():
        content = names[name].read_bytes()
        facts = {
            "rows": content.count(b"\n"),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for key, value in facts.items():
            if listed[name][key] != value:
                yield f"{MANIFEST} has {key}={listed[name][key]} for {name}, but the file has {value}."
