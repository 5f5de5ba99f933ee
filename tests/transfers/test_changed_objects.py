"""Objects whose content was changed, but not their size: the ETag of the store tells."""

from __future__ import annotations

import itertools
import json
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_banksync.export.__main__ import main
from airflow_provider_banksync.export.storage import lock
from airflow_provider_banksync.export.storage.folder import FileStat
from tests.support.account_data import family, read_accounts, truth
from tests.support.export_task import Task, record_warnings

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.support.object_stores import S3, Store

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0)
MONTH = {"from_date": "2026-02-01", "to_date": "2026-03-02"}


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, on_s3: Store, monkeypatch: pytest.MonkeyPatch) -> Task:
    monkeypatch.setattr(lock, "SETTLE_TIME", 0.01)
    return Task(on_s3.url, arguments={"resource": "transactions", **on_s3.arguments})


def part_of(store: Store, account: dict[str, Any]) -> str:
    (key,) = [key for key in store.objects() if account["id"] in key and "/part-" in key]
    return key


def change_a_byte(store: Store, key: str) -> bytes:
    body = store.objects()[key]
    changed = body[:-3] + bytes([body[-3] ^ 1]) + body[-2:]
    store.put(key, changed)
    return body


def upload_in_parts(s3: S3, bucket: str, key: str, body: bytes) -> None:
    """Write an object as a copy tool writes it: the content is the same, and the ETag is another."""
    where = {"Bucket": bucket, "Key": f"data/{key}"}
    upload = s3.client.create_multipart_upload(**where)["UploadId"]
    etag = s3.client.upload_part(**where, UploadId=upload, PartNumber=1, Body=body)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)


def test_a_retry_reads_an_account_again(
    banksync_sandbox: BankSyncSandbox,
    s3: S3,
    on_s3: Store,
    bucket: str,
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warnings = record_warnings(monkeypatch)
    *others, (_, broken, _) = family()
    kept = [
        account
        for at, of, account in others
        if of["id"] != broken["id"] and truth(**MONTH)[at, account["id"]]
    ]
    banksync_sandbox.break_bank(broken["id"])
    with pytest.raises(AirflowFailException, match="sign in again"):
        task.run(**MONTH)
    changed, copied = kept[:2]
    change_a_byte(on_s3, part_of(on_s3, changed))
    copy = part_of(on_s3, copied)
    upload_in_parts(s3, bucket, copy, on_s3.objects()[copy])
    banksync_sandbox.mend_bank(broken["id"])
    before = len(banksync_sandbox.requests)
    task.run(**MONTH)
    read = read_accounts(banksync_sandbox, before)
    lost = [account["id"] for _, of, account in family() if of["id"] == broken["id"]]
    assert read == dict.fromkeys([changed["id"], *lost], 1)
    assert [text for text in warnings if "is missing or was changed. It is read again." in text]
    assert main(verify_of(s3, on_s3)) == 0


def verify_of(s3: S3, store: Store, *more: str) -> list[str]:
    options = {"endpoint_url": s3.endpoint, "key": "nobody", "secret": "nothing"}
    pairs = (("--option", f"{name}={value}") for name, value in options.items())
    return ["verify", store.url, *itertools.chain(*pairs), *more]


def test_a_batch_reads_an_account_again(
    banksync_sandbox: BankSyncSandbox, on_s3: Store, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = itertools.count(1)

    def batch() -> dict[str, Any]:
        hour = next(hours)
        task.run_id, task.run_after = f"run {hour}", datetime(2026, 3, 3, hour, tzinfo=timezone.utc)
        return task.run(incremental=True)

    batch()
    warnings = record_warnings(monkeypatch)
    workspace, _, account = next(each for each in family() if truth()[each[0], each[2]["id"]])
    key = part_of(on_s3, account)
    change_a_byte(on_s3, key)
    assert batch()["rows"] == len(truth()[workspace, account["id"]])
    (warning,) = [text for text in warnings if "is not as the manifest of" in text]
    assert account["id"] in warning


def test_a_run_that_does_not_read_the_account_refuses_it(
    s3: S3, on_s3: Store, bucket: str, task: Task
) -> None:
    task.run(**MONTH)
    (one, other) = [account for at, _, account in family() if truth(**MONTH)[at, account["id"]]][:2]
    key = part_of(on_s3, one)
    body = change_a_byte(on_s3, key)
    before = on_s3.objects()
    task.run_id = "another"
    with pytest.raises(
        AirflowFailException, match=r"cannot be kept, because a file is missing or is not as the manifest"
    ):
        task.run(account_ids=[other["id"]], **MONTH)
    assert on_s3.objects() == before
    upload_in_parts(s3, bucket, key, body)
    task.run(account_ids=[other["id"]], **MONTH)


def test_verify_reads_only_what_has_another_etag(
    s3: S3, on_s3: Store, bucket: str, task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = task.run(**MONTH)
    assert all(file["etag"] for file in on_s3.manifest(summary)["files"])
    (one, other) = [account for at, _, account in family() if truth(**MONTH)[at, account["id"]]][:2]
    changed, copied = part_of(on_s3, one), part_of(on_s3, other)
    change_a_byte(on_s3, changed)
    upload_in_parts(s3, bucket, copied, on_s3.objects()[copied])
    assert main(verify_of(s3, on_s3, "--sizes-only")) == 1
    assert re.findall(r"^other content: (\S+) ", capsys.readouterr().out, re.MULTILINE) == [changed]


def test_on_a_disk_there_are_no_etags(banksync_sandbox: BankSyncSandbox, tmp_path: Any) -> None:
    Task(tmp_path).run(resource="banks")
    manifest = json.loads((tmp_path / "resource=banks/_manifest.json").read_bytes())
    assert not any("etag" in file for file in manifest["files"])


@pytest.mark.parametrize(
    ("info", "etag"),
    [
        ({"size": 3, "ETag": '"a"'}, '"a"'),
        ({"size": 3, "etag": '"0x8"'}, '"0x8"'),
        ({"size": 3, "etag": "CJ=", "md5Hash": "kAFQ"}, "kAFQ"),
        ({"size": 3, "etag": None}, None),
        ({"size": 3}, None),
    ],
    ids=["S3", "Azure", "Google", "none", "disk"],
)
def test_what_libraries_call_an_etag(info: dict[str, Any], etag: str | None) -> None:
    assert FileStat.from_info(info) == FileStat(3, etag)
