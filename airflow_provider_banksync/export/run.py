"""One export under way: what is done is kept, what a killed try left is taken up, and the manifest comes last."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export import layout, manifest
from airflow_provider_banksync.export.lock import Lock
from airflow_provider_banksync.export.manifest import Manifest, Owner, Receipt, Unavailable
from airflow_provider_banksync.export.store import TEMPORARY, ExportError, Folder, told
from airflow_provider_banksync.export.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_banksync.export.formats import Format

#: So many small files are read, or removed, at the same time.
_AT_ONCE = 16


@dataclass(frozen=True)
class Settings:
    """What an export is to be; two tries with the same settings can share what they have done.

    :param head: what the manifest says of it: resource, scope, window or batch.
    :param label: name of the folder for this window or batch; None where there is one export only.
    :param alone: all is of one workspace, whose folder is the export's.
    :param writer: who writes: the same for each try of a task.
    :param max_rows: rows of a file at most; None: no limit.
    :param choice: tells whose data is wanted: the same for the same filters.
    :param fingerprint: whatever else decides which rows come.
    :param resumable: another try takes up what this one has done.
    """

    head: dict[str, Any]
    writer: str
    label: str | None = None
    alone: bool = False
    max_rows: int | None = None
    choice: str = ""
    fingerprint: str = ""
    resumable: bool = True

    def stamp(self, extension: str) -> dict[str, Any]:
        """Return what a receipt must have to be taken up by another try."""
        what = json.dumps(
            [self.head, self.max_rows, extension, self.choice, self.fingerprint], sort_keys=True, default=str
        )
        return {"writer": self.writer, "settings": hashlib.sha256(what.encode()).hexdigest()}


class Run:
    """An export into a folder: of a resource, or of one workspace in it.

    Use it as ``begin``, ``plan``, a ``unit`` for each of ``missing``, ``commit``, and ``end`` in any case.

    :param base: the folder; the paths in the manifest are relative to it.
    :param made: the format of the files.
    """

    #: What an earlier try of the same task has written as the last thing before it was killed: nothing is left to do.
    committed: dict[str, Any] | None = None

    def __init__(self, base: Folder, settings: Settings, made: Format) -> None:
        self.base = base
        self.settings = settings
        self.made = made
        self.control = base if settings.label is None else base / f"{layout.MANIFESTS}/{settings.label}"
        self.receipts: dict[tuple[str, str, str], Receipt] = {}
        self._owners: list[Owner] = []
        self._previous: list[Receipt] = []
        self._unavailable: list[Unavailable] = []
        self._known: set[str] = set()
        self._taken_over: list[str] = []
        self._interrupted = False
        self._covers: Callable[[Owner], bool] = lambda _: True
        self._before: dict[str, Any] = {}
        self._lock = Lock(self._locked_folder(), settings.writer)
        self._checking = threading.Lock()
        self._stamp = settings.stamp(made.extension)
        self._workspaces = self._stems = layout.Names(())

    def _locked_folder(self) -> Folder:
        return self.control

    # --- the begin ---

    def begin(self) -> None:
        """Take the lock, and take up what an earlier try of the same task has done.

        :raises ExportError: the folder cannot be written, or is being written by another.
        """
        with told(self.base):
            self._lock.take()
            self._take_up()

    def _take_up(self) -> None:
        before = self.control.read_json(layout.MANIFEST)
        aside = self.control.read_json(layout.PREVIOUS)
        if before is not None and aside is not None and self._is_ours(before, aside):
            self.committed = before
            self._tidy()
            return
        left = aside is not None or bool(self.control.names(layout.PROGRESS))
        self._interrupted = self._lock.taken_over or left
        self._before = before or aside or {}
        self._refuse_strangers(self._before)
        self._previous = manifest.receipts_of(self._before)
        self._unavailable = manifest.unavailable_of(self._before)
        known = (aside or {}).get("known")
        self._known = manifest.paths_of(before) | manifest.paths_of(aside)
        listed = known if isinstance(known, list) else []
        self._known.update(path for path in listed if isinstance(path, str) and layout.is_part(path))
        self._read_receipts()
        self._known |= {file.path for receipt in self.receipts.values() for file in receipt.files}

    def _refuse_strangers(self, before: dict[str, Any]) -> None:
        """See that what is there is of the same workspace, or family: who is not listed now would be removed."""
        ours, theirs = self.settings.head.get("workspace_id"), before.get("workspace_id")
        if theirs is not None and theirs != ours:
            raise ExportError(
                f"destination {self.base} holds an export of workspace {theirs!r}, and this one is of {ours!r}: give "
                "another destination.",
                permanent=True,
            )

    def _is_ours(self, before: dict[str, Any], aside: dict[str, Any]) -> bool:
        """Say whether an earlier try was killed when it had written its manifest, and not yet tidied up."""
        newer = before.get("generated_at") != aside.get("generated_at")
        return newer and not before.get("unavailable") and aside.get("by") == self._stamp

    def _tidy(self) -> None:
        """Remove what has served when the manifest is there; last what says that it is not."""
        self.control.remove_all(layout.PROGRESS)
        self.control.remove(layout.PREVIOUS)

    def _read_receipts(self) -> None:
        """Read what is done; what another run has left, or one with other settings, counts for nothing."""
        names = [name for name in self.control.names(layout.PROGRESS) if not name.startswith(TEMPORARY)]

        def read(name: str) -> Receipt | None:
            found = self.control.read_json(f"{layout.PROGRESS}/{name}") or {}
            try:
                receipt = Receipt.load(found)
            except (KeyError, TypeError):
                return None
            self._known.update(file.path for file in receipt.files if layout.is_part(file.path))
            ours = {key: found.get(key) for key in self._stamp} == self._stamp
            # Between two tries, which may be days apart, somebody may have cleaned up.
            there = ours and all(self.base.size(file.path) == file.bytes for file in receipt.files)
            return receipt if there else None

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(read, names))
        self.receipts = {receipt.owner.key: receipt for receipt in found if receipt is not None}
        if names and not self.receipts:
            self.control.remove_all(layout.PROGRESS)

    def plan(
        self,
        owners: Iterable[Owner],
        covers: Callable[[Owner], bool] = lambda _: True,
        unlisted: Iterable[Unavailable] = (),
    ) -> None:
        """Say whose data is to be had. From now on files change, and there is no manifest.

        What an earlier try has done of somebody who is not among them does not count.

        :param covers: tells whether the export is about an owner at all; what an earlier one has of others stays.
        :param unlisted: banks whose accounts are not known now; of them, what an earlier try has done does count.
        """
        self._covers = covers
        self._owners = sorted(owners, key=lambda owner: owner.key)
        done = [*self._previous, *self.receipts.values()]
        named = [*self._owners, *(receipt.owner for receipt in done)]
        self._workspaces = layout.Names(owner.workspace_id for owner in named)
        self._stems = layout.Names(
            one for owner in named for one in (owner.bank_id, owner.account_id) if one is not None
        )
        wanted = {owner.key for owner in self._owners} | {each.owner.key for each in unlisted}
        self.receipts = {
            key: receipt
            for key, receipt in self.receipts.items()
            if key in wanted or (*key[:2], "") in wanted
        }
        with told(self.base):
            self._take_over()
            self._open_up()

    def _take_over(self) -> None:
        """Make what was exported of single workspaces part of the family's export."""
        if self.settings.alone:
            return
        below = "" if self.settings.label is None else f"{layout.MANIFESTS}/{self.settings.label}/"
        portals = {owner.workspace_id: owner.portal for owner in self._owners}

        def take(workspace_id: str) -> None:
            folder = layout.workspace_folder(self._workspaces(workspace_id))
            theirs = self.base.read_json(f"{folder}/{below}{layout.MANIFEST}")
            if theirs is None:
                return
            self._known.update(f"{folder}/{path}" for path in manifest.paths_of(theirs))
            self._taken_over.append(f"{folder}/{below}{layout.MANIFEST}")
            self._unavailable.extend(manifest.unavailable_of(theirs))
            for receipt in manifest.receipts_of(theirs):
                owner = replace(receipt.owner, portal=portals[workspace_id])
                files = tuple(replace(file, path=f"{folder}/{file.path}") for file in receipt.files)
                self._previous.append(replace(receipt, owner=owner, files=files))

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(take, sorted(portals)))

    def _open_up(self) -> None:
        # Even where there was nothing before: it says that files here may be of nobody.
        aside = {**self._before, "known": sorted(self._known), "by": self._stamp}
        self.control.write_json(layout.PREVIOUS, aside, self.check)
        self.control.remove(layout.MANIFEST)
        for path in self._taken_over:
            self.base.remove(path)

    def missing(self) -> list[Owner]:
        """Return those whose data is still to be had, in the order of their ids."""
        return [owner for owner in self._owners if owner.key not in self.receipts]

    # --- the work ---

    def unit(self, owner: Owner) -> Unit:
        """Return what writes the files of one owner. Several may be open at once, in several threads."""
        return Unit(self, owner)

    def path(self, owner: Owner, number: int) -> str:
        """Return the path of one file, relative to the folder of the export."""
        name = layout.part(self._stem(owner), number, self.made.extension)
        return f"{self._folder(owner)}{name}"

    def _folder(self, owner: Owner) -> str:
        own = (
            "" if self.settings.alone else f"{layout.workspace_folder(self._workspaces(owner.workspace_id))}/"
        )
        return own if self.settings.label is None else f"{own}{self.settings.label}/"

    def _stem(self, owner: Owner) -> str:
        return ".".join(self._stems(one) for one in (owner.bank_id, owner.account_id) if one is not None)

    def keep(self, receipt: Receipt) -> None:
        """Note that one owner's data is complete; another try will not read it again."""
        self.receipts[receipt.owner.key] = receipt
        if not self.settings.resumable:
            return
        body = json.dumps({**self._stamp, **receipt.dump()}, ensure_ascii=False).encode()
        name = hashlib.sha256("\0".join(receipt.owner.key).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self.control.write(f"{layout.PROGRESS}/{name}.json", body, self.check)

    def check(self) -> None:
        """See that nobody else writes here, and say that we do.

        :raises ExportError: somebody else does.
        """
        with self._checking:
            self._lock.check()

    # --- the end ---

    def commit(self, unavailable: Iterable[Unavailable], generated_at: str) -> dict[str, Any]:
        """Remove what is not of this export any more, and write the manifest.

        Of those who are unavailable, what an earlier run has read is kept.

        :return: the manifest, as it was written.
        """
        with told(self.base):
            self.check()
            missing = list(unavailable)
            kept = self._kept(missing)
            made = Manifest(
                self.settings.head,
                [*self.receipts.values(), *kept],
                [*missing, *self._still_unavailable()],
                generated_at,
                {r.owner.key for r in kept},
            )
            self._extend(made)
            paths = {file.path for file in made.files}
            self._sweep(paths)
            self._remove(self._known - paths)
            dumped = made.dump("." if self.settings.label is None else "../..")
            self.control.write_json(layout.MANIFEST, dumped, self.check)
            if missing:
                self.control.remove(layout.PREVIOUS)
            else:
                self._tidy()
        return dumped

    def _extend(self, made: Manifest) -> None:
        """Add to the manifest what a special kind of export has to say."""

    def end(self) -> None:
        """Let others write."""
        with told(self.base):
            self._lock.release()

    def _still_unavailable(self) -> list[Unavailable]:
        """Return those of others whom an earlier run could not have, and this one did not ask for."""
        wanted = {owner.key for owner in self._owners}
        return [
            each
            for each in self._unavailable
            if each.owner.key not in wanted and not self._covers(each.owner)
        ]

    def _kept(self, missing: list[Unavailable]) -> list[Receipt]:
        """Return what an earlier run has of others, and, where it is whole, of those who are unavailable now."""
        keys = {each.owner.key for each in missing}

        def is_missing(owner: Owner) -> bool:
            return owner.key in keys or (owner.workspace_id, owner.bank_id or "", "") in keys

        return [
            receipt
            for receipt in self._previous
            if receipt.owner.key not in self.receipts
            and (
                not self._covers(receipt.owner)
                or (
                    is_missing(receipt.owner)
                    and all(self.base.digest(file.path) == file.sha256 for file in receipt.files)
                )
            )
        ]

    def _sweep(self, paths: set[str]) -> None:
        """Remove what a killed try may have left of our owners, which no manifest and no receipt lists."""
        if not self._interrupted:
            return
        self._sweep_parts(paths)
        for name in self.control.names(""):
            if name.startswith(TEMPORARY):
                self.control.remove(name)

    def _sweep_parts(self, paths: set[str]) -> None:
        ours: dict[str, list[str]] = {}
        for owner in self._owners:
            ours.setdefault(self._folder(owner), []).append(re.escape(self._stem(owner)))
        for folder, stems in ours.items():
            part = re.compile(
                rf"part-(?:{'|'.join(f'{stem}-' if stem else '' for stem in stems)})\d{{5,}}\..+"
            )
            for name in self.base.names(folder.rstrip("/")):
                left = part.fullmatch(name) is not None and f"{folder}{name}" not in paths
                if left or name.startswith(f"{TEMPORARY}part-"):
                    self.base.remove(f"{folder}{name}")

    def _remove(self, paths: set[str]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self.base.remove, sorted(paths)))


def refuse_mixture(base: Folder, beside: Folder, settings: Settings, workspace_id: str) -> None:
    """See that an export of one workspace does not change what the manifest of a family's vouches for.

    :param base: the folder of the export: the workspace's.
    :param beside: the folder of the resource, where a family's export is.
    :raises ExportError: it would; or the folder is another workspace's.
    """
    label = "" if settings.label is None else f"{layout.MANIFESTS}/{settings.label}/"
    with told(base, "read"):
        names = (layout.MANIFEST, layout.PREVIOUS, layout.LOCK)
        theirs = any(beside.read(f"{label}{name}") is not None for name in names)
        if theirs or (layout.is_batch(settings.label) and layout.batches(beside)):
            raise ExportError(
                f"destination {beside} holds an export of the family: give another destination, or scope='family'.",
                permanent=True,
            )
        found = manifest.receipts_of(base.read_json(f"{label}{layout.MANIFEST}"))
        if {receipt.owner.workspace_id for receipt in found} - {workspace_id}:
            raise ExportError(
                f"destination {base} is the folder of another workspace, whose id differs in case alone: on this file "
                "system the two need destinations of their own.",
                permanent=True,
            )
