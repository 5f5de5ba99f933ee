"""Where things go below the destination."""

from __future__ import annotations

import hashlib
import re

MANIFEST = "_manifest.json"
#: The manifest that was there before, kept while files change: it knows what is to be removed.
PREVIOUS = "_previous_manifest.json"
_LONGEST = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def segment(value: str) -> str:
    """Return a name for a folder or file made from an id, whatever the id is.

    An id of letters, digits, ``-`` and ``_`` stays as it is. Any other becomes a name that says as much of it as can
    be, with a digest of the whole, so that two ids never share one.
    """
    if value and len(value) <= _LONGEST and not _UNSAFE.search(value):
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{_UNSAFE.sub('_', value)[:_LONGEST]}.{digest}"


def resource_folder(resource: str) -> str:
    """Return the folder of a resource, below the destination."""
    return f"resource={resource}"


def workspace_folder(workspace_id: str) -> str:
    """Return the folder of a workspace, below the resource's."""
    return f"workspace_id={segment(workspace_id)}"


def part(workspace_id: str, number: int, extension: str) -> str:
    """Return the path of one file, below the resource's folder."""
    return f"{workspace_folder(workspace_id)}/part-{number:05d}.{extension}"
