"""An incremental export: one batch after the other, each going on where the one before has ended.

A batch's manifest is its commit: it holds the cursor of each account. So rows and cursors cannot part, whatever dies
when; and without a manifest, what a batch has written does not count and is removed by the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export import layout, manifest
from airflow_provider_banksync.export.run import Run
from airflow_provider_banksync.export.store import TEMPORARY, ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_banksync.export.manifest import Manifest, Owner, Receipt, Unavailable
    from airflow_provider_banksync.export.store import Folder


def label_of(moment: str) -> str:
    """Return the name of the folder of the batch of a moment; names sort as their moments do.

    :param moment: UTC, as ``20261121T060000Z``.
    """
    return f"{layout.BATCH}{moment}"


class BatchRun(Run):
    """One batch. What is committed never changes; a further try adds those accounts that were unavailable.

    Another task of the same DAG run, with another choice, adds the accounts of its own.

    ``settings.label`` must be one of `label_of`.
    """

    #: A later batch is committed already, which has the rows of this one; None where there is none.
    superseded_by: dict[str, Any] | None = None
    superseded_folder: Folder

    def _locked_folder(self) -> Folder:
        return self.base / layout.MANIFESTS

    def _take_up(self) -> None:
        self._cursors: dict[tuple[str, str, str], Receipt] = {}
        self._forgetful = False
        before = self._manifest(str(self.settings.label))
        self._choices: list[str] = [] if before is None else before["choices"]
        left = layout.PREVIOUS in self.control.names("") if before else bool(self.control.names(""))
        self._interrupted = self._lock.taken_over or left
        if before is not None and not before["unavailable"] and self.settings.choice in self._choices:
            self.committed = before
            self._tidy()
            return
        self._read_receipts()
        self._previous = manifest.receipts_of(before)
        self._unavailable = manifest.unavailable_of(before)
        self._look_around()
        if self.superseded_by is not None and before is not None:
            # What was unavailable then has come with a later batch.
            self.committed = before

    def _manifest(self, label: str) -> dict[str, Any] | None:
        """Return the manifest of a batch; None where there is none, or none to go on from."""
        found = self.base.read_json(f"{layout.MANIFESTS}/{label}/{layout.MANIFEST}")
        if found is None or not manifest.is_whole(found) or not isinstance(found.get("choices"), list):
            return None
        self._refuse_strangers(found)
        return found

    def _look_around(self) -> None:
        """Find the batch to go on from, or one that has overtaken this one; remove what others left half done."""
        ours = str(self.settings.label)
        for label in reversed([label for label in layout.batches(self.base) if label != ours]):
            found = self._manifest(label)
            if found is None:
                self._drop(label)
            elif label > ours:
                self.superseded_by, self.superseded_folder = found, self.base / f"{layout.MANIFESTS}/{label}"
            else:
                self._restore(label, found)
                self._cursors = _cursors_of(found)
                return
        if self.superseded_by is None and not self.settings.alone:
            self._refuse_single()

    def _folders(self, label: str) -> list[str]:
        """Return the folders in which a batch may have files."""
        if self.settings.alone:
            return [label]
        return [f"{folder}/{label}" for folder in self._workspace_folders()]

    def _workspace_folders(self) -> list[str]:
        return [name for name in self.base.names("") if name.startswith(layout.workspace_folder(""))]

    def _drop(self, label: str) -> None:
        """Remove what a batch has written that was never committed: this one reads it again."""
        for folder in self._folders(label):
            self.base.remove_all(folder)
        self.base.remove_all(f"{layout.MANIFESTS}/{label}")

    def _restore(self, label: str, found: dict[str, Any]) -> None:
        """Remove what a further try has added to a committed batch before it was killed: this one reads it again."""
        control = self.base / f"{layout.MANIFESTS}/{label}"
        if control.read(layout.PREVIOUS) is None:
            return
        self._keep_only(label, manifest.paths_of(found))
        control.remove_all(layout.PROGRESS)
        control.remove(layout.PREVIOUS)

    def _keep_only(self, label: str, paths: set[str]) -> None:
        """Remove those files of a batch that are not listed."""
        for folder in self._folders(label):
            for name in self.base.names(folder):
                if name.startswith(("part-", TEMPORARY)) and f"{folder}/{name}" not in paths:
                    self.base.remove(f"{folder}/{name}")

    def _sweep_parts(self, paths: set[str]) -> None:
        # Also what another task has left, whose accounts are not chosen here.
        self._keep_only(str(self.settings.label), paths)

    def _refuse_single(self) -> None:
        """See that the family's first batch does not bring again what batches of single workspaces have."""
        for folder in self._workspace_folders():
            if layout.batches(self.base / folder):
                raise ExportError(
                    f"destination {self.base / folder} holds batches of this workspace alone, whose rows would come "
                    "again: give another destination, or scope='self'.",
                    permanent=True,
                )

    def plan(
        self,
        owners: Iterable[Owner],
        covers: Callable[[Owner], bool] = lambda _: True,
        unlisted: Iterable[Unavailable] = (),
    ) -> None:
        """See `Run.plan`; what is committed of this batch stays, whoever is chosen."""
        super().plan(owners, covers, unlisted)
        self.receipts.update({receipt.owner.key: receipt for receipt in self._previous})
        if self._forgetful:
            wanted = {owner.key for owner in self._owners}
            self._cursors = {
                key: receipt
                for key, receipt in self._cursors.items()
                if key not in wanted and not covers(receipt.owner)
            }

    def _take_over(self) -> None:
        """A family's batches do not go on from those of single workspaces: `_refuse_single` sees to that."""

    def _open_up(self) -> None:
        """Nothing that a manifest lists changes, so it stays; but from now on there is something to drop."""
        self.control.write_json(layout.PREVIOUS, {"by": self._stamp}, self.check)

    def forget(self) -> None:
        """Have each chosen account read from its beginning; one that is unavailable now, when it is there again."""
        self._forgetful = True

    def cursor(self, owner: Owner) -> str | None:
        """Return where to go on; None where the account was never read."""
        receipt = self._cursors.get(owner.key)
        return None if receipt is None else receipt.cursor

    def _extend(self, made: Manifest) -> None:
        made.choices = sorted({*self._choices, self.settings.choice})
        read = {receipt.owner.key for receipt in made.receipts}
        made.carried = [receipt for key, receipt in self._cursors.items() if key not in read]


def _cursors_of(dumped: dict[str, Any]) -> dict[tuple[str, str, str], Receipt]:
    carried: Iterable[Receipt] = manifest.receipts_of({"accounts": dumped.get("carried", [])})
    return {
        receipt.owner.key: receipt
        for receipt in (*carried, *manifest.receipts_of(dumped))
        if receipt.cursor is not None
    }
