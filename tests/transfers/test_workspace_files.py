"""``files="workspace"``: one file for each workspace and window, with all promises that files of accounts keep."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.export import __main__ as command
from airflow_provider_banksync.export.formats import ranges
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator
from tests.support.account_data import exported, family, read_accounts, truth, without_empty
from tests.support.export_task import Task, manifest_of, tree
from tests.support.exported_files import parts, read_back

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.object_stores import Store

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0, page_size=20)

MONTH = {"from_date": "2026-02-01", "to_date": "2026-03-02"}
FORMATS = [
    ("jsonl", None),
    ("jsonl", "gzip"),
    ("jsonl", "zstd"),
    ("csv", None),
    ("csv", "gzip"),
    ("csv", "zstd"),
    ("parquet", None),
    ("parquet", "zstd"),
]


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> Task:
    return Task(tmp_path, arguments={"resource": "transactions", "files": "workspace"})


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row["id"]))


def read_all(folder: Path) -> list[dict[str, Any]]:
    return in_order([row for path in parts(folder) for row in read_back(path)])


def assert_sound(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """See that the command finds no problem, that nothing is left over, and that each segment is its account's."""
    assert command.main(["verify", str(folder)]) == 0, capsys.readouterr().out
    assert not [path for path in tree(folder) if "_progress" in path or "_tmp-" in path or "_lock" in path]
    for path in folder.rglob("_manifest.json"):
        manifest = json.loads(path.read_bytes())
        counts = {each["account_id"]: each["rows"] for each in manifest["accounts"]}
        for file in manifest["files"]:
            rows = read_back(path.parent / manifest["base"] / file["path"])
            assert len(rows) == file["rows"]
            for segment in file.get("segments", []):
                own, rows = rows[: segment["rows"]], rows[segment["rows"] :]
                assert {row["accountId"] for row in own} == {segment["account_id"]}
                assert len(own) == segment["rows"] == counts[segment["account_id"]]
            assert not rows or "segments" not in file


@pytest.mark.parametrize(("file_format", "compression"), FORMATS)
def test_one_file_for_each_workspace(
    task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str], file_format: str, compression: str | None
) -> None:
    arguments: dict[str, Any] = {"file_format": file_format, "compression": compression, **MONTH}
    summary = task.run(**arguments)
    other = Task(tmp_path / "accounts", arguments={"resource": "transactions", **arguments})
    by_account = other.run()
    assert read_all(tmp_path / "resource=transactions") == read_all(tmp_path / "accounts")
    assert summary["rows"] == by_account["rows"] > 300
    assert summary["files"] == summary["workspaces"] == 4 < by_account["files"]
    left, right = manifest_of(summary), manifest_of(by_account)
    for account in (*left["accounts"], *right["accounts"]):
        del account["read_at"]
        account.pop("cursor", None)
    assert left["accounts"] == right["accounts"]
    assert_sound(tmp_path / "resource=transactions", capsys)


def test_row_groups_do_not_get_small(task: Task, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    task.run(file_format="parquet", **MONTH)
    for path in parts(tmp_path):
        assert pq.ParquetFile(path).metadata.num_row_groups == 1


@pytest.mark.parametrize(
    ("file_format", "compression"), [("csv", "gzip"), ("jsonl", None), ("parquet", None)]
)
def test_a_retry_resumes(
    banksync_sandbox: BankSyncSandbox,
    task: Task,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file_format: str,
    compression: str | None,
) -> None:
    arguments: dict[str, Any] = {"file_format": file_format, "compression": compression, **MONTH}
    Task(tmp_path / "undisturbed", arguments={**task.arguments, **arguments}).run()
    asked = len(banksync_sandbox.requests)
    rule = banksync_sandbox.faults.add(Fault.status(401), path="/v1/banks/*/accounts/*/transactions", nth=9)
    with pytest.raises(AirflowFailException, match="401"):
        task.run(concurrency=1, **arguments)
    assert rule.hits
    assert not parts(tmp_path / "resource=transactions"), "no part before all accounts are read"
    first = set(read_accounts(banksync_sandbox, asked))
    banksync_sandbox.faults.clear()
    asked = len(banksync_sandbox.requests)
    task.run(**arguments)
    assert len(first & set(read_accounts(banksync_sandbox, asked))) <= 1
    left, right = (
        [path.read_bytes() for path in parts(folder)]
        for folder in (tmp_path / "resource=transactions", tmp_path / "undisturbed")
    )
    assert left == right, "to the byte"
    assert_sound(tmp_path / "resource=transactions", capsys)


@pytest.mark.parametrize(
    ("file_format", "compression"), [("csv", "zstd"), ("jsonl", None), ("parquet", "gzip")]
)
def test_what_was_unavailable_comes_with_a_second_file(
    banksync_sandbox: BankSyncSandbox,
    task: Task,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file_format: str,
    compression: str | None,
) -> None:
    arguments: dict[str, Any] = {"file_format": file_format, "compression": compression, **MONTH}
    workspace, bank, _ = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    with pytest.raises(AirflowFailException, match="sign in"):
        task.run(**arguments)
    assert [path for path in tree(tmp_path) if "_progress" in path and path.count("/") > 4] == [], (
        "no copies of what is committed"
    )
    before = {path.name for path in parts(tmp_path)}
    banksync_sandbox.mend_bank(bank["id"])
    asked = len(banksync_sandbox.requests)
    summary = task.run(**arguments)
    read = read_accounts(banksync_sandbox, asked)
    assert set(read) == {account["id"] for _, of, account in family() if of["id"] == bank["id"]}
    now = parts(tmp_path)
    assert before < {path.name for path in now}
    assert {path.parts[-3] for path in now if path.name not in before} == {f"workspace_id={workspace}"}
    assert summary["rows"] == sum(map(len, truth(**MONTH).values())) == len(read_all(tmp_path))
    assert_sound(tmp_path, capsys)


def test_a_retry_of_a_retry_resumes_both(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    banks = sorted({bank["id"] for _, bank, _ in family()})[:2]
    for bank in banks:
        banksync_sandbox.break_bank(bank)
    with pytest.raises(AirflowFailException):
        task.run(**MONTH)
    for bank in banks:
        banksync_sandbox.mend_bank(bank)
    banksync_sandbox.faults.add(Fault.status(401), path="/v1/banks/*/accounts/*/transactions", nth=6)
    with pytest.raises(AirflowFailException, match="401"):
        task.run(concurrency=1, **MONTH)
    banksync_sandbox.faults.clear()
    asked = len(banksync_sandbox.requests)
    task.run(**MONTH)
    wanted = [account["id"] for _, of, account in family() if of["id"] in banks]
    assert 0 < len(read_accounts(banksync_sandbox, asked)) < len(wanted)
    assert exported(tmp_path) == without_empty(truth(**MONTH))


@pytest.mark.parametrize(("file_format", "compression"), FORMATS)
def test_one_account_again_keeps_the_rows_of_the_others(
    banksync_sandbox: BankSyncSandbox,
    task: Task,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    file_format: str,
    compression: str | None,
) -> None:
    monkeypatch.setattr(ranges, "_CHUNK", 1000)  # several reads for each range
    arguments: dict[str, Any] = {"file_format": file_format, "compression": compression, **MONTH}
    task.run(**arguments)
    before = set(parts(tmp_path))
    rows = len(read_all(tmp_path))
    *_, account = family()[1]
    banksync_sandbox.add_transaction(account["id"], "-12.50", "Tea", day=date(2026, 2, 11))
    task.run_id = "another"
    summary = task.run(account_ids=[account["id"]], **arguments)
    assert (summary["rows"], summary["files"]) == (rows + 1, 5)
    assert len(before.intersection(parts(tmp_path))) == 3, "three workspaces have what they had"
    assert len(read_all(tmp_path)) == rows + 1
    assert_sound(tmp_path, capsys)
    # And once more: a file that was copied is copied again.
    *_, account = family()[0]
    task.run(account_ids=[account["id"]], **arguments)
    assert len(read_all(tmp_path)) == rows + 1
    assert_sound(tmp_path, capsys)


def test_what_an_earlier_run_has_of_the_unavailable_is_kept(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Task(tmp_path, arguments={"resource": "balances", "files": "workspace"})
    task.run()
    before = exported(tmp_path)
    *_, bank, account = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    for run in ("second", "third"):
        task.run_id = run
        summary = task.run(on_unavailable="report")
        assert {key: len(rows) for key, rows in exported(tmp_path).items()} == {
            key: len(rows) for key, rows in before.items()
        }
        kept = [entry for entry in manifest_of(summary)["accounts"] if entry.get("carried_over")]
        assert account["id"] in {entry["account_id"] for entry in kept}
    assert command.main(["verify", str(tmp_path)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("first", ["account", "workspace"])
def test_another_layout_and_another_format(
    banksync_sandbox: BankSyncSandbox,
    task: Task,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    first: str,
) -> None:
    second = "account" if first == "workspace" else "workspace"
    expected = truth(**MONTH)
    task.run(files=first, file_format="csv", **MONTH)
    *_, account = family()[0]
    task.run_id = "another"
    task.run(files=second, file_format="parquet", account_ids=[account["id"]], **MONTH)
    assert len(read_all(tmp_path)) == sum(map(len, expected.values()))
    assert {path.suffix for path in parts(tmp_path)} == {".csv", ".parquet"}
    assert_sound(tmp_path, capsys)
    task.run(files=second, **MONTH)
    assert exported(tmp_path) == without_empty(expected)
    assert {path.suffix for path in parts(tmp_path)} == {".jsonl"}
    assert_sound(tmp_path, capsys)


def test_a_file_that_is_damaged_is_not_copied(task: Task, tmp_path: Path) -> None:
    task.run(**MONTH)
    workspace, _, account = family()[0]
    (path,) = [path for path in parts(tmp_path) if workspace in str(path)]
    body = path.read_bytes()
    path.write_bytes(body.replace(b"-", b"+", 1))
    before = tree(tmp_path)
    task.run_id = "another"
    with pytest.raises(AirflowFailException, match="differs from what the manifest says") as caught:
        task.run(account_ids=[account["id"]], **MONTH)
    assert "Nothing was changed" in str(caught.value)
    assert before.items() <= tree(tmp_path).items()


def test_what_somebody_removed_between_two_tries_is_read_again(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    *_, bank, _ = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    with pytest.raises(AirflowFailException):
        task.run(**MONTH)
    banksync_sandbox.mend_bank(bank["id"])
    gone, cut, *_ = parts(tmp_path)
    gone.unlink()
    cut.write_bytes(b"{")
    task.run(**MONTH)
    assert exported(tmp_path) == without_empty(truth(**MONTH))


def test_batches(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task.arguments["incremental"] = True
    *_, bank, account = family()[-1]

    def batch(number: int, **arguments: Any) -> dict[str, Any]:
        task.run_id = f"run {number}"
        task.run_after = datetime(2026, 3, 3, number, tzinfo=timezone.utc)
        return task.run(**arguments)

    banksync_sandbox.break_bank(bank["id"])
    batch(1, on_unavailable="report")
    banksync_sandbox.mend_bank(bank["id"])
    batch(1)
    assert exported(tmp_path) == without_empty(truth())
    banksync_sandbox.add_transaction(account["id"], "-12.50", "Tea")
    summary = batch(2)
    assert (summary["rows"], summary["files"]) == (1, 1)
    # A part of a complete batch is read again, and the rest of its file stays.
    assert batch(2, full_refresh=True, account_ids=[family()[0][2]["id"]])["rows"] > 1
    assert batch(3)["rows"] == 0
    path = next(path for path in parts(tmp_path) if "T010000" in str(path))
    assert path.exists()
    assert_sound(tmp_path, capsys)


def test_a_damaged_file_of_a_batch_costs_each_of_its_accounts(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path
) -> None:
    task.arguments["incremental"] = True
    task.run_after = datetime(2026, 3, 3, 1, tzinfo=timezone.utc)
    task.run()
    workspace = family()[0][0]
    (path,) = [path for path in parts(tmp_path) if workspace in str(path)]
    path.unlink()
    task.run_id, task.run_after = "run 2", datetime(2026, 3, 3, 2, tzinfo=timezone.utc)
    task.run()
    assert exported(tmp_path) == without_empty(truth())


def test_what_the_family_takes_over_of_one_workspace_stays(
    banksync_sandbox: BankSyncSandbox, task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = truth(**MONTH)
    workspace, _, account = family()[-1]
    task.run(scope="self", workspace_id=workspace, **MONTH)
    task.run(account_ids=[account["id"]], **MONTH)
    assert exported(tmp_path) == without_empty(
        {key: rows for key, rows in expected.items() if key[0] == workspace}
    )
    assert_sound(tmp_path, capsys)


def test_a_disk_that_is_full_leaves_the_manifest_and_its_files(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task.run(**MONTH)
    before = {
        path: body for path, body in tree(tmp_path).items() if "/part-" in path or "/_manifest." in path
    }
    task.run_id = "another"

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("airflow_provider_banksync.export.workspace_files.copy_ranges", fail)
        with pytest.raises(AirflowException, match="No space left on device"):
            task.run(**MONTH)
    after = {path: body for path, body in tree(tmp_path).items() if "/part-" in path or "/_manifest." in path}
    assert after == before
    task.run(**MONTH)
    assert exported(tmp_path) == without_empty(truth(**MONTH))
    assert_sound(tmp_path, capsys)


def test_on_s3(banksync_sandbox: BankSyncSandbox, on_s3: Store) -> None:
    task = Task(
        on_s3.url,
        arguments={"resource": "transactions", "files": "workspace", **on_s3.arguments, **MONTH},
    )
    *_, bank, _ = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    with pytest.raises(AirflowFailException):
        task.run(file_format="parquet")
    banksync_sandbox.mend_bank(bank["id"])
    task.run(file_format="parquet")
    task.run_id = "another"
    task.run(file_format="parquet", account_ids=[family()[0][2]["id"]])
    objects = on_s3.objects()
    (manifest,) = (json.loads(body) for key, body in objects.items() if key.endswith("_manifest.json"))
    import pyarrow.parquet as pq

    rows = [
        row
        for key, body in objects.items()
        if "/part-" in key
        for row in pq.read_table(pa.BufferReader(body)).to_pylist()
    ]
    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids)) == manifest["rows"] == sum(map(len, truth(**MONTH).values()))
    assert {f"resource=transactions/{file['path']}" for file in manifest["files"]} == {
        key for key in objects if "/part-" in key
    }
    assert not [key for key in objects if "_progress" in key or "_lock" in key]


def test_listings_have_one_file_for_each_workspace_anyway(task: Task, tmp_path: Path) -> None:
    summary = task.run(resource="banks")
    assert summary["files"] == summary["workspaces"] == 4
    assert "segments" not in manifest_of(summary)["files"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"files": "workspaces"}, "files must be one of account, workspace"),
        (
            {"files": "workspace", "max_rows_per_file": 10},
            'max_rows_per_file cannot be used with files="workspace"',
        ),
    ],
)
def test_what_cannot_be_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BankSyncConfigError, match=message):
        BankSyncToObjectStorageOperator(
            task_id="export", resource="transactions", destination="/lake", **arguments
        )
