"""Which files an export may remove: only those that it knows to be its own, and that no manifest lists."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_banksync.export.checkpoints import MAX_THREADS
from airflow_provider_banksync.export.storage import layout
from airflow_provider_banksync.export.storage.folder import TEMPORARY_PREFIX, ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from airflow_provider_banksync.export.storage.folder import Folder

_Result = TypeVar("_Result")


def concurrently(function: Callable[[str], _Result], values: Iterable[str]) -> list[_Result]:
    """Call a function for each value, in several threads."""
    with ThreadPoolExecutor(MAX_THREADS) as pool:
        return list(pool.map(function, sorted(values)))


def remove_files(folder: Folder, paths: Iterable[str]) -> None:
    """Remove files, in several threads."""
    concurrently(folder.remove, paths)


def uncommitted_parts(
    base: Folder, folders: Iterable[str], tokens: Collection[str], listed: Iterable[str] = ()
) -> set[str]:
    """Return the parts in some folders, complete or not, that certain tries have written and no manifest lists.

    :param tokens: of the tries.
    :param listed: the parts that a manifest lists.
    """
    committed = {path.lower() for path in listed}  # some file systems change the case

    def find(folder: str) -> set[str]:
        names = [name for name in base.names(folder) if layout.token_of(name) in tokens]
        paths = {f"{folder}/{name}" if folder else name for name in names}
        return {path for path in paths if path.lower() not in committed}

    return set().union(*concurrently(find, folders))


def refuse_lost_manifest(
    base: Folder,
    control: Folder,
    folders: Iterable[str],
    tokens: Collection[str],
    is_listed: Callable[[str], bool] = lambda _: False,
) -> None:
    """Refuse to take a folder without a manifest for a new one, if a manifest has listed parts in it.

    :param control: the folder of the manifest.
    :param folders: where parts may be.
    :param tokens: of recorded tries. The parts that these have written were never committed.
    :param is_listed: returns whether another manifest lists the parts of a folder.
    :raises ExportError: if a part is there that no recorded try has written.
    """

    def has_committed_parts(folder: str) -> bool:
        parts = [name for name in base.names(folder) if name.startswith("part-")]
        return any(layout.token_of(name) not in tokens for name in parts) and not is_listed(folder)

    if any(concurrently(has_committed_parts, folders)):
        raise ExportError(
            f"destination {control}/{layout.MANIFEST} is gone, although the export was complete. Nothing was changed. "
            "Restore the file, for example from a backup. To export everything again, use another destination.",
            permanent=True,
        )


def remove_incomplete_manifests(control: Folder) -> None:
    """Remove a manifest that an earlier try was writing to a disk, so that the try cannot complete it any more."""
    if control.is_local:
        for name in control.names(""):
            if name.startswith(f"{TEMPORARY_PREFIX}{layout.MANIFEST}"):
                control.remove(name)
