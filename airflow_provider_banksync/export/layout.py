"""Where things go below the destination, and that nothing gets elsewhere.

``resource=<r>/workspace_id=<id>/part-00000.jsonl`` for a listing; account data has files for each account, and what is
read for a window or in batches has a folder for each. What the export keeps for itself begins with ``_``, which pyarrow
and Spark pass over.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_banksync.export.store import Folder

MANIFEST = "_manifest.json"
#: The manifest that was there before, kept while files change: it knows what is to be removed.
PREVIOUS = "_previous_manifest.json"
MANIFESTS = "_manifests"
PROGRESS = "_progress"
LOCK = "_lock.json"
BATCH = "batch="
_LONGEST = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
#: What a path of a part may look like, in a manifest that may have been changed by others.
_PART = re.compile(r"(workspace_id=[\w.-]+/)?((window|batch)=[\w.-]+/)?part-[\w.-]+", re.ASCII)


def segment(value: str, *, distinct: bool = False) -> str:
    """Return a name for a folder or file made from an id, whatever the id is.

    An id of letters, digits, ``-`` and ``_`` stays as it is. Any other becomes a name that says as much of it as can
    be, with a digest of the whole, so that two ids never share one.

    :param distinct: give it a digest in any case.
    """
    if value and len(value) <= _LONGEST and not _UNSAFE.search(value) and not distinct:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{_UNSAFE.sub('_', value)[:_LONGEST] or '_'}.{digest}"


class Names:
    """Names for the ids of one export: two that differ in case alone get names that differ otherwise, too.

    :param ids: all of them.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        folded = Counter(segment(value).lower() for value in set(ids))
        self._clashing = {name for name, count in folded.items() if count > 1}

    def __call__(self, value: str) -> str:
        """Return the name of an id."""
        return segment(value, distinct=segment(value).lower() in self._clashing)


def resource_folder(resource: str) -> str:
    """Return the folder of a resource, below the destination."""
    return f"resource={resource}"


def workspace_folder(name: str) -> str:
    """Return the folder of a workspace, below the resource's.

    :param name: as `Names` or `segment` made it.
    """
    return f"workspace_id={name}"


def part(stem: str, number: int, extension: str) -> str:
    """Return the name of one file.

    :param stem: tells the files of several accounts in one folder apart; empty where there is one owner only.
    """
    return f"part-{stem}{'-' if stem else ''}{number:05d}.{extension}"


def is_part(path: str) -> bool:
    """Tell whether a path, relative to the resource's or the workspace's folder, can be one of our files."""
    return _PART.fullmatch(path) is not None and ".." not in path


def is_batch(label: str | None) -> bool:
    """Tell whether a label is that of a batch, and not of a window."""
    return label is not None and label.startswith(BATCH)


def batches(folder: Folder) -> list[str]:
    """Return the labels of the batches that there are in the folder of an export, the oldest first."""
    return [label for label in folder.names(MANIFESTS) if is_batch(label)]
