"""The files of one owner: given up in the midst of anything, nothing of them is left that was not complete."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_banksync.export.formats import open_format
from airflow_provider_banksync.export.manifest import Owner
from airflow_provider_banksync.export.rows import Batch
from airflow_provider_banksync.export.run import Run, Settings
from airflow_provider_banksync.export.store import ExportError, Folder
from tests.export.harness import tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWNER = Owner("client", None, "bank", None, "account")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    folder = Folder.of(ObjectStoragePath(tmp_path.as_uri()))
    run = Run(folder, Settings({}, "test", max_rows=2), open_format("jsonl", None, "transactions"))
    run.begin()
    run.plan([OWNER])
    yield run
    run.end()


def test_who_gives_up_waits_for_the_thread_that_writes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    opened = Folder.open

    def slow(folder: Folder, path: str) -> object:
        writing.set()
        go_on.wait(10)
        return opened(folder, path)

    monkeypatch.setattr(Folder, "open", slow)
    unit = run.unit(OWNER)
    writer = threading.Thread(target=unit.write, args=(Batch.of([{"id": "1"}]),))
    writer.start()
    assert writing.wait(10)
    giver_up = threading.Thread(target=unit.abandon)
    giver_up.start()
    giver_up.join(0.05)
    go_on.set()
    writer.join()
    giver_up.join()
    assert not [path for path in tree(tmp_path) if "part-" in path]
    with pytest.raises(ExportError, match="given up"):
        unit.write(Batch.of([{"id": "2"}]))
    with pytest.raises(ExportError, match="given up"):
        unit.done("2026-03-03T00:00:00+00:00")
    assert run.missing() == [OWNER]


def test_who_is_given_up_after_a_whole_file_leaves_it_to_the_next_try(run: Run, tmp_path: Path) -> None:
    unit = run.unit(OWNER)
    unit.write(Batch.of([{"id": str(number)} for number in range(3)]))
    unit.abandon()
    assert [path for path in tree(tmp_path) if "part-" in path] == [
        "workspace_id=client/part-bank.account-00000.jsonl"
    ]
    run.end()
    again = Run(run.base, run.settings, open_format("csv", None, "transactions"))
    again.begin()
    again.plan([OWNER])
    again.unit(OWNER).done("2026-03-03T00:00:00+00:00")
    again.commit([], "2026-03-03T00:00:00+00:00")
    again.end()
    assert set(tree(tmp_path)) == {"_manifest.json"}
