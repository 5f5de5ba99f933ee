"""A Delta Lake table on an object store, with Airflow's connection."""

from __future__ import annotations

import itertools
import json
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from deltalake import DeltaTable

from airflow_provider_banksync.tasks.delta_table import open_delta_table
from airflow_provider_banksync.transfers.delta_lake import BankSyncToDeltaLakeOperator
from tests.support.ledger_task import NOW, LedgerRun, api_rows, by_key, delta_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=2, time_scale=0, page_size=500, now=NOW)

SINCE = "2026-01-15"
SECRET = "nothing-of-this-is-secret"
CONNECTION = "books_store"
BUCKETS = itertools.count(1)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 server in a process of its own: deltalake holds Python's lock while it waits for an answer."""
    pytest.importorskip("flask_cors", reason="flask_cors is not installed")
    code = (
        "import sys; from moto.server import ThreadedMotoServer; "
        "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False); server.start(); "
        "print('http://%s:%d' % server.get_host_and_port(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.kill()


@pytest.fixture
def client(endpoint: str) -> Iterator[Any]:
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="nobody",
        aws_secret_access_key=SECRET,
    )
    yield client
    client.close()


@pytest.fixture
def uri(endpoint: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    extra = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "nobody", "password": SECRET, "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(connection))
    bucket = f"books-{next(BUCKETS)}"
    client.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/books/transactions"


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, uri: str) -> LedgerRun:
    where = {"table_uri": uri, "storage_conn_id": CONNECTION}
    return LedgerRun(BankSyncToDeltaLakeOperator, where, {"from_date": SINCE})


def options(uri: str) -> dict[str, str]:
    return open_delta_table(uri, CONNECTION, "transactions")._options


def test_the_table_equals_the_api(task: LedgerRun, uri: str) -> None:
    task.run()
    DeltaTable(uri, storage_options=options(uri)).update(
        predicate="date >= '2026-02-20'", updates={"description": "'another'"}
    )

    summary = task.run()

    assert summary["rows_updated"]
    assert by_key(delta_rows(uri, storage_options=options(uri))) == api_rows(from_date=SINCE)


def test_two_runs_at_once_end_in_the_right_table(task: LedgerRun, uri: str) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            LedgerRun(BankSyncToDeltaLakeOperator, task.where, task.arguments).run()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
    assert by_key(delta_rows(uri, storage_options=options(uri))) == api_rows(from_date=SINCE)


def test_no_secret_is_in_the_log_the_summary_or_the_table(
    task: LedgerRun,
    uri: str,
    client: Any,
    banksync_sandbox: BankSyncSandbox,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bucket = uri.split("/")[2]
    caplog.set_level(logging.DEBUG)
    summary = task.run()
    found = {
        "log": caplog.text.encode(),
        "output": "".join(capfd.readouterr()).encode(),
        "summary": repr(summary).encode(),
        "operator": repr(vars(task.operator)).encode(),
        **{
            each["Key"]: client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
            for each in client.list_objects_v2(Bucket=bucket)["Contents"]
        },
    }

    secrets = [banksync_sandbox.api_key.encode(), SECRET.encode()]
    assert [name for name, text in found.items() if any(secret in text for secret in secrets)] == []
    assert any("_delta_log" in name for name in found)


def test_a_bucket_that_does_not_exist_is_named(task: LedgerRun, banksync_sandbox: BankSyncSandbox) -> None:
    before = len(banksync_sandbox.requests)
    where: dict[str, Any] = {**task.where, "table_uri": "s3://no-such-bucket/books"}

    with pytest.raises(
        AirflowException, match=r"s3://no-such-bucket/books could not be read or written"
    ) as caught:
        LedgerRun(BankSyncToDeltaLakeOperator, where, task.arguments).run()

    assert SECRET not in str(caught.value)
    assert len(banksync_sandbox.requests) == before
