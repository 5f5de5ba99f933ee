"""Locks, records of tries and checkpoints that were damaged, or that a newer version wrote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from tests.support.account_data import exported, family, read_accounts, truth, without_empty
from tests.support.export_task import Task, tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

    Damage = Callable[[bytes], bytes]

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0)
MONTH = {"from_date": "2026-02-01", "to_date": "2026-03-02"}


def with_fields(**fields: Any) -> Damage:
    """Return a damage that changes fields and leaves the rest."""
    return lambda body: json.dumps({**json.loads(body), **fields}).encode()


def without(field: str) -> Damage:
    return lambda body: json.dumps(
        {name: value for name, value in json.loads(body).items() if name != field}
    ).encode()


#: What can happen to any JSON file.
ANY: dict[str, Damage] = {
    "half": lambda body: body[: len(body) // 2],
    "one byte less": lambda body: body[:-1],
    "zeros": lambda body: bytes(len(body)),
    "binary": lambda _: b"\x80\x04\x95\xff\xfe",
    "null": lambda _: b"null",
    "number": lambda _: b"3",
    "text": lambda _: b'"text"',
    "list": lambda _: b"[]",
    "object": lambda _: b"{}",
    "deep": lambda _: b"[" * 100_000,
    "long number": lambda _: b"9" * 10_000,
}
LOCKS: dict[str, Damage] = {
    **ANY,
    "newer": with_fields(format_version=2),
    "version is true": with_fields(format_version=True),
    "no writer": without("writer"),
    "writer": with_fields(writer=["a"]),
    "token": with_fields(token=None),
    "seen is a text": with_fields(seen="noon"),
    "seen is true": with_fields(seen=True),
    "seen is not a number": with_fields(seen=float("nan")),
    "seen is infinite": with_fields(seen=float("inf")),
    "seen is in another age": with_fields(seen=1e300),
    "seen is negative": with_fields(seen=-1e300),
}
RECORDS: dict[str, Damage] = {
    **ANY,
    "newer": with_fields(format_version=2),
    "writer": with_fields(writer="another task"),
    "no checksum": without("checksum"),
    "superseded": with_fields(superseded=["part-00000-0123456789ab.jsonl"]),
    "folders": with_fields(folders=["../other"]),
    "adopted": with_fields(adopted=["../notes.txt"]),
}
CHECKPOINTS: dict[str, Damage] = {
    **ANY,
    "empty": lambda _: b"",
    "newer": with_fields(invented="later"),
    "no checksum": without("checksum"),
    "partition": with_fields(partition=None),
    "files": with_fields(files=[{"path": 3, "rows": 1, "bytes": 1, "sha256": ""}]),
    "no files": with_fields(files=[]),
    "cursor": with_fields(cursor="elsewhere"),
    "counts": with_fields(counts=3),
}


@pytest.fixture
def broken(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> Task:
    """An export whose first try ended with one bank left to read."""
    task = Task(tmp_path, arguments={"resource": "transactions", **MONTH})
    bank = family()[-1][1]["id"]
    banksync_sandbox.break_bank(bank)
    with pytest.raises(AirflowFailException, match="sign in again"):
        task.run()
    banksync_sandbox.mend_bank(bank)
    return task


def damage(path: Path, how: Damage) -> bytes:
    good = path.read_bytes()
    path.write_bytes(how(good))
    return good


@pytest.mark.parametrize("how", LOCKS)
def test_a_lock(banksync_sandbox: BankSyncSandbox, tmp_path: Path, how: str) -> None:
    path = tmp_path / "resource=banks/_lock.json"
    path.parent.mkdir()
    lock = {"format_version": 1, "writer": "another task", "token": "t", "seen": 0.0}
    path.write_bytes(json.dumps(lock).encode())
    damage(path, LOCKS[how])
    before = tree(tmp_path)
    with pytest.raises(
        AirflowFailException, match=f"{path} is damaged, or a newer version .* remove the file"
    ):
        Task(tmp_path).run(resource="banks")
    assert tree(tmp_path) == before
    path.unlink()
    Task(tmp_path).run(resource="banks")


@pytest.mark.parametrize("how", RECORDS)
def test_a_record_of_a_try(broken: Task, tmp_path: Path, how: str) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (path,) = tmp_path.rglob("_progress/*.json")
    good = damage(path, RECORDS[how])
    before = tree(tmp_path)
    with pytest.raises(AirflowFailException, match=f"{path}, the record of an earlier try, is damaged"):
        broken.run()
    assert tree(tmp_path) == before
    path.write_bytes(good)
    broken.run()
    assert exported(tmp_path) == without_empty(truth(**MONTH))
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("how", CHECKPOINTS)
def test_a_checkpoint_is_read_again(
    banksync_sandbox: BankSyncSandbox, broken: Task, tmp_path: Path, how: str
) -> None:
    checkpoints = sorted(tmp_path.rglob("_progress/*/*.json"))
    account = json.loads(checkpoints[0].read_bytes())["partition"]["account_id"]
    damage(checkpoints[0], CHECKPOINTS[how])
    before = len(banksync_sandbox.requests)
    broken.run()
    left = {each["id"] for _, bank, each in family() if bank["id"] == family()[-1][1]["id"]}
    assert read_accounts(banksync_sandbox, before) == dict.fromkeys({account, *left}, 1)
    assert exported(tmp_path) == without_empty(truth(**MONTH))
    assert not list(tmp_path.rglob("_progress"))
