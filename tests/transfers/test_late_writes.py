"""A write of an earlier try that reaches S3 after a later try has committed replaces nothing."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_banksync.export.storage import lock
from tests.support.account_data import family, truth
from tests.support.export_task import Task
from tests.support.holding_proxy import HoldingProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.support.object_stores import S3, Store

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0)
MONTH = {"from_date": "2026-02-01", "to_date": "2026-03-02"}
CONNECTIONS = itertools.count(1)
BASE = "resource=transactions/"


@pytest.fixture
def task(banksync_sandbox: BankSyncSandbox, on_s3: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    monkeypatch.setattr(lock, "SETTLE_TIME", 0.01)
    monkeypatch.setattr(lock, "CHECK_VALID_FOR", 0)
    return Task(on_s3.url, arguments={"resource": "transactions", **on_s3.arguments, **MONTH})


def listed_rows(objects: dict[str, bytes]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows that the manifest lists, of each account."""
    (manifest,) = (json.loads(body) for key, body in objects.items() if key.endswith("_manifest.json"))
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for file in manifest["files"]:
        for line in objects[BASE + file["path"]].splitlines():
            row = json.loads(line, parse_float=Decimal)
            found.setdefault((file["workspace_id"], row["accountId"]), []).append(row)
    return found


@pytest.mark.parametrize("earlier", [False, True], ids=["anew", "again"])
@pytest.mark.parametrize("late", ["/part-", "/_manifest.json", "/_progress/.*/"])
@pytest.mark.parametrize("files", ["account", "workspace"])
def test_a_late_write(
    banksync_sandbox: BankSyncSandbox,
    s3: S3,
    on_s3: Store,
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
    files: str,
    late: str,
    earlier: bool,
) -> None:
    task.arguments["files"] = files
    slow = f"slow_{next(CONNECTIONS)}"  # Airflow remembers the file system of a connection
    if earlier:
        task.run_id = "the day before"
        task.run(account_ids=[family()[0][2]["id"]])
        task.run_id = "run"
    *_, account = family()[0]
    task.arguments["account_ids"] = [account["id"]]
    with HoldingProxy(s3.endpoint) as proxy, ThreadPoolExecutor(1) as pool:
        monkeypatch.setenv(f"AIRFLOW_CONN_{slow.upper()}", s3.connection(proxy.url))
        first = Task(task.destination, arguments={**task.arguments, "storage_conn_id": slow})
        held = proxy.hold("PUT", late)
        lost = pool.submit(first.run)
        held.wait_until_here()
        banksync_sandbox.add_transaction(account["id"], "-12.50", "Tea", day=date(2026, 2, 11))
        task.run()
        committed = on_s3.objects()
        held.release()
        with pytest.raises(AirflowException, match=r"is now being written by|has changed since this try"):
            lost.result(300)
    after = on_s3.objects()
    assert committed.items() <= after.items(), "nothing that was committed has changed"
    rows = {key: rows for key, rows in truth(**MONTH).items() if key[1] == account["id"]}
    assert sum(map(len, rows.values())) > 1
    if late == "/part-" and files == "account":  # otherwise the account was complete, and was not read again
        assert listed_rows(after) == rows
    # The next export of this window reads everything anew, and removes what came late.
    task.run_id = "the day after"
    task.run()
    objects = on_s3.objects()
    assert listed_rows(objects) == rows
    manifest = json.loads(objects[f"{BASE}_manifests/window=2026-02-01_2026-03-02/_manifest.json"])
    assert len([key for key in objects if "part-" in key]) == len(manifest["files"])
    assert not [key for key in objects if "_progress" in key]


def test_a_manifest_that_is_gone_is_not_taken_for_a_first_run(on_s3: Store, task: Task) -> None:
    task.arguments["account_ids"] = [family()[0][2]["id"]]
    for arguments in ({}, {"incremental": True, "from_date": None, "to_date": None}):
        summary = task.run(**arguments)
        key = summary["manifest"].removeprefix(f"{on_s3.url}/")
        before = on_s3.objects()
        on_s3.remove(key)
        task.run_id = "another"
        with pytest.raises(AirflowFailException, match=r"_manifest\.json is gone, although"):
            task.run(**arguments)
        assert on_s3.objects() == {name: body for name, body in before.items() if name != key}
        for name in before:
            on_s3.remove(name)
