"""The settings of an export."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ExportSettings:
    """The settings of an export. Two tries with equal settings share their checkpoints.

    :param manifest_header: resource, scope, and window or batch, for the manifest.
    :param writer_id: names the task; the same for every try.
    :param label: name of the folder of the window or batch; None if there is neither.
    :param single_workspace: all rows are of one workspace, and the folder of the export is the workspace's.
    :param workspace_files: one file for each workspace, instead of one for each account.
    :param max_rows: maximum rows of a file; None: no limit.
    :param portal_name: write the client's name into each row of CSV and Parquet.
    :param selection: the fingerprint of the account selection.
    :param fingerprint: everything else that changes which rows are read.
    :param resumable: a retry continues from the checkpoints of this try.
    :param allow_shrink: accept a listing that is much shorter than the one of the last export.
    :param resets_cursors: of a batch: read each selected account from its beginning. Unavailable accounts are read
        from the beginning in a later batch.
    """

    manifest_header: dict[str, Any]
    writer_id: str
    label: str | None = None
    single_workspace: bool = False
    workspace_files: bool = False
    max_rows: int | None = None
    portal_name: bool = True
    selection: str = ""
    fingerprint: str = ""
    resumable: bool = True
    allow_shrink: bool = False
    resets_cursors: bool = False

    @property
    def asked(self) -> str:
        """What was asked for, as the manifest names it."""
        return f"full_refresh {self.selection}" if self.resets_cursors else self.selection

    def digest(self, extension: str) -> str:
        """Return a digest of everything that decides which rows a part has."""
        settings = [
            self.manifest_header,
            self.max_rows,
            extension,
            self.portal_name,
            self.selection,
            self.fingerprint,
            *(["workspace_files"] if self.workspace_files else []),
        ]
        text = json.dumps(settings, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()
