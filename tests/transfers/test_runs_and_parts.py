"""Windows of runs without a data interval, and parts that are compressed and split, in several tries."""

from __future__ import annotations

import gzip
import io
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pendulum
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import AirflowException
from airflow.timetables.events import EventsTimetable
from airflow.timetables.trigger import CronTriggerTimetable

from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from tests.extract.test_schedule import assets_or, through_a_dag
from tests.support.account_data import family, truth, without_empty
from tests.support.export_task import Task, manifest_of, record_warnings

if TYPE_CHECKING:
    from pathlib import Path

MONDAY = pendulum.datetime(2026, 3, 2, 6)
TIMETABLES = [
    assets_or(CronTriggerTimetable("0 6 * * 1,4", timezone="UTC")),
    EventsTimetable([MONDAY.add(days=-11), MONDAY.add(days=-4), MONDAY, MONDAY.add(days=3)]),
    assets_or(EventsTimetable([MONDAY.add(days=-4), MONDAY, MONDAY.add(days=3)])),
]


@pytest.mark.banksync_sandbox(portals=0, time_scale=0)
@pytest.mark.parametrize("interval", ["none", "empty"])
@pytest.mark.parametrize("timetable", TIMETABLES, ids=["assets or cron", "events", "assets or events"])
def test_runs_without_an_interval_leave_out_no_day(
    banksync_sandbox: BankSyncSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    timetable: Any,
    interval: str,
) -> None:
    """Two scheduled runs, and in between one that an asset triggered."""
    warnings = record_warnings(monkeypatch)

    def window(moment: Any, run_type: str) -> tuple[str, str]:
        task = Task(tmp_path, f"{run_type} {moment}", timetable=through_a_dag(timetable), run_type=run_type)
        task.interval = (None, None) if interval == "none" else (moment, moment)
        task.run_after = moment
        days = manifest_of(task.run(resource="transactions"))["window"]
        return days["from_date"], days["to_date"]

    assert window(MONDAY, "scheduled") == ("2026-02-26", "2026-03-01")
    assert window(MONDAY.add(days=1), "asset_triggered") == ("2026-03-02", "2026-03-02")
    assert window(MONDAY.add(days=3), "scheduled") == ("2026-03-02", "2026-03-04")
    assert [text for text in warnings if "No window" in text] == []


@pytest.mark.banksync_sandbox(portals=0, time_scale=0)
def test_runs_of_assets_alone_say_which_days_they_leave_out(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings = record_warnings(monkeypatch)
    for moment in (MONDAY, MONDAY + timedelta(days=4)):
        task = Task(tmp_path, f"{moment}", run_type="asset_triggered")
        task.interval, task.run_after = (None, None), moment
        task.run(resource="transactions")
    (warning,) = [text for text in warnings if "No window" in text]
    assert "2026-03-02 to 2026-03-04" in warning


def rows_in(path: Path) -> list[Any]:
    body = path.read_bytes()
    if path.suffix == ".parquet":
        return pq.read_table(io.BytesIO(body)).column("id").to_pylist()
    if path.suffix == ".gz":
        body = gzip.decompress(body)
    elif path.suffix == ".zst":
        body = pa.CompressedInputStream(pa.BufferReader(body), "zstd").read()
    if ".jsonl" in path.name:
        return [json.loads(line)["id"] for line in body.splitlines()]
    return pa_csv.read_csv(io.BytesIO(body)).column("id").to_pylist()


@pytest.mark.banksync_sandbox(portals=1, time_scale=0, page_size=20)
@pytest.mark.parametrize("limit", [1, 7, 20, 10_000])
@pytest.mark.parametrize(
    ("file_format", "compression"),
    [("jsonl", "gzip"), ("jsonl", "zstd"), ("csv", "gzip"), ("csv", "zstd"), ("parquet", "zstd")],
)
def test_compressed_parts_of_two_tries_have_each_row_once(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path, file_format: str, compression: str, limit: int
) -> None:
    days = {"from_date": "2026-02-20", "to_date": "2026-03-02"}
    task = Task(tmp_path, arguments={"resource": "transactions", "concurrency": 1, **days})
    written = {"file_format": file_format, "compression": compression, "max_rows_per_file": limit}
    banksync_sandbox.faults.add(Fault.status(401), path="/v1/banks/*/accounts/*/transactions", nth=4)
    with pytest.raises(AirflowException, match="401"):
        task.run(**written)
    assert list(tmp_path.rglob("part-*"))
    banksync_sandbox.faults.clear()
    manifest = manifest_of(task.run(**written))
    expected = without_empty(truth(**days))
    assert len(family()) > 4
    found: dict[tuple[str, str], list[Any]] = {}
    for file in manifest["files"]:
        ids = rows_in(tmp_path / "resource=transactions" / file["path"])
        assert len(ids) == file["rows"] <= limit
        found.setdefault((file["workspace_id"], file["account_id"]), []).extend(ids)
    assert {key: sorted(ids) for key, ids in found.items()} == {
        key: sorted(row["id"] for row in rows) for key, rows in expected.items()
    }
    assert len(list(tmp_path.rglob("part-*"))) == len(manifest["files"])
