"""What is on the disk, in which order, so that a power failure at any moment loses nothing that a manifest lists."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.export.storage import lock
from tests.support.export_task import Task

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0)


class Disk:
    """Records what is synced, renamed and removed, in order. A file keeps its number (inode) if it is renamed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, Any]] = []
        fsync, replace, remove = os.fsync, os.replace, os.remove

        def record_fsync(handle: int) -> None:
            fsync(handle)
            self.events.append(("sync", os.fstat(handle).st_ino))

        def record_replace(source: str, target: str) -> None:
            replace(source, target)
            self.events.append(("rename", str(target)))

        def record_remove(path: str, **keywords: Any) -> None:
            self.events.append(("remove", str(path)))
            remove(path, **keywords)

        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(os, "replace", record_replace)
        monkeypatch.setattr(os, "remove", record_remove)

    def synced(self, path: Path) -> list[int]:
        return [at for at, event in enumerate(self.events) if event == ("sync", path.stat().st_ino)]

    def renamed(self, path: Path) -> int:
        return self.events.index(("rename", str(path)))

    def removed(self, path: str) -> int:
        return self.events.index(("remove", path))


@pytest.mark.parametrize(
    "arguments",
    [
        {"resource": "banks"},
        {"resource": "banks", "scope": "self"},
        {
            "resource": "transactions",
            "from_date": "2026-02-01",
            "to_date": "2026-02-10",
            "max_rows_per_file": 5,
        },
        {"resource": "transactions", "incremental": True},
        {"resource": "balances", "file_format": "parquet"},
        {"resource": "balances", "file_format": "csv", "compression": "gzip"},
    ],
    ids=["listing", "workspace", "window", "batch", "parquet", "gzip"],
)
def test_a_manifest_lists_only_what_is_on_the_disk(
    banksync_sandbox: BankSyncSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
) -> None:
    monkeypatch.setattr(lock, "SETTLE_TIME", 0.01)
    lake = tmp_path / "new" / "lake"
    old: set[str] = set()
    for hour in (1, 2):
        disk = Disk(monkeypatch)
        task = Task(lake, f"run {hour}", arguments=arguments)
        task.run_after = datetime(2026, 3, 3, hour, tzinfo=timezone.utc)
        path = Path(task.run()["manifest"].removeprefix("file://"))
        committed = disk.renamed(path)
        manifest = json.loads(path.read_bytes())
        base = (path.parent / manifest["base"]).resolve()
        parts = [base / file["path"] for file in manifest["files"]]
        for part in parts:
            (content,) = disk.synced(part)
            renamed = disk.renamed(part)
            assert content < renamed < committed, "the content first, then the name, then the manifest"
            assert any(renamed < at < committed for at in disk.synced(part.parent)), "the name is on the disk"
        # New folders have names, too.
        for folder in {
            above for part in [*parts, path] for above in part.parents if tmp_path in above.parents
        }:
            assert any(at < committed for at in disk.synced(folder.parent)), folder
        (content,) = disk.synced(path)
        on_disk = min(at for at in disk.synced(path.parent) if at > committed)
        assert content < committed < on_disk
        assert all(disk.removed(part) > on_disk for part in old if ("remove", part) in disk.events)
        gone = {part for part in old if not Path(part).exists()}
        assert gone == (set() if arguments.get("incremental") else old)
        old = {str(part) for part in parts}
        monkeypatch.undo()
        monkeypatch.setattr(lock, "SETTLE_TIME", 0.01)
        monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", banksync_sandbox.connection_uri)


def test_the_record_of_a_try_is_on_the_disk_before_its_parts(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, the next try would not know which parts it may remove."""
    disk = Disk(monkeypatch)
    Task(tmp_path).run(resource="banks")
    progress = str(tmp_path / "resource=banks/_progress/")
    first = next(at for at, (what, path) in enumerate(disk.events) if what == "rename" and progress in path)
    parts = [at for at, (what, path) in enumerate(disk.events) if what == "rename" and "/part-" in path]
    assert disk.events[first - 1][0] == "sync"
    assert any(what == "sync" for what, _ in disk.events[first + 1 : parts[0]])
    assert first < parts[0]
