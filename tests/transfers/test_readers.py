"""docs/reading-exports.md: its examples, run on exports, give what the API gives."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import datetime, timezone
from decimal import Context, Decimal, localcontext
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from tests.support.account_data import family, truth
from tests.support.export_task import Task
from tests.support.object_stores import CONNECTION
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.object_stores import Store

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
MERGED, LINKED_AGAIN = BLOCKS["One row per transaction, from batches"]
(PYARROW,) = BLOCKS["pyarrow"]
(PANDAS,) = BLOCKS["pandas"]
(POLARS,) = BLOCKS["Polars"]
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


def by_pyarrow() -> Sums:
    names: dict[str, Any] = {}
    exec(PYARROW, names)
    totals = names["totals"].select(["workspace_id", "accountId", "currency", "amount_sum"]).to_pylist()
    return as_sums([tuple(row.values()) for row in totals])


def by_pandas() -> Sums:
    pytest.importorskip("pandas", reason="pandas is not installed")
    names: dict[str, Any] = {}
    exec(PANDAS, names)
    return as_sums([(*whose, total) for whose, total in names["totals"].items()])


def by_polars() -> Sums:
    pytest.importorskip("polars", reason="polars is not installed")
    names: dict[str, Any] = {}
    exec(POLARS, names)
    return as_sums(names["totals"].rows())


@pytest.mark.parametrize("read", [by_pyarrow, by_pandas, by_polars])
def test_other_readers(task: Task, read: Callable[[], Sums]) -> None:
    assert export(task, file_format="parquet") == read()


@pytest.mark.parametrize(
    ("read", "written"),
    [
        (lambda: as_sums(by_duckdb(PARQUET)), {"file_format": "parquet"}),
        (lambda: as_sums(by_duckdb(MANIFEST_SQL)), {"file_format": "parquet"}),
        (by_pyarrow, {"file_format": "parquet"}),
        (by_pandas, {"file_format": "parquet"}),
        (by_polars, {"file_format": "parquet"}),
        (lambda: as_sums(by_duckdb(CSV)), {"file_format": "csv", "compression": "gzip"}),
        (lambda: as_sums(by_duckdb(JSONL)), {"file_format": "jsonl"}),
    ],
    ids=["duckdb", "manifest", "pyarrow", "pandas", "polars", "csv", "jsonl"],
)
def test_an_id_of_a_workspace_stays_a_text(
    task: Task, tmp_path: Path, read: Callable[[], Sums], written: dict[str, Any]
) -> None:
    expected = export(task, **written)
    for look_alike in ("000{}", "2026-01-0{}", "1e{}"):
        ids = dict(
            zip(sorted({key[0] for key in expected}), map(look_alike.format, range(1, 9)), strict=False)
        )
        for manifest in tmp_path.rglob("_manifest.json"):
            text = manifest.read_text()
            for old, new in ids.items():
                text = text.replace(f"workspace_id={old}/", f"workspace_id={new}/")
            manifest.write_text(text)
        for old, new in ids.items():
            tmp_path.joinpath(f"lake/resource=transactions/workspace_id={old}").rename(
                tmp_path / f"lake/resource=transactions/workspace_id={new}"
            )
        expected = {(ids[key[0]], *key[1:]): total for key, total in expected.items()}
        assert read() == expected


@pytest.mark.parametrize(
    "texts",  # each made DuckDB guess another quote, escape or delimiter
    [
        {"description": "\t'", "category": "\\Fee", "type": "\\\t", "accountName": "'\ta"},
        {"category": "\t'\\'", "reference": "\\\t\\a", "type": "\ta", "bank": "\\'"},
        {"description": "\t\t'", "bank": "\tFee'\ta", "reference": "\\Fee\\Fee"},
    ],
)
def test_texts_do_not_mislead_duckdb(
    banksync_sandbox: BankSyncSandbox, task: Task, texts: dict[str, str]
) -> None:
    banksync_sandbox.faults.add(Fault.edited(**texts), path="/v1/banks/*/accounts/*/transactions")
    expected = export(task, file_format="csv", compression="gzip")
    assert as_sums(by_duckdb(CSV)) == expected
    call = re.search(r"read_csv\(.*?^\)", CSV, re.DOTALL | re.MULTILINE)
    assert call is not None
    # An apostrophe stands before what a spreadsheet takes for a formula.
    cells = tuple(re.sub("^(?='*\t)", "'", text) for text in texts.values())
    assert by_duckdb(f"SELECT DISTINCT {', '.join(texts)} FROM {call[0]}") == [cells]


def test_amounts_sent_as_text(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    for _, _, account in family()[::2]:
        path = f"/v1/banks/*/accounts/{account['id']}/transactions"
        banksync_sandbox.faults.add(Fault.edited(amount="12.50"), path=path)
    for written, codes in (
        ({"file_format": "parquet"}, (PARQUET, MANIFEST_SQL)),
        ({"file_format": "csv", "compression": "gzip"}, (CSV,)),
        ({"file_format": "jsonl"}, (JSONL,)),
    ):
        expected = export(task, **written)
        for code in codes:
            assert as_sums(by_duckdb(code)) == expected
    names: dict[str, Any] = {}
    exec(MANIFEST_PYTHON, names)
    assert names["totals"] == expected


def test_from_an_object_store(
    banksync_sandbox: BankSyncSandbox,
    on_s3: Store,
) -> None:
    task = Task(on_s3.url, arguments={"resource": "transactions", **on_s3.arguments})
    expected = export(task, file_format="parquet")
    summary = task.run(from_date="2026-02-01", to_date="2026-02-28", file_format="parquet")
    names: dict[str, Any] = {}
    exec(IN_A_TASK, names)
    assert as_sums(names["totals"](summary, CONNECTION)) == expected


@pytest.mark.banksync_sandbox(banks="documented")
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


def test_rows_without_an_id_stay(banksync_sandbox: BankSyncSandbox, task: Task) -> None:
    accounts = family()
    for (_, _, account), edit in zip(accounts, ({"id": None}, {"id": ""}, {"id": None}), strict=False):
        edited = Fault.edited(**edit, pendingTransactionId="")
        banksync_sandbox.faults.add(edited, path=f"/v1/banks/*/accounts/{account['id']}/transactions")
    # Some banks keep the id of a pending row when it is posted.
    (*_, one) = accounts[-1]
    path = f"/v1/banks/*/accounts/{one['id']}/transactions"
    banksync_sandbox.faults.add(Fault.edited(id="same", pendingTransactionId="same"), path=path)
    rows = task.run(incremental=True, file_format="parquet")["rows"]
    (in_one,) = by_duckdb(f"SELECT count(*) FROM ({MERGED}) WHERE accountId = '{one['id']}'")
    assert in_one == (1,)
    ((count,),) = by_duckdb(f"SELECT count(*) FROM ({MERGED})")
    there = truth()
    assert count == rows - len(there[next(key for key in there if key[1] == one["id"])]) + 1


def test_an_account_that_was_linked_again_counts_once(task: Task) -> None:
    (_, _, old), *_, (_, _, new) = family()
    task.run(incremental=True, file_format="parquet", account_ids=[old["id"], new["id"]])
    code = LINKED_AGAIN.replace("old-account-id", old["id"]).replace("new-account-id", new["id"])
    found = by_duckdb(f"SELECT accountId, date FROM ({code})")
    rows = {account: each for (_, account), each in truth().items()}
    first = min(row["date"] for row in rows[new["id"]])
    assert [str(day) for account, day in found if account == old["id"]] == [
        row["date"] for row in rows[old["id"]] if row["date"] < first
    ]
    assert sum(account == new["id"] for account, _ in found) == len(rows[new["id"]])


def test_every_block_is_run_but_those_for_spark() -> None:
    assert sum(map(len, BLOCKS.values())) == 13
    assert "The tests do not run these examples" in PAGE.split("## Spark")[1].split("## ")[0]
    assert len(BLOCKS["Spark"]) == 2
