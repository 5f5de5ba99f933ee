"""docs/reading-exports.md: its examples, run on exports, give what the API gives."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import datetime, timezone
from decimal import Context, Decimal, localcontext
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from tests.conftest import ROOT
from tests.export.harness import Task
from tests.export.object_stores import CONNECTION
from tests.export.test_accounts import family, truth
from tests.export.test_object_store import bucket, on_s3, s3  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from pathlib import Path

    from tests.export.object_stores import Store

# At a time of its own: what the sandbox makes up comes and settles at any hour of a day, but not in this minute.
pytestmark = pytest.mark.banksync_sandbox(
    portals=3, time_scale=0, now=datetime(2026, 3, 3, tzinfo=timezone.utc)
)

PAGE = (ROOT / "docs" / "reading-exports.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(?:sql|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = {title: BLOCK.findall(text) for title, text in SECTION.findall(PAGE)}
PARQUET, CSV, JSONL = BLOCKS["DuckDB"]
MANIFEST_SQL, MANIFEST_PYTHON = BLOCKS["Only what is complete"]
(MERGED,) = BLOCKS["One row per transaction, from batches"]
(PYARROW,) = BLOCKS["pyarrow"]
(PANDAS,) = BLOCKS["pandas"]
(IN_A_TASK,) = BLOCKS["In a task, from an object store"]

Sums = dict[tuple[str, str, str], Decimal]


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """Two windows, of which each account has rows in one, in both or in none."""
    monkeypatch.chdir(tmp_path)
    return Task(tmp_path / "lake", arguments={"resource": "transactions"})


def export(task: Task, **written: Any) -> Sums:
    """Export February and the beginning of March, and return the API's own sums."""
    task.run(from_date="2026-02-01", to_date="2026-02-28", **written)
    task.run(from_date="2026-03-01", to_date="2026-03-10", **written)
    return sums(truth(from_date="2026-02-01", to_date="2026-03-10"))


def sums(rows: dict[tuple[str, str], list[dict[str, Any]]]) -> Sums:
    found: Sums = defaultdict(Decimal)
    for (workspace, account), each in rows.items():
        for row in each:
            found[workspace, account, row["currency"]] += Decimal(row["amount"])
    assert len(found) > 10
    return dict(found)


def by_duckdb(code: str) -> list[tuple[Any, ...]]:
    import duckdb

    with duckdb.connect() as connection:
        return connection.execute(code).fetchall()


def as_sums(rows: list[tuple[Any, ...]]) -> Sums:
    found = {(workspace, account, currency): total for workspace, account, currency, total, *_ in rows}
    assert all(type(total) is Decimal for total in found.values())
    return found


@pytest.mark.parametrize(
    ("code", "written"),
    [
        (PARQUET, {"file_format": "parquet"}),
        (PARQUET, {"file_format": "parquet", "compression": "zstd"}),
        (CSV, {"file_format": "csv", "compression": "gzip"}),
        (JSONL, {"file_format": "jsonl"}),
        (MANIFEST_SQL, {"file_format": "parquet"}),
    ],
    ids=["parquet", "parquet-zstd", "csv", "jsonl", "manifest"],
)
def test_duckdb(task: Task, code: str, written: dict[str, Any]) -> None:
    expected = export(task, **written)
    assert as_sums(by_duckdb(code)) == expected


@pytest.mark.parametrize(
    ("code", "written"),
    [(PARQUET, {"file_format": "parquet"}), (CSV, {"file_format": "csv", "compression": "gzip"})],
)
def test_duckdb_keeps_every_digit(
    banksync_sandbox: BankSyncSandbox, task: Task, code: str, written: Any
) -> None:
    amount = Decimal("123456789012.000000000123456789")
    banksync_sandbox.faults.add(Fault.edited(amount=amount), path="/v1/banks/*/accounts/*/transactions")
    with localcontext(Context(prec=60)):
        expected = export(task, **written)
    assert as_sums(by_duckdb(code)) == expected


def test_what_the_manifest_does_not_list_is_not_read(task: Task, tmp_path: Path) -> None:
    expected = export(task, file_format="parquet")
    part = next(tmp_path.rglob("part-*.parquet"))
    half = part.parent.parent / "window=2026-03-11_2026-03-12"
    half.mkdir()
    (half / part.name).write_bytes(part.read_bytes())
    assert as_sums(by_duckdb(MANIFEST_SQL)) == expected
    assert as_sums(by_duckdb(PARQUET)) != expected


def test_the_window_is_a_column(task: Task) -> None:
    export(task, file_format="parquet")
    files = "read_parquet('lake/resource=transactions/**/part-*.parquet', hive_partitioning = true)"
    found = by_duckdb(f'SELECT DISTINCT "window" FROM {files} ORDER BY ALL')
    assert found == [("2026-02-01_2026-02-28",), ("2026-03-01_2026-03-10",)]


def test_an_export_without_rows_has_no_file_to_read(task: Task) -> None:
    import duckdb
    import pyarrow as pa

    nothing = {"from_date": "1999-01-01", "to_date": "1999-01-02", "file_format": "parquet"}
    assert (task.run(**nothing)["rows"], task.run(**nothing)["files"]) == (0, 0)
    with pytest.raises(duckdb.IOException, match="No files found"):
        by_duckdb(PARQUET)
    for code in (PYARROW, PANDAS):
        with pytest.raises(pa.ArrowInvalid, match="No match for FieldRef"):
            exec(code, {})
    expected = export(task, file_format="parquet")
    assert as_sums(by_duckdb(PARQUET)) == as_sums(by_duckdb(MANIFEST_SQL)) == expected


def test_python(task: Task) -> None:
    expected = export(task)
    names: dict[str, Any] = {}
    exec(MANIFEST_PYTHON, names)
    assert names["totals"] == expected


def test_pyarrow(task: Task) -> None:
    expected = export(task, file_format="parquet")
    names: dict[str, Any] = {}
    exec(PYARROW, names)
    totals = names["totals"].select(["workspace_id", "accountId", "currency", "amount_sum"]).to_pylist()
    assert as_sums([tuple(row.values()) for row in totals]) == expected


def test_pandas(task: Task) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    expected = export(task, file_format="parquet")
    names: dict[str, Any] = {}
    exec(PANDAS, names)
    assert as_sums([(*whose, total) for whose, total in names["totals"].items()]) == expected


def test_from_an_object_store(
    banksync_sandbox: BankSyncSandbox,
    on_s3: Store,  # noqa: F811
) -> None:
    task = Task(on_s3.url, arguments={"resource": "transactions", **on_s3.arguments})
    expected = export(task, file_format="parquet")
    summary = task.run(from_date="2026-02-01", to_date="2026-02-28", file_format="parquet")
    names: dict[str, Any] = {}
    exec(IN_A_TASK, names)
    assert as_sums(names["totals"](summary, CONNECTION)) == expected


def test_one_row_per_transaction(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    def batch(hour: int, **arguments: Any) -> int:
        task.run_id, task.run_after = f"run {hour}", datetime(2026, 3, 3, hour, tzinfo=timezone.utc)
        rows: int = task.run(incremental=True, file_format="parquet", **arguments)["rows"]
        return rows

    first = batch(1)
    (*_, one), *_, (*_, other) = family()
    banksync_sandbox.add_transaction(one["id"], "-12.50", "Tea", settles_after=30)
    banksync_sandbox.add_transaction(other["id"], "-99.00", "Still pending", settles_after=10**7)
    assert batch(2) == 2
    banksync_sandbox.clock.advance(60)
    assert batch(3) == 1
    refreshed = batch(4, full_refresh=True)
    assert refreshed >= first + 2

    rows = by_duckdb(f"SELECT workspace_id, accountId, id, description, pending, amount FROM ({MERGED})")
    merged = {row[:3]: row for row in rows}
    assert len(merged) == len(rows)
    expected = {
        (workspace, account, row["id"]): row for (workspace, account), each in truth().items() for row in each
    }
    assert merged.keys() == expected.keys()
    assert sum(row[5] for row in rows) == sum(Decimal(row["amount"]) for row in expected.values())
    told = {row[3]: row[4] for row in rows}
    assert (told["Tea"], told["Still pending"]) == (False, True)


def test_every_block_is_run_but_those_for_spark() -> None:
    assert sum(map(len, BLOCKS.values())) == 11
    assert "Not run by the tests" in PAGE.split("## Spark")[1].split("## ")[0]
    assert len(BLOCKS["Spark"]) == 2
