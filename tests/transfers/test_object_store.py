"""Exports to an object store: S3, spoken by a real server, and fsspec's memory as a stand-in for the others."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_banksync.compat import AIRFLOW
from airflow_provider_banksync.export.formats.factory import open_format
from airflow_provider_banksync.export.job import ExportJob
from airflow_provider_banksync.export.settings import ExportSettings
from airflow_provider_banksync.export.storage import folder as folders
from airflow_provider_banksync.export.storage import lock
from airflow_provider_banksync.export.storage.folder import ExportError
from airflow_provider_banksync.export.storage.lock import FolderLock
from airflow_provider_banksync.extract.partition import Partition
from airflow_provider_banksync.extract.rows import RowBatch
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from tests.support.account_data import family, read_accounts, truth
from tests.support.export_task import Task, comparable, plain_name, plain_names
from tests.support.object_stores import CONNECTION, S3, Store, memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.dag_runner import DagRunner

pytestmark = pytest.mark.banksync_sandbox(portals=2, time_scale=0, page_size=20)

MONTH = {"from_date": "2026-02-01", "to_date": "2026-03-02"}
LABEL = "window=2026-02-01_2026-03-02"


@pytest.fixture
def in_memory() -> Iterator[Store]:
    yield from memory()


@pytest.fixture(params=["on_s3", "in_memory"])
def place(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(request.param)


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, place: Store, monkeypatch: pytest.MonkeyPatch) -> Task:
    monkeypatch.setattr(lock, "SETTLE_TIME", 0.01)
    return Task(place.url, arguments={"resource": "transactions", **place.arguments})


def amounts(body: bytes, path: str) -> list[Decimal]:
    """The amounts in a file, whatever its format."""
    if path.endswith(".gz"):
        body = gzip.decompress(body)
    if ".jsonl" in path:
        return [json.loads(line, parse_float=Decimal)["amount"] for line in body.splitlines()]
    if ".csv" in path:
        return [Decimal(row["amount"]) for row in csv.DictReader(io.StringIO(body.decode()))]
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(body)).column("amount").to_pylist()


def sums(objects: dict[str, bytes]) -> dict[tuple[str, str], Decimal]:
    """The sum of each account, by the names of the files."""
    found = Counter[tuple[str, str]]()
    for path, body in objects.items():
        if match := re.search(r"workspace_id=([^/]+)/.*part-[^.]+\.(.+)-\d{5}-[0-9a-f]{12}\.", path):
            found[match[1], match[2]] += sum(amounts(body, path))  # type: ignore[assignment]
    return dict(found)  # type: ignore[arg-type]


def true_sums(**window: str) -> dict[tuple[str, str], Decimal]:
    return {key: sum(Decimal(row["amount"]) for row in rows) for key, rows in truth(**window).items() if rows}


# --- the operator ---


def test_a_listing(banksync_sandbox: BankSyncSandbox, task: Task, place: Store) -> None:
    place.put("resource=banks/notes.txt", b"mine")
    summary = task.run(resource="banks")
    workspaces = {banksync_sandbox.workspace_id, *(portal for portal, _ in banksync_sandbox.portals)}
    files = {f"resource=banks/workspace_id={one}/part-00000.jsonl" for one in workspaces}
    objects = place.objects()
    assert set(plain_names(objects)) == {"resource=banks/_manifest.json", "resource=banks/notes.txt", *files}
    assert summary["manifest"] == f"{place.url}/resource=banks/_manifest.json"
    assert summary["path"] == f"{place.url}/resource=banks"
    for file in place.manifest(summary)["files"]:
        body = objects[f"resource=banks/{file['path']}"]
        assert (len(body), hashlib.sha256(body).hexdigest()) == (file["bytes"], file["sha256"])

    task.run(resource="banks")
    assert comparable(place.objects()) == comparable(objects)

    gone, _ = banksync_sandbox.portals[0]
    banksync_sandbox.delete_portal(gone)
    task.run(resource="banks", file_format="csv")
    left = {f"resource=banks/workspace_id={one}/part-00000.csv" for one in workspaces - {gone}}
    assert set(plain_names(place.objects())) == {
        "resource=banks/_manifest.json",
        "resource=banks/notes.txt",
        f"resource=banks/workspace_id={gone}/part-00000.jsonl",
        *left,
    }


@pytest.mark.parametrize(
    ("file_format", "compression", "extension"),
    [
        ("jsonl", None, "jsonl"),
        ("jsonl", "zstd", None),
        ("csv", "gzip", "csv.gz"),
        ("parquet", None, "parquet"),
    ],
)
def test_a_window(
    task: Task, place: Store, file_format: str, compression: str | None, extension: str | None
) -> None:
    written = {"file_format": file_format, "compression": compression, **MONTH}
    summary = task.run(**written)
    objects = place.objects()
    manifest = place.manifest(summary)
    base = "resource=transactions"
    files = {f"{base}/{file['path']}" for file in manifest["files"]}
    assert set(objects) == {f"{base}/_manifests/{LABEL}/_manifest.json", *files}
    assert {f"{file['path']}: {file['sha256']}" for file in manifest["files"]} == {
        f"{path.removeprefix(f'{base}/')}: {hashlib.sha256(objects[path]).hexdigest()}" for path in files
    }
    if extension is not None:
        assert all(plain_name(path).endswith(f"-00000.{extension}") for path in files)
        assert sums(objects) == true_sums(**MONTH)
    task.run(**written)
    assert comparable(place.objects()) == comparable(objects)


def test_what_is_stale_is_removed(task: Task, place: Store) -> None:
    whole = task.run(**MONTH)
    small = task.run(max_rows_per_file=5, **MONTH)
    assert small["files"] == len(place.objects()) - 1 > whole["files"]
    assert sums(place.objects()) == true_sums(**MONTH)
    task.run(**MONTH)
    assert len(place.objects()) - 1 == whole["files"]
    assert sums(place.objects()) == true_sums(**MONTH)


def test_another_try_reads_what_is_missing(
    banksync_sandbox: BankSyncSandbox, task: Task, place: Store
) -> None:
    undisturbed = task.run(**MONTH)
    expected = comparable(place.objects())
    for key in place.objects():
        place.remove(key)
    *_, bank, _ = family()[-1]
    banksync_sandbox.break_bank(bank["id"])
    with pytest.raises(AirflowFailException, match="sign in again"):
        task.run(**MONTH)
    lost = [account["id"] for _, of, account in family() if of["id"] == bank["id"]]
    assert not [key for key in place.objects() if "part-" in key and any(one in key for one in lost)]
    assert len([key for key in place.objects() if re.search("/_progress/.*/", key)]) == len(family()) - len(
        lost
    )
    banksync_sandbox.mend_bank(bank["id"])
    before = len(banksync_sandbox.requests)
    assert task.run(**MONTH) == undisturbed
    assert read_accounts(banksync_sandbox, before) == dict.fromkeys(lost, 1)
    assert comparable(place.objects()) == expected


def test_what_an_earlier_run_has_of_the_unavailable_is_kept(
    banksync_sandbox: BankSyncSandbox, task: Task, place: Store
) -> None:
    task.run(**MONTH)
    parts = {key: body for key, body in place.objects().items() if "part-" in key}
    bank_id = family()[-1][1]["id"]
    banksync_sandbox.break_bank(bank_id)
    task.run_id = "another"
    summary = task.run(on_unavailable="report", **MONTH)
    assert summary["unavailable"]
    left = {key: body for key, body in place.objects().items() if "part-" in key}
    assert plain_names(left) == plain_names(parts)
    assert {key for key in parts if bank_id in key} == set(parts) & set(left) != set()


def test_a_page_that_fails_leaves_no_part_of_its_account(
    banksync_sandbox: BankSyncSandbox, task: Task, place: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", f"{banksync_sandbox.connection_uri}&max_retries=0")
    account = max(truth(**MONTH).items(), key=lambda pair: len(pair[1]))[0][1]
    path = f"/v1/banks/*/accounts/{account}/transactions"
    for second_page in (2, 4):  # also when the account is tried once more at the end
        banksync_sandbox.faults.add(Fault.status(500, body="html"), path=path, nth=second_page)
    with pytest.raises(AirflowException, match="1 of the accounts or banks could not be read"):
        task.run(**MONTH)
    assert not [key for key in place.objects() if account in key]
    task.run(**MONTH)
    assert sums(place.objects()) == true_sums(**MONTH)


def test_batches(banksync_sandbox: BankSyncSandbox, task: Task, place: Store) -> None:
    hours = itertools.count(1)

    def batch(**arguments: Any) -> dict[str, Any]:
        hour = next(hours)
        task.run_id, task.run_after = f"run {hour}", datetime(2026, 3, 3, hour, tzinfo=timezone.utc)
        return task.run(incremental=True, **arguments)

    first = batch()
    assert first["rows"] == sum(map(len, truth().values())) > 0
    *_, account = family()[0]
    banksync_sandbox.add_transaction(account["id"], "-12.50", "Tea")
    banksync_sandbox.faults.add(Fault.status(401), path="/v1/banks/*/accounts/*/transactions", nth=8)
    with pytest.raises(AirflowFailException, match="401"):
        batch(concurrency=1)
    assert [key for key in place.objects() if "T020000" in key], "a batch without a manifest"
    banksync_sandbox.faults.clear()
    assert batch()["rows"] == 1
    assert batch()["rows"] == 0
    keys = {key.removeprefix("resource=transactions/") for key in place.objects()}
    labels = [f"batch=20260303T0{hour}0000000000Z" for hour in (1, 3, 4)]
    assert {key for key in keys if key.startswith("_")} == {
        f"_manifests/{label}/_manifest.json" for label in labels
    }
    assert {key.split("/")[1] for key in keys if not key.startswith("_")} == set(labels[:2])
    assert sums(place.objects()) == true_sums()


def test_another_writer(task: Task, place: Store) -> None:
    """What a task finds that writes where another one does."""
    base = place.folder("resource=transactions") / f"_manifests/{LABEL}"
    other = FolderLock(base, "another task")
    other.acquire()
    with pytest.raises(AirflowException, match="is being written by another task, last seen at"):
        task.run(**MONTH)
    assert [key for key in place.objects() if "part-" in key] == []
    other.release()
    task.run(**MONTH)
    assert sums(place.objects()) == true_sums(**MONTH)


def test_a_destination_with_a_star_and_brackets(
    banksync_sandbox: BankSyncSandbox, task: Task, place: Store
) -> None:
    inner = f"resource=transactions/_manifests/{LABEL}/_progress"
    for neighbour in ("lake k", "lake* [k]2"):
        place.put(f"{neighbour}/{inner}/x.json", b"mine")
    task.destination = f"{place.url}/lake* [k]"
    task.run(**MONTH)
    keys = set(place.objects())
    assert {f"lake k/{inner}/x.json", f"lake* [k]2/{inner}/x.json"} <= keys
    assert not [key for key in keys if key.startswith(f"lake* [k]/{inner}")]
    ours = {key: body for key, body in place.objects().items() if key.startswith("lake* [k]/")}
    assert sums(ours) == true_sums(**MONTH)


# --- S3 alone ---


def test_a_bucket_that_is_not_there_is_not_made(
    s3: S3, bucket: str, banksync_sandbox: BankSyncSandbox
) -> None:
    task = Task(f"s3://{bucket}/lake", arguments={"resource": "banks", "storage_conn_id": CONNECTION})
    with pytest.raises(AirflowException, match=rf"s3://{bucket}/lake/.* cannot be written: .*bucket"):
        task.run()
    assert bucket not in [each["Name"] for each in s3.client.list_buckets()["Buckets"]]


def test_a_connection_in_the_url(on_s3: Store, bucket: str, banksync_sandbox: BankSyncSandbox) -> None:
    summary = Task(f"s3://{CONNECTION}@{bucket}/data", arguments={"resource": "banks"}).run()
    assert summary["manifest"] == f"s3://{bucket}/data/resource=banks/_manifest.json"
    assert on_s3.manifest(summary)["rows"] == summary["rows"] > 0


@pytest.mark.parametrize("there", ["nobody_s@{}", "{}"])
def test_a_connection_that_is_not_there(
    on_s3: Store, bucket: str, banksync_sandbox: BankSyncSandbox, there: str
) -> None:
    """Airflow's file system of S3 would go on with what credentials it finds."""
    arguments = {"resource": "banks", "storage_conn_id": None if "@" in there else "nobody_s"}
    with pytest.raises(AirflowFailException, match="no connection 'nobody_s', which storage_conn_id or the"):
        Task(f"s3://{there.format(bucket)}/data", arguments=arguments).run()
    assert banksync_sandbox.requests == []


@pytest.mark.skipif(
    AIRFLOW == (3, 0), reason="the dag.test() of Airflow 3.0 takes the outlets of a new DAG for inactive"
)
def test_by_a_real_airflow(
    on_s3: Store, s3: S3, banksync_sandbox: BankSyncSandbox, dag_runner: DagRunner, tmp_path: Path
) -> None:
    dag_file = tmp_path / "lake.py"
    dag_file.write_text(
        f"""
import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

with DAG("lake", schedule=None, start_date=pendulum.datetime(2026, 1, 1)) as dag:
    BankSyncToObjectStorageOperator(
        task_id="export", resource="transactions", scope="family", from_date="2026-02-01", to_date="2026-03-02",
        destination="{on_s3.url}", storage_conn_id="{CONNECTION}", file_format="parquet",
        outlets=[Asset("{on_s3.url}")],
    )
""",
        encoding="utf-8",
    )
    told = dag_runner.run(dag_file, env={"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path)})
    assert told["state"] == "success", told["log"][-6000:]
    assert sums(on_s3.objects()) == true_sums(**MONTH)


def test_a_large_file_goes_in_pieces_and_one_given_up_leaves_nothing(
    on_s3: Store, s3: S3, bucket: str
) -> None:
    folder = on_s3.folder()
    piece = os.urandom(1024 * 1024)
    sink = folder.open("whole")
    for _ in range(20):
        sink.write(piece)
    assert s3.uploads(bucket) == ["data/folder/whole"]
    assert on_s3.objects() == {}
    assert sink._file.buffer.tell() < folders._PART_BYTES
    assert sink.close() == hashlib.sha256(piece * 20).hexdigest()
    assert on_s3.objects() == {"folder/whole": piece * 20}
    assert folder.digest("whole") == hashlib.sha256(piece * 20).hexdigest()

    sink = folder.open("half")
    for _ in range(20):
        sink.write(piece)
    sink.abort()
    del sink
    assert set(on_s3.objects()) == {"folder/whole"}
    assert s3.uploads(bucket) == []


# --- what the export does there ---


def test_a_file_given_up_is_not_there(place: Store) -> None:
    folder = place.folder()
    sink = folder.open("x")
    sink.write(b"half")
    sink.abort()
    del sink
    assert folder.read("x") is None
    assert place.objects() == {}


def test_what_is_not_there(place: Store) -> None:
    folder = place.folder()
    assert folder.names("") == folder.names("below") == []
    assert folder.read("x") is folder.read_json("x") is folder.digest("x") is None
    folder.remove("x")
    folder.remove_all("x")
    folder.remove_all("")


def test_what_others_did_is_seen(place: Store) -> None:
    """Libraries remember listings, and an export asks for what is there now."""
    folder = place.folder()
    folder.write("a/one", b"1")
    assert folder.names("a") == ["one"]
    place.put("folder/a/two", b"2")
    assert folder.names("a") == ["one", "two"]
    assert folder.read("a/two") == b"2"
    place.remove("folder/a/one")
    assert folder.names("a") == ["two"]
    place.put("folder/a/below/three", b"3")
    assert folder.names("a") == ["below", "two"]
    assert folder.names("") == ["a"]
    folder.remove_all("a")
    assert place.objects() == {}
    place.put("folder/a/four", b"4")
    assert folder.names("a") == ["four"]


def test_an_object_that_stands_for_a_folder(on_s3: Store) -> None:
    """Consoles make such ones, of no bytes, when somebody asks for a folder."""
    folder = on_s3.folder()
    on_s3.put("folder/", b"")
    on_s3.put("folder/a/", b"")
    assert folder.names("a") == []
    folder.write("a/one", b"1")
    assert folder.names("a") == ["one"]


def test_one_of_many_takes_the_lock(place: Store) -> None:
    folder = place.folder()
    start = threading.Barrier(8)

    def take(number: int) -> str:
        start.wait()
        try:
            FolderLock(folder, f"task {number}").acquire()
        except ExportError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(8) as pool:
        told = sorted(pool.map(take, range(8)))
    assert told[0] == ""
    assert all(re.search(r"being written by task \d", each) for each in told[1:])


@pytest.mark.parametrize("error", [NotImplementedError, TypeError, OSError])
def test_of_a_store_that_cannot_write_only_what_is_new(
    in_memory: Store, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    folder = in_memory.folder()

    def pipe_file(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(type(folder._fs), "pipe_file", pipe_file)
    assert folder.create("x", b"first")
    assert not folder.create("x", b"second")
    assert folder.read("x") == b"first"
    test_one_of_many_takes_the_lock(in_memory)


def test_an_account_given_up_while_a_thread_writes_it(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SETTLE_TIME", 0.01)
    settings = ExportSettings(manifest_header={}, writer_id="task", max_rows=1)
    run = ExportJob(place.folder(), settings, open_format("jsonl", None, "transactions"))
    run.begin()
    run.plan([partition := Partition("w", bank_id="b", account_id="a")])
    writer = run.open_writer(partition)
    opened, go_on = threading.Event(), threading.Event()
    open_file = run.base.open

    def slow(path: str) -> Any:
        opened.set()
        assert go_on.wait(300)
        return open_file(path)

    monkeypatch.setattr(run.base, "open", slow)
    with ThreadPoolExecutor(2) as pool:
        assert writer.add(RowBatch.from_rows([{"id": "1"}, {"id": "2"}])), "these fill a file"
        writing = pool.submit(writer.flush)
        assert opened.wait(300)
        giving_up = pool.submit(writer.abort)
        go_on.set()
        giving_up.result(300)
        writing.result(300)
    before = place.objects()
    with pytest.raises(ExportError, match="this try has ended"):
        writer.add(RowBatch.from_rows([{"id": "3"}]))
    with pytest.raises(ExportError, match="this try has ended"):
        writer.finish("now")
    assert place.objects() == before
    assert not [key for key in before if re.search("_progress/.*/", key)]
