"""The files equal the API to the cent, with every reader."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.sandbox import BankSyncSandbox
from tests.support.export_task import Task
from tests.support.exported_files import AMOUNTS, parts, read_back, served

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    #: By client, account, currency and column: the sum, and of how many rows.
    Sums = dict[tuple[str, str, str | None, str], tuple[Decimal, int]]

WINDOW = ("2026-02-16", "2026-02-28")


@pytest.fixture(scope="module")
def family() -> Iterator[BankSyncSandbox]:
    """One for all formats: what it has is asked for once."""
    with BankSyncSandbox(portals=200, time_scale=0, now=datetime(2026, 3, 2, tzinfo=timezone.utc)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def truth(family: BankSyncSandbox) -> list[tuple[str, str, dict[str, Any]]]:
    first, last = WINDOW
    return list(served(family, **{"from": first, "to": last}))


def sums(rows: Iterable[tuple[str, str, dict[str, Any]]]) -> Sums:
    """Sum up rows of clients and accounts."""
    found: Sums = defaultdict(lambda: (Decimal(0), 0))
    for workspace, account, row in rows:
        for column in AMOUNTS:
            if (value := row.get(column)) is not None:
                key = (workspace, account, row["currency"], column)
                total, number = found[key]
                found[key] = total + Decimal(value), number + 1
    return dict(found)


@pytest.mark.parametrize(
    ("file_format", "compression"),
    [("jsonl", "zstd"), ("csv", "gzip"), ("parquet", None)],
)
def test_200_clients_to_the_cent(
    family: BankSyncSandbox,
    truth: list[tuple[str, str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    file_format: str,
    compression: str | None,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", family.connection_uri)
    first, last = WINDOW
    task = Task(tmp_path, arguments={"resource": "transactions", "from_date": first, "to_date": last})
    summary = task.run(file_format=file_format, compression=compression, max_rows_per_file=20)

    read: list[tuple[str, str, dict[str, Any]]] = []
    for path in parts(tmp_path):
        client = path.relative_to(tmp_path / "resource=transactions").parts[0].removeprefix("workspace_id=")
        read += [(client, row["accountId"], row) for row in read_back(path)]
    # Who has no rows has no folder; and nobody has a row of another client.
    assert {(client, account) for client, account, _ in read} == {
        (client, account) for client, account, _ in truth
    }
    assert sums(read) == sums(truth)
    assert sorted(row["id"] for *_, row in read) == sorted(row["id"] for *_, row in truth)
    assert summary["rows"] == len(read) > 3_000
    assert summary["workspaces"] == len({client for client, *_ in truth}) > 190
    assert len({row["currency"] for *_, row in truth}) > 3
    assert {column for *_, column in sums(truth)} == {*AMOUNTS}
