"""The files of one owner: of one that is given up, nothing stays that nobody lists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_banksync.export.formats.factory import open_format
from airflow_provider_banksync.export.job import ExportJob
from airflow_provider_banksync.export.settings import ExportSettings
from airflow_provider_banksync.export.storage.folder import ExportError
from airflow_provider_banksync.extract.partition import Partition
from airflow_provider_banksync.extract.rows import RowBatch
from airflow_provider_banksync.tasks.destination import folder_of
from tests.support.export_task import plain_names, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARTITION = Partition("client", None, "bank", None, "account")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[ExportJob]:
    folder = folder_of(ObjectStoragePath(tmp_path.as_uri()))
    run = ExportJob(
        folder, ExportSettings({}, "test", max_rows=2), open_format("jsonl", None, "transactions")
    )
    run.begin()
    run.plan([PARTITION])
    yield run
    run.release()


def test_what_was_written_before_the_first_receipt_is_removed_by_the_next(
    run: ExportJob, tmp_path: Path
) -> None:
    writer = run.open_writer(PARTITION)
    assert writer.add(some(3)), "these fill a file"
    writer.flush()
    writer.abort()
    assert [path for path in plain_names(tree(tmp_path)) if "part-" in path] == [
        "workspace_id=client/part-bank.account-00000.jsonl"
    ]
    run.release()
    again = ExportJob(run.base, run.settings, open_format("csv", None, "transactions"))
    again.begin()
    again.plan([PARTITION])
    again.open_writer(PARTITION).finish("2026-03-03T00:00:00+00:00")
    again.commit([], "2026-03-03T00:00:00+00:00")
    again.release()
    assert set(tree(tmp_path)) == {"_manifest.json"}


def test_who_was_overtaken_leaves_no_receipt(run: ExportJob, tmp_path: Path) -> None:
    late = run.open_writer(PARTITION)
    again = ExportJob(run.base, run.settings, run.output_format)
    again.begin()
    again.plan([PARTITION])
    again.open_writer(PARTITION).finish("2026-03-03T00:00:00+00:00")
    again.commit([], "2026-03-03T00:00:00+00:00")
    again.release()
    with pytest.raises(ExportError, match="now being written by another task"):
        late.finish("2026-03-02T00:00:00+00:00")
    assert set(tree(tmp_path)) == {"_manifest.json"}


def parquet(run: ExportJob, **settings: Any) -> ExportJob:
    output_format = open_format("parquet", None, "transactions")
    again = ExportJob(run.base, replace(run.settings, **settings), output_format)
    again.begin()
    again.plan([PARTITION])
    return again


def some(number: int) -> RowBatch:
    return RowBatch.from_rows([{"id": str(each)} for each in range(number)])


def test_added_rows_touch_nothing_before_a_flush(run: ExportJob, tmp_path: Path) -> None:
    run.release()
    again = parquet(run, max_rows=None)
    writer = again.open_writer(PARTITION)
    before = tree(tmp_path)
    assert not writer.add(some(0))
    assert not writer.add(some(9_998))
    assert not writer.add(some(1))
    assert writer.add(some(1)), "this fills the row group"
    assert tree(tmp_path) == before
    writer.flush()
    assert tree(tmp_path) != before
    checkpoint = writer.finish("2026-03-03T00:00:00+00:00")
    assert [file.rows for file in checkpoint.files] == [10_000]
    again.release()


def test_added_rows_count_among_the_rows_of_a_file(run: ExportJob) -> None:
    run.release()
    again = parquet(run, max_rows=3)
    writer = again.open_writer(PARTITION)
    assert not writer.add(some(2))
    assert writer.add(some(5)), "these fill the file"
    writer.flush()
    assert [file.rows for file in writer.finish("2026-03-03T00:00:00+00:00").files] == [3, 3, 1]
    again.release()


def test_added_rows_leave_nothing_after_an_abort(run: ExportJob, tmp_path: Path) -> None:
    run.release()
    again = parquet(run, max_rows=None)
    writer = again.open_writer(PARTITION)
    assert not writer.add(some(2))
    writer.abort()
    with pytest.raises(ExportError, match="this try has ended"):
        writer.add(some(1))
    assert not any("part-" in path for path in tree(tmp_path))
    again.release()


def test_lines_wait_until_there_are_enough(run: ExportJob, tmp_path: Path) -> None:
    run.release()
    output_format = open_format("jsonl", None, "transactions")
    again = ExportJob(run.base, replace(run.settings, max_rows=None), output_format)
    again.begin()
    again.plan([PARTITION])
    writer = again.open_writer(PARTITION)
    before = tree(tmp_path)
    assert not writer.add(some(2))
    assert not writer.add(RowBatch.from_rows([{"id": "x" * 2**20}]))
    assert writer.add(RowBatch.from_rows([{"id": "x" * 2**20}])), "two MiB are worth a write"
    assert tree(tmp_path) == before
    writer.flush()
    assert tree(tmp_path) != before
    assert [file.rows for file in writer.finish("2026-03-03T00:00:00+00:00").files] == [4]
    again.release()
