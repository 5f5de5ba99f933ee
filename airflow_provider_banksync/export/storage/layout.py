"""Names of folders and files below the destination.

``resource=<r>/workspace_id=<id>/part-00000-<token>.jsonl`` for a listing. The data of accounts has files for each
account, and a folder for each window or batch. Files of the export itself begin with ``_``, which pyarrow and Spark
ignore. The token names a try of a task, so no two tries write one name.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_banksync.export.storage.folder import Folder

MANIFEST = "_manifest.json"
MANIFESTS = "_manifests"
#: A record of each try, ``<token>.json``, and a folder with its checkpoints, ``<token>``.
PROGRESS = "_progress"
LOCK = "_lock.json"
BATCH = "batch="
_MAX_LENGTH = 80
#: Readers of Hive partitions take a folder of this name for null.
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
#: Paths of parts that are safe to open or to remove. Somebody may have changed the manifest that names them.
_WINDOW = re.compile(r"window=\d{4}-\d{2}-\d{2}_\d{4}-\d{2}-\d{2}", re.ASCII)
_TOKEN = re.compile(r"[0-9a-f]{12}")
_PART_OF_TRY = re.compile(rf"(?:_tmp-)?part-.*-?\d{{5,}}-({_TOKEN.pattern})\.[\w.]+", re.ASCII)
_WORKSPACE_MANIFEST = re.compile(
    rf"workspace_id=[\w.-]+/({MANIFESTS}/(window|batch)=[\w.-]+/)?{re.escape(MANIFEST)}", re.ASCII
)
_PART = re.compile(r"(workspace_id=[\w.-]+/)?((window|batch)=[\w.-]+/)?part-[\w.-]+", re.ASCII)
#: The rows of an account, until they become a part of the file of their workspace.
_ACCOUNT_ROWS = re.compile(
    rf"({MANIFESTS}/(window|batch)=[\w.-]+/)?{PROGRESS}/{_TOKEN.pattern}/[0-9a-f]{{32}}\.[a-z]+", re.ASCII
)


def window_label(first_day: str, last_day: str) -> str:
    """Return the name of the folder of a window."""
    return f"window={first_day}_{last_day}"


def is_window(label: str) -> bool:
    """Return whether a label is one of a window."""
    return _WINDOW.fullmatch(label) is not None


def window_days(label: str) -> tuple[str, str]:
    """Return the first and the last day of a window.

    :param label: from `window_label`.
    """
    first_day, _, last_day = label.partition("=")[2].partition("_")
    return first_day, last_day


def batch_timestamp(moment: datetime) -> str:
    """Return a moment as ``20261121T060000000000Z``. These texts sort by time."""
    return moment.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%S%fZ")


def batch_label(timestamp: str) -> str:
    """Return the name of the folder of a batch. These names sort by time.

    :param timestamp: from `batch_timestamp`.
    """
    return f"{BATCH}{timestamp}"


def batch_of(label: str) -> str:
    """Return the timestamp in the label of a batch."""
    return label.removeprefix(BATCH)


def is_batch(label: str | None) -> bool:
    """Return whether a label is one of a batch, not of a window."""
    return label is not None and label.startswith(BATCH)


def batches(folder: Folder) -> list[str]:
    """Return the labels of all batches in the folder of an export, the oldest first."""
    return [label for label in folder.names(MANIFESTS) if is_batch(label)]


def path_segment(value: str, *, distinct: bool = False) -> str:
    """Return a safe name for a folder or file, made from an id.

    An id of letters, digits, ``-`` and ``_`` is used unchanged. In any other id, other characters become ``_``, and a
    digest of the whole id is added, so that two ids never share a name.

    :param distinct: add the digest in any case.
    """
    is_safe = len(value) <= _MAX_LENGTH and not _UNSAFE.search(value)
    if is_safe and value not in ("", _NULL_PARTITION) and not distinct:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{_UNSAFE.sub('_', value)[:_MAX_LENGTH] or '_'}.{digest}"


class PathSegments:
    """Path segments for the ids of one export. They differ even if the file system ignores case.

    :param ids: all ids of the export.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        folded = Counter(path_segment(value).lower() for value in set(ids))
        self._clashing = {name for name, count in folded.items() if count > 1}

    def __call__(self, value: str) -> str:
        """Return the segment for an id."""
        return path_segment(value, distinct=path_segment(value).lower() in self._clashing)


def resource_folder(resource: str) -> str:
    """Return the folder of a resource, below the destination."""
    return f"resource={resource}"


def workspace_folder(segment: str) -> str:
    """Return the folder of a workspace, below the folder of the resource.

    :param segment: from `PathSegments` or `path_segment`.
    """
    return f"workspace_id={segment}"


def new_token() -> str:
    """Return a token for the names of a try's parts."""
    return uuid.uuid4().hex[:12]


def is_token(text: str) -> bool:
    """Return whether a text can be a token of a try."""
    return _TOKEN.fullmatch(text) is not None


def part_name(prefix: str, number: int, token: str, extension: str) -> str:
    """Return the name of a part.

    :param prefix: distinguishes the accounts of one folder; empty if the folder has one partition.
    :param token: from `new_token`.
    """
    return f"part-{prefix}{'-' if prefix else ''}{number:05d}-{token}.{extension}"


def token_of(name: str) -> str | None:
    """Return the token in the name of a part, or of one that is not complete yet. None for any other name."""
    match = _PART_OF_TRY.fullmatch(name)
    return None if match is None else match[1]


def is_manifest_path(path: str) -> bool:
    """Return whether a path, relative to the folder of a family, can be the manifest of one of its workspaces."""
    return _WORKSPACE_MANIFEST.fullmatch(path) is not None and ".." not in path


def is_part_path(path: str) -> bool:
    """Return whether a path, relative to the folder of the export, can be one of its parts."""
    return _PART.fullmatch(path) is not None and ".." not in path


def is_account_rows(path: str) -> bool:
    """Return whether a path, relative to the folder of the export, can be of rows that become a part of a file."""
    return _ACCOUNT_ROWS.fullmatch(path) is not None
