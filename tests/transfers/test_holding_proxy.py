"""The proxy that holds requests back: in front of S3 and of the sandbox."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.export_task import Task
from tests.support.holding_proxy import HoldingProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.support.object_stores import S3, Store

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0)


@pytest.fixture
def to_s3(s3: S3) -> Iterator[HoldingProxy]:
    with HoldingProxy(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def to_sandbox(banksync_sandbox: BankSyncSandbox) -> Iterator[HoldingProxy]:
    with HoldingProxy(banksync_sandbox.url) as proxy:
        yield proxy


def impatient(proxy: HoldingProxy) -> Any:
    """Return an S3 client that gives up after a moment, and does not try again."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=proxy.url,
        region_name="us-east-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
        config=Config(read_timeout=0.3, retries={"total_max_attempts": 1}),
    )


def start_sync(sandbox: BankSyncSandbox) -> tuple[str, dict[str, str]]:
    """Return path and headers of the POST that starts a sync."""
    feed = sandbox.world.feeds(sandbox.world.parent)[0].id
    return f"/v1/feeds/{feed}/sync", {"X-API-Key": sandbox.api_key, "User-Agent": "tests/1.0"}


def test_a_put_arrives_after_its_client_has_given_up(to_s3: HoldingProxy, s3: S3, on_s3: Store) -> None:
    from botocore.exceptions import ReadTimeoutError

    bucket = on_s3.url.split("/")[2]
    held = to_s3.hold("PUT", "/part-")
    with pytest.raises(ReadTimeoutError):
        impatient(to_s3).put_object(Bucket=bucket, Key="data/part-1", Body=b"old")
    held.wait_until_here()
    on_s3.put("part-1", b"new")
    assert on_s3.objects() == {"part-1": b"new"}
    assert held.release() == 200
    assert on_s3.objects() == {"part-1": b"old"}
    impatient(to_s3).put_object(Bucket=bucket, Key="data/part-1", Body=b"newest")
    assert on_s3.objects() == {"part-1": b"newest"}


def test_a_request_is_late_and_others_are_not(to_sandbox: HoldingProxy) -> None:
    held = to_sandbox.hold("GET", "/v1/whoami", seconds=0.2)
    began = time.monotonic()
    agent = {"User-Agent": "tests/1.0"}
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{to_sandbox.url}/v1/whoami", headers=agent, timeout=0.05)
    assert requests.get(f"{to_sandbox.url}/v1/whoami", headers=agent, timeout=60).status_code == 401
    assert held.wait_until_answered() == 401
    assert time.monotonic() - began >= 0.2
    assert to_sandbox.seen == [("GET", "/v1/whoami")] * 2


def test_a_post_arrives_after_its_client_was_killed(
    to_sandbox: HoldingProxy, banksync_sandbox: BankSyncSandbox
) -> None:
    path, headers = start_sync(banksync_sandbox)
    held = to_sandbox.hold("POST", "/sync$")
    parts = urlsplit(to_sandbox.url)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 0\r\n\r\n".encode())
    held.wait_until_here()
    assert banksync_sandbox.jobs == []
    assert held.release() == 201
    assert len(banksync_sandbox.jobs) == 1


def test_only_the_answer_is_held_back(to_sandbox: HoldingProxy, banksync_sandbox: BankSyncSandbox) -> None:
    path, headers = start_sync(banksync_sandbox)
    held = to_sandbox.hold("POST", "/sync$", answer_only=True)
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{to_sandbox.url}{path}", headers=headers, timeout=0.1)
    assert held.wait_until_answered() == 201
    assert len(banksync_sandbox.jobs) == 1


def test_a_dropped_request_never_arrives(to_sandbox: HoldingProxy, banksync_sandbox: BankSyncSandbox) -> None:
    path, headers = start_sync(banksync_sandbox)
    held = to_sandbox.hold("POST", "/sync$")
    held.drop()
    with pytest.raises(requests.ConnectionError):
        requests.post(f"{to_sandbox.url}{path}", headers=headers, timeout=60)
    assert held.wait_until_answered() is None
    assert banksync_sandbox.jobs == []


def test_an_export_through_the_proxy(
    banksync_sandbox: BankSyncSandbox,
    to_s3: HoldingProxy,
    s3: S3,
    on_s3: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = "through_the_proxy"  # Airflow remembers the file system of a connection
    monkeypatch.setenv(f"AIRFLOW_CONN_{slow.upper()}", s3.connection(to_s3.url))
    held = to_s3.hold("PUT", "/_manifest", seconds=0.1)
    summary = Task(on_s3.url, arguments={"resource": "banks", "storage_conn_id": slow}).run()
    assert held.wait_until_answered() == 200
    files = {f"resource=banks/{file['path']}" for file in on_s3.manifest(summary)["files"]}
    assert set(on_s3.objects()) == {"resource=banks/_manifest.json", *files}
    assert {method for method, _ in to_s3.seen} >= {"GET", "PUT"}
