"""The files of one owner: of one that is given up, nothing stays that nobody lists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

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


def test_what_was_written_before_the_first_receipt_is_removed_by_the_next(run: Run, tmp_path: Path) -> None:
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


def test_who_was_overtaken_leaves_no_receipt(run: Run, tmp_path: Path) -> None:
    late = run.unit(OWNER)
    again = Run(run.base, run.settings, run.made)
    again.begin()
    again.plan([OWNER])
    again.unit(OWNER).done("2026-03-03T00:00:00+00:00")
    again.commit([], "2026-03-03T00:00:00+00:00")
    again.end()
    with pytest.raises(ExportError, match="now being written by another one"):
        late.done("2026-03-02T00:00:00+00:00")
    assert set(tree(tmp_path)) == {"_manifest.json"}


def parquet(run: Run, **settings: Any) -> Run:
    made = open_format("parquet", None, "transactions")
    again = Run(run.base, replace(run.settings, **settings), made)
    again.begin()
    again.plan([OWNER])
    return again


def some(number: int) -> Batch:
    return Batch.of([{"id": str(each)} for each in range(number)])


def test_what_is_held_touches_nothing_until_it_has_to(run: Run, tmp_path: Path) -> None:
    run.end()
    again = parquet(run, max_rows=None)
    unit = again.unit(OWNER)
    before = tree(tmp_path)
    assert unit.hold(some(0))
    assert unit.hold(some(9_998))
    assert not unit.hold(some(2)), "these fill the row group"
    assert unit.hold(some(1))
    assert tree(tmp_path) == before
    unit.write(some(1))
    receipt = unit.done("2026-03-03T00:00:00+00:00")
    assert [file.rows for file in receipt.files] == [10_000]
    again.end()


def test_what_is_held_counts_among_the_rows_of_a_file(run: Run) -> None:
    run.end()
    again = parquet(run, max_rows=3)
    unit = again.unit(OWNER)
    assert unit.hold(some(2))
    assert not unit.hold(some(1)), "these fill the file"
    unit.write(some(5))
    assert [file.rows for file in unit.done("2026-03-03T00:00:00+00:00").files] == [3, 3, 1]
    again.end()


def test_what_was_held_and_is_given_up_leaves_nothing(run: Run, tmp_path: Path) -> None:
    run.end()
    again = parquet(run, max_rows=None)
    unit = again.unit(OWNER)
    assert unit.hold(some(2))
    unit.abandon()
    with pytest.raises(ExportError, match="given up"):
        unit.hold(some(1))
    assert not any("part-" in path for path in tree(tmp_path))
    again.end()


def test_lines_are_held_until_there_are_enough(run: Run, tmp_path: Path) -> None:
    run.end()
    made = open_format("jsonl", None, "transactions")
    again = Run(run.base, replace(run.settings, max_rows=None), made)
    again.begin()
    again.plan([OWNER])
    unit = again.unit(OWNER)
    before = tree(tmp_path)
    assert unit.hold(some(2))
    assert unit.hold(Batch.of([{"id": "x" * 2**20}]))
    assert not unit.hold(Batch.of([{"id": "x" * 2**20}])), "no more than two MiB are held back"
    assert tree(tmp_path) == before
    unit.write(some(1))
    assert tree(tmp_path) != before
    assert [file.rows for file in unit.done("2026-03-03T00:00:00+00:00").files] == [4]
    again.end()
