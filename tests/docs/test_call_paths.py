"""Tests of the two call tables in ARCHITECTURE.md: these calls happen, in this order, and no others in between."""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_banksync.api import raw_pages
from airflow_provider_banksync.export.formats import arrow_columns
from airflow_provider_banksync.export.formats.schema import ColumnType
from tests.support.export_task import Task
from tests.support.object_stores import load_file_systems
from tests.support.paths import ROOT
from tests.support.sandbox_data import truth
from tests.support.task_runs import run_task, sync_operator

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
MOST_CALLS = 7

pytestmark = pytest.mark.banksync_sandbox(portals=1, broken_banks=0)


def table(heading: str) -> list[tuple[str, str]]:
    """Return the file and the function of each call in the table of a section."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| \d+ \| `(?:\w+\.)*(\w+)` \| `?([\w/.]+)`? \|", section, re.MULTILINE)
    return [(file, function) for function, file in rows]


def calls() -> list[tuple[str, str]]:
    """Return the file and the function of each call of the package on the stack, the outermost first."""
    stack = traceback.extract_stack()
    frames = [(*frame.filename.rpartition("/airflow_provider_banksync/"), frame.name) for frame in stack]
    # Before Python 3.12, a comprehension is a frame.
    return [(file, function) for _, ours, file, function in frames if ours and not function.startswith("<")]


def test_feed_id_from_the_operator_to_the_socket(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    request = requests.Session.request

    def record(session: requests.Session, method: str, url: str, **arguments: Any) -> requests.Response:
        if url.endswith("/sync"):
            found.append(calls())
        return request(session, method, url, **arguments)

    monkeypatch.setattr(requests.Session, "request", record)
    feed = truth(banksync_sandbox, "/v1/feeds")[0]
    run_task(sync_operator(feed_id=feed["id"], wait_for_completion=False))
    documented = table("feed_id from the operator to the socket")
    assert found == [[("operators/sync.py", "execute"), *documented[:-1]]]
    assert documented[-1] == ("requests", "request")
    assert len(documented) <= MOST_CALLS


def test_a_row_from_the_socket_to_a_parquet_column(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load_file_systems()
    to_page, to_column = [], []
    split, build = raw_pages._split_rows, arrow_columns._BUILDERS[ColumnType.DECIMAL]

    def record_page(*arguments: Any, **options: Any) -> Any:
        to_page.append(calls())
        return split(*arguments, **options)

    def record_column(*arguments: Any) -> Any:
        to_column.append(calls())
        return build(*arguments)

    monkeypatch.setattr(raw_pages, "_split_rows", record_page)
    monkeypatch.setitem(arrow_columns._BUILDERS, ColumnType.DECIMAL, record_column)
    Task(tmp_path).run(
        resource="transactions",
        scope="self",
        from_date="2000-01-01",
        to_date="2099-12-31",
        file_format="parquet",
    )
    page, column = to_page[0], to_column[0]
    sender, reader = (
        ("api/http/async_client.py", "_send_once"),
        ("extract/accounts.py", "_read_transactions"),
    )
    documented = table("A row from the socket to a Parquet column")
    assert documented == [
        ("api/http/async_client.py", "_send_http"),
        *page[page.index(sender) + 1 :],
        ("api/raw_pages.py", "_split_rows"),
        *column[column.index(reader) + 1 :],
        ("export/formats/arrow_columns.py", "_decimal_array"),
    ]
    assert len(documented) <= MOST_CALLS
