"""Ids that differ in case alone, that look alike, that no file system would take: each client's rows stay its own."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_banksync.export.formats.factory import open_format
from airflow_provider_banksync.export.job import ExportJob
from airflow_provider_banksync.export.settings import ExportSettings
from airflow_provider_banksync.export.storage.folder import Folder
from airflow_provider_banksync.extract.partition import Partition
from airflow_provider_banksync.extract.rows import RowBatch
from airflow_provider_banksync.sandbox.world.seed import Seed
from tests.support.export_task import Task, manifest_of, rows_of, tree
from tests.support.exported_files import served
from tests.support.odd_rows import ODD_IDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

MONTH = {"from_date": "2026-02-01", "to_date": "2026-02-28"}
PAIRS = ["client", "Client", "CLIENT", "cl\u0456ent", "client.", "client ", "co\u0301", "c\xf3"]


class Caseless(MemoryFileSystem):  # type: ignore[misc,unused-ignore]
    """A file system like those of macOS and Windows: names that differ in case alone are one."""

    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path)).lower()


@pytest.fixture
def caseless() -> Iterator[Caseless]:
    fs = Caseless(skip_instance_cache=True)
    fs.store.clear()
    yield fs
    fs.store.clear()


@pytest.fixture(params=["caseless", "disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "caseless":
        return Folder(request.getfixturevalue("caseless"), "/lake/resource=transactions", "memory://lake")
    from fsspec.implementations.local import LocalFileSystem

    place = tmp_path / "lake" / "resource=transactions"
    return Folder(LocalFileSystem(), str(place), place.as_uri())


def owners() -> list[Partition]:
    """Every odd id as a workspace, as a bank and as an account."""
    ids = [*PAIRS, *(each for each in ODD_IDS if "\ud800" not in each)]
    return [
        Partition(one, None, other, None, one, None) for one in ids for other in (ids[0], one, one.upper())
    ]


def export(
    folder: Folder, wanted: list[Partition], *, only: Callable[[Partition], bool] = lambda _: True
) -> Any:
    """Export one row for each; return the manifest, or None where some are still missing."""
    run = ExportJob(
        folder,
        ExportSettings({"resource": "transactions"}, "test", "window=2026-01-01_2026-01-31"),
        open_format("jsonl", None, "transactions"),
    )
    run.begin()
    try:
        run.plan(wanted)
        for owner in filter(only, run.unfinished()):
            writer = run.open_writer(owner)
            writer.add(RowBatch.from_rows([{"id": list(owner.key)}]))
            writer.finish("2026-02-01T00:00:00+00:00")
        return run.commit([], "2026-02-01T00:00:00+00:00") if not run.unfinished() else None
    finally:
        run.release()


def test_each_has_files_of_its_own(folder: Folder) -> None:
    wanted = list({owner.key: owner for owner in owners()}.values())
    half = {owner.key for owner in wanted[::2]}
    assert export(folder, wanted, only=lambda owner: owner.key in half) is None
    manifest = export(folder, wanted, only=lambda owner: owner.key not in half)
    assert len({file["path"].lower() for file in manifest["files"]}) == len(wanted) == manifest["rows"]
    for file in manifest["files"]:
        body = folder.read(file["path"])
        assert body is not None
        assert hashlib.sha256(body).hexdigest() == file["sha256"]
        assert json.loads(body)["id"] == [file["workspace_id"], file["bank_id"], file["account_id"]]
    clients: dict[str, set[str]] = {}
    for file in manifest["files"]:
        clients.setdefault(file["path"].split("/")[0].lower(), set()).add(file["workspace_id"])
    assert all(len(found) == 1 for found in clients.values()), "a folder has one client's rows"


def test_one_that_comes_later_does_not_touch_who_was_there(folder: Folder) -> None:
    first, second = Partition("client", None, "b", None, "a"), Partition("CLIENT", None, "B", None, "A")

    def covers(owner: Partition) -> bool:
        return owner == second

    export(folder, [first])
    run = ExportJob(
        folder,
        ExportSettings({"resource": "transactions"}, "later", "window=2026-01-01_2026-01-31"),
        open_format("jsonl", None, "transactions"),
    )
    run.begin()
    run.plan([second], covers)
    writer = run.open_writer(second)
    writer.add(RowBatch.from_rows([{"id": list(second.key)}]))
    writer.finish("2026-02-01T00:00:00+00:00")
    manifest = run.commit([], "2026-02-01T00:00:00+00:00")
    run.release()
    bodies = [json.loads(folder.read(file["path"]) or b"")["id"] for file in manifest["files"]]
    assert bodies == [[*second.key], [*first.key]]


@pytest.mark.banksync_sandbox(portals=4, time_scale=0, now=datetime(2026, 3, 2, tzinfo=timezone.utc))
def test_the_operator_with_such_ids(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    odd: dict[tuple[object, ...], str] = {
        ("workspace", 0): "Client-One",
        ("workspace", 1): "cLIENT-oNE",
        ("workspace", 2): "../../client\\one",
        ("workspace", 3): "C" * 200,
    }
    accounts: list[str] = []
    made = Seed.id

    def made_odd(self: Seed, *path: object) -> str:
        found = made(self, *path)
        if path[0] != "account":
            return odd.get(path, found)
        # Brothers differ in case alone, or in what no name may have.
        shape = [str.lower, str.upper, "{}: \u0430".format, ("{}" + "x" * 200).format]
        return shape[int(str(path[2])) % len(shape)](made(self, "account", path[1]))

    monkeypatch.setattr(Seed, "id", made_odd)
    sandbox: BankSyncSandbox = request.getfixturevalue("banksync_sandbox")
    truth: dict[tuple[str, str], list[str]] = {}
    for workspace, account, row in served(sandbox, **{"from": "2026-02-01", "to": "2026-02-28"}):
        truth.setdefault((workspace, account), []).append(row["id"])
        accounts.append(account)
    assert len({each.lower() for each in accounts}) < len({*accounts})

    summary = Task(tmp_path / "lake", arguments={"resource": "transactions", **MONTH}).run()
    rows = rows_of(tmp_path / "lake")
    read: dict[tuple[str, str], list[str]] = {}
    for file in manifest_of(summary)["files"]:
        for row in rows.pop(f"resource=transactions/{file['path']}"):
            assert row["accountId"] == file["account_id"]
            read.setdefault((file["workspace_id"], row["accountId"]), []).append(row["id"])
    assert read == truth
    assert not rows
    paths = {path.lower() for path in tree(tmp_path)}
    assert len(paths) == len(tree(tmp_path))
    assert len({path.split("/")[2] for path in paths if "part-" in path}) == len({one for one, _ in truth})
    assert [path.name for path in tmp_path.iterdir()] == ["lake"]
