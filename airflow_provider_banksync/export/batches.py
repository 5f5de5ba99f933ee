"""An incremental export: one batch after the other, each going on where the one before has ended.

A batch's manifest is its commit: it holds the cursor of each account. So rows and cursors cannot part, whatever dies
when; and without a manifest, what a batch has written does not count and is removed by the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export import layout, manifest
from airflow_provider_banksync.export.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_banksync.export.manifest import Manifest, Owner, Receipt
    from airflow_provider_banksync.export.store import Folder

_BATCH = "batch="


def label_of(moment: str) -> str:
    """Return the name of the folder of the batch of a moment; names sort as their moments do.

    :param moment: UTC, as ``20261121T060000Z``.
    """
    return f"{_BATCH}{moment}"


class BatchRun(Run):
    """One batch. What is committed never changes; a further try adds those accounts that were unavailable.

    ``settings.label`` must be one of `label_of`.
    """

    #: A later batch is committed already, which has the rows of this one; None where there is none.
    superseded_by: dict[str, Any] | None = None
    superseded_folder: Folder

    def _locked_folder(self) -> Folder:
        return self.base / layout.MANIFESTS

    def _take_up(self) -> None:
        self._cursors: dict[tuple[str, str, str], Receipt] = {}
        before = self.control.read_json(layout.MANIFEST)
        self._interrupted = self._lock.taken_over or bool(self.control.names(""))
        if before is not None and not before.get("unavailable"):
            self.committed = before
            self._tidy()
            return
        self._read_receipts()
        self.receipts.update({receipt.owner.key: receipt for receipt in manifest.receipts_of(before)})
        ours = str(self.settings.label)
        for label in reversed(self.base.names(layout.MANIFESTS)):
            if not label.startswith(_BATCH) or label == ours:
                continue
            found = self.base.read_json(f"{layout.MANIFESTS}/{label}/{layout.MANIFEST}")
            if found is None:
                self._drop(label)
            elif label > ours:
                self.superseded_by, self.superseded_folder = found, self.base / f"{layout.MANIFESTS}/{label}"
            else:
                self._cursors = _cursors_of(found)
                break
        if self.superseded_by is not None and before is not None:
            # What was unavailable then has come with a later batch.
            self.committed = before

    def _drop(self, label: str) -> None:
        """Remove what a batch has written that was never committed: this one reads it again."""
        if self.settings.alone:
            self.base.remove_all(label)
        else:
            for folder in self.base.names(""):
                if folder.startswith(layout.workspace_folder("")):
                    self.base.remove_all(f"{folder}/{label}")
        self.base.remove_all(f"{layout.MANIFESTS}/{label}")

    def _take_over(self) -> None:
        """A family's batches do not go on from those of single workspaces: `refuse_single` sees to that."""

    def _open_up(self) -> None:
        """Nothing that a manifest lists changes, so it stays; but from now on there is something to drop."""
        self.control.write_json(layout.PREVIOUS, {"by": self._stamp}, self.check)

    def forget(self) -> None:
        """Have every account read from its beginning; one that is unavailable now, too, when it is there again."""
        self._cursors = {}

    def cursor(self, owner: Owner) -> str | None:
        """Return where to go on; None where the account was never read."""
        receipt = self._cursors.get(owner.key)
        return None if receipt is None else receipt.cursor

    def _extend(self, made: Manifest) -> None:
        read = {receipt.owner.key for receipt in made.receipts}
        made.carried = [receipt for key, receipt in self._cursors.items() if key not in read]


def _cursors_of(dumped: dict[str, Any]) -> dict[tuple[str, str, str], Receipt]:
    carried: Iterable[Receipt] = manifest.receipts_of({"accounts": dumped.get("carried", [])})
    return {
        receipt.owner.key: receipt
        for receipt in (*carried, *manifest.receipts_of(dumped))
        if receipt.cursor is not None
    }
