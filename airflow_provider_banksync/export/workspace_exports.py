"""Exports of single workspaces, which become part of the export of their family."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider_banksync.export.clean_up import concurrently
from airflow_provider_banksync.export.manifest import (
    read_checkpoints,
    read_manifest,
    read_paths,
    read_unavailable,
)
from airflow_provider_banksync.export.storage import layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_banksync.export.checkpoints import Checkpoint
    from airflow_provider_banksync.export.storage.folder import Folder
    from airflow_provider_banksync.extract.partition import Unavailable


@dataclass
class WorkspaceExports:
    """What exports of single workspaces have. Paths are relative to the family's folder.

    :param manifests: the paths of their manifests.
    :param parts: the parts that they list.
    """

    manifests: set[str] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    unavailable: list[Unavailable] = field(default_factory=list)


def workspace_manifest(folder: str, label: str | None) -> str:
    """Return the path of the manifest that an export of a single workspace has in its folder."""
    below = "" if label is None else f"{layout.MANIFESTS}/{label}/"
    return f"{folder}/{below}{layout.MANIFEST}"


def read_workspace_exports(
    base: Folder, label: str | None, portals: Mapping[str, str | None]
) -> WorkspaceExports:
    """Read the exports of single workspaces of a window or batch.

    :param portals: the name of the portal, by the folder of the workspace.
    """
    found = WorkspaceExports()

    def read(folder: str) -> None:
        path = workspace_manifest(folder, label)
        manifest = read_manifest(base, path)
        if manifest is None:
            return
        found.manifests.add(path)
        found.parts.update(f"{folder}/{part}" for part in read_paths(manifest))
        found.unavailable.extend(read_unavailable(manifest))
        for checkpoint in read_checkpoints(manifest):
            partition = replace(checkpoint.partition, portal=portals[folder])
            files = tuple(replace(file, path=f"{folder}/{file.path}") for file in checkpoint.files)
            found.checkpoints.append(replace(checkpoint, partition=partition, files=files))

    concurrently(read, portals)
    return found
