"""Where an export writes its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.export.checkpoints import checkpoint_name
from airflow_provider_banksync.export.storage import layout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_banksync.export.settings import ExportSettings
    from airflow_provider_banksync.export.storage.folder import Folder
    from airflow_provider_banksync.extract.partition import Partition


class ExportPaths:
    """The paths of the parts of one try, relative to the folder of the export.

    :param base: the folder of the export.
    :param control: the path of the folder of the manifest; empty if it is `base`.
    :param token: of the try.
    """

    def __init__(self, base: Folder, settings: ExportSettings, control: str, token: str) -> None:
        self._base = base
        self._settings = settings
        self._progress = f"{control}/{layout.PROGRESS}/{token}".lstrip("/")
        self._token = token
        self._workspace_segments = self._id_segments = layout.PathSegments(())
        #: The parts whose paths were asked for.
        self.written: set[str] = set()

    def distinguish(self, partitions: Iterable[Partition]) -> None:
        """Set the partitions of the export, so that no two of them share a name."""
        known = list(partitions)
        self._workspace_segments = layout.PathSegments(each.workspace_id for each in known)
        self._id_segments = layout.PathSegments(
            one for each in known for one in (each.bank_id, each.account_id) if one is not None
        )

    def account_part(self, partition: Partition, number: int, extension: str) -> str:
        """Return the path of a part with the rows of one partition."""
        ids = (partition.bank_id, partition.account_id)
        return self._part(
            partition, ".".join(self._id_segments(one) for one in ids if one is not None), number, extension
        )

    def workspace_part(self, partition: Partition, number: int, extension: str) -> str:
        """Return the path of a part with the rows of several accounts of a workspace."""
        return self._part(partition, "", number, extension)

    def _part(self, partition: Partition, prefix: str, number: int, extension: str) -> str:
        path = f"{self.folder_of(partition)}{layout.part_name(prefix, number, self._token, extension)}"
        self.written.add(path)
        return path

    def account_rows(self, partition: Partition, extension: str) -> str:
        """Return the path of the rows of an account that become a part of its workspace's file."""
        return f"{self._progress}/{checkpoint_name(partition)}.{extension}"

    def folder_of(self, partition: Partition) -> str:
        """Return the folder of the parts of a partition, with a ``/`` at its end, or an empty text."""
        folder = (
            "" if self._settings.single_workspace else f"{self.workspace_folder(partition.workspace_id)}/"
        )
        return folder if self._settings.label is None else f"{folder}{self._settings.label}/"

    def workspace_folder(self, workspace_id: str) -> str:
        """Return the folder of a workspace in the export of its family."""
        return layout.workspace_folder(self._workspace_segments(workspace_id))

    def folders(self, label: str | None) -> list[str]:
        """Return the folders in which a window or batch may have parts."""
        if self._settings.single_workspace:
            return [label or ""]
        return [folder if label is None else f"{folder}/{label}" for folder in self.workspace_folders()]

    def workspace_folders(self) -> list[str]:
        """Return the folders of all workspaces that have one."""
        return [name for name in self._base.names("") if name.startswith(layout.workspace_folder(""))]
