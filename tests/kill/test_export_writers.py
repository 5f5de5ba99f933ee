"""Two processes that write the same export: one is refused, or finds out in time, and the files are what one wrote."""

from __future__ import annotations

import hashlib
import json
import signal
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.export.storage.layout import LOCK
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from tests.support.export_task import Task, tree
from tests.support.killed_export import Moment, Try, run
from tests.support.real_airflow import wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.banksync_sandbox(
        portals=3, page_size=10, time_scale=0, now=datetime(2026, 3, 3, tzinfo=timezone.utc)
    ),
]
CONTROL = "resource=transactions/_manifests/window=2026-02-01_2026-02-28"
ARGUMENTS: dict[str, Any] = {
    "resource": "transactions",
    "from_date": "2026-02-01",
    "to_date": "2026-02-28",
    "max_rows_per_file": 8,
    "concurrency": 4,
}


def task(folder: Path, run_id: str = "run") -> Task:
    return Task(folder, run_id, arguments=ARGUMENTS)


def consistent(folder: Path) -> dict[str, bytes]:
    """See that there is what the manifest lists, as it says, and nothing else; return all files."""
    found = tree(folder)
    manifest = json.loads(found[f"{CONTROL}/_manifest.json"])
    listed = {f"resource=transactions/{file['path']}": file for file in manifest["files"]}
    assert set(found) == {f"{CONTROL}/_manifest.json", *listed}
    for path, file in listed.items():
        body = found[path]
        assert (len(body), hashlib.sha256(body).hexdigest()) == (file["bytes"], file["sha256"]), path
    assert manifest["rows"] == sum(body.count(b"\n") for path, body in found.items() if "part-" in path) > 50
    return found


def add_rows(sandbox: BankSyncSandbox) -> None:
    """Give every account other rows, so that rows read from now on differ from rows read before."""
    for workspace in sandbox.world.family():
        for account in sandbox.world.workspace_accounts(workspace):
            sandbox.add_transaction(account.id, -100, day=datetime(2026, 2, 14).date())  # noqa: DTZ001


def test_two_tasks_at_once(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    banksync_sandbox.faults.add(Fault.latency(0.05), path="/v1/banks/**")
    tries = [Try(task(tmp_path, run_id), banksync_sandbox.connection_uri) for run_id in ("one", "two")]
    ended = [each.end() for each in tries]
    (refused,) = [told for told in ended if isinstance(told, str)]
    assert "is being written by lake.export of " in refused
    assert "Retry when that task has ended" in refused
    consistent(tmp_path)


def test_two_tasks_take_over_from_a_dead_one_at_once(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    Try(task(tmp_path, "dead"), banksync_sandbox.connection_uri, Moment("rename .*_progress", 5)).end()
    path = tmp_path / CONTROL / LOCK
    path.write_text(json.dumps({**json.loads(path.read_text()), "seen": 0}))
    banksync_sandbox.faults.add(Fault.latency(0.05), path="/v1/banks/**")
    tries = [
        Try(task(tmp_path, run_id), banksync_sandbox.connection_uri) for run_id in ("one", "two", "three")
    ]
    ended = [each.end() for each in tries]
    refused = [told for told in ended if isinstance(told, str)]
    assert len(refused) == 2
    for told in refused:
        assert "being written by lake.export of " in told or "is now being written by" in told
    consistent(tmp_path)


@pytest.mark.parametrize("earlier", [False, True], ids=["anew", "again"])
@pytest.mark.parametrize(
    "moment",
    [
        "open .*/_tmp-part-",
        "rename .*/part-.*-00001",
        "mkdir .*/_progress",
        "open .*/_progress/_tmp-",
        "rename .*/_progress/",
        "open .*/_tmp-_manifest.json",
        "rename .*/_manifest.json",
    ],
)
def test_a_try_that_comes_back_after_the_next_one_has_ended(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path, moment: str, earlier: bool
) -> None:
    uri = banksync_sandbox.connection_uri
    if earlier:
        run(task(tmp_path, "earlier"), uri)
    comes_back(banksync_sandbox, tmp_path, Try(task(tmp_path), uri, Moment(moment, 1, signal.SIGSTOP)))


@pytest.mark.parametrize("request_number", [2, 4, 20])
def test_or_while_it_waited_for_an_answer(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path, request_number: int
) -> None:
    run(task(tmp_path, "earlier"), banksync_sandbox.connection_uri)
    banksync_sandbox.clear_requests()
    banksync_sandbox.faults.add(Fault.latency(0.1), path="/v1/**")
    before = Try(task(tmp_path), banksync_sandbox.connection_uri)
    wait_until(lambda: len(banksync_sandbox.requests) >= request_number, 300, "it has asked", pause=0.005)
    before.send(signal.SIGSTOP)
    banksync_sandbox.faults.clear()
    comes_back(banksync_sandbox, tmp_path, before)


def comes_back(sandbox: BankSyncSandbox, folder: Path, before: Try) -> None:
    """Wait for a try to stop, let the next one do all, and then the first one go on."""
    wait_until(before.is_stopped, 300, "it has stopped", pause=0.01)
    add_rows(sandbox)
    run(task(folder), sandbox.connection_uri)
    found = consistent(folder)
    before.send(signal.SIGCONT)
    told = before.end()
    assert isinstance(told, str), "it says that it did the work itself"
    assert "ExportError" in told or told.startswith("AirflowException: ")
    assert tree(folder) == found
