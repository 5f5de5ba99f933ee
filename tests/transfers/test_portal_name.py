"""The column with the client's name, in CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from airflow_provider_banksync.sandbox import Fault
from tests.support.export_task import Task, manifest_of

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=2, time_scale=0)
WEEK = {"from_date": "2026-02-01", "to_date": "2026-02-07"}
FORMATS = pytest.mark.parametrize("file_format", ["csv", "parquet"])


def read(body: bytes, file_format: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the columns and the rows of a file."""
    if file_format == "parquet":
        table = pq.read_table(io.BytesIO(body))
        return table.column_names, table.to_pylist()
    rows = csv.DictReader(io.StringIO(body.decode(), newline=""))
    return list(rows.fieldnames or []), [{name: value or None for name, value in row.items()} for row in rows]


@FORMATS
@pytest.mark.parametrize("resource", ["transactions", "balances", "banks"])
def test_each_row_has_its_clients_name(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path, file_format: str, resource: str
) -> None:
    days = WEEK if resource == "transactions" else {}
    manifest = manifest_of(
        Task(tmp_path, arguments={"resource": resource, "file_format": file_format, **days}).run()
    )
    names = set()
    for file in manifest["files"]:
        body = (tmp_path / f"resource={resource}" / file["path"]).read_bytes()
        columns, rows = read(body, file_format)
        assert columns[-2:] == ["portal_name", "extra"]
        assert {row["portal_name"] for row in rows} == {file["portal"]}
        names.add(file["portal"])
    assert names - {None} <= {name for _, name in banksync_sandbox.portals}
    assert len(names) == 3


@FORMATS
def test_it_can_be_left_out(banksync_sandbox: BankSyncSandbox, tmp_path: Path, file_format: str) -> None:
    arguments = {"resource": "balances", "file_format": file_format, "portal_name": False}
    for file in manifest_of(Task(tmp_path, arguments=arguments).run())["files"]:
        columns, _ = read((tmp_path / "resource=balances" / file["path"]).read_bytes(), file_format)
        assert "portal_name" not in columns
        assert columns[-1] == "extra"


def test_a_name_that_looks_like_a_formula(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    (portal, _), *_ = banksync_sandbox.portals
    row = {"id": "bk_1", "name": "Bank", "workspaceId": portal, "portal": {"id": portal, "name": '=1+"1"'}}
    banksync_sandbox.faults.add(
        Fault.answer(200, json.dumps({"success": True, "data": [row]}), media_type="application/json"),
        path="/v1/banks",
    )
    for escape, expected in ((True, '\'=1+"1"'), (False, '=1+"1"')):
        arguments = {"resource": "banks", "file_format": "csv", "escape_formulas": escape}
        folder = tmp_path / str(escape)
        (file,) = manifest_of(Task(folder, arguments=arguments).run())["files"]
        _, rows = read((folder / "resource=banks" / file["path"]).read_bytes(), "csv")
        assert [row["portal_name"] for row in rows] == [expected]
