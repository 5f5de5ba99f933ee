"""Tasks whose key is replaced while they run, in workers and on the triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator
from airflow_provider_banksync.sensors.feed import BankSyncFeedSyncedSensor
from airflow_provider_banksync.sensors.job import BankSyncJobSensor
from tests.support.export_task import Task
from tests.support.key_rotation import Rotation
from tests.support.sandbox_data import family_feed
from tests.support.task_runs import BOTH, run_task, sync_operator

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=2, job_seconds=(0.2, 0.3), row_error_share=0, page_size=20)


@pytest.fixture
def rotation(banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> Rotation:
    return Rotation(banksync_sandbox, monkeypatch)


def place(sandbox: BankSyncSandbox) -> dict[str, Any]:
    feed = family_feed(sandbox)
    return {"feed_id": feed["id"], "workspace_id": feed["workspaceId"]}


@BOTH
def test_a_sync(rotation: Rotation, banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    where = place(banksync_sandbox)
    jobs = len(banksync_sandbox.jobs)
    rotation.after(3)
    run = run_task(sync_operator(**where, deferrable=deferrable))
    assert run.result["status"] == "completed"
    assert (len(banksync_sandbox.jobs), rotation.refused) == (jobs + 1, 1)


@BOTH
def test_a_sync_whose_key_is_not_replaced(
    rotation: Rotation, banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    rotation.after(3, replace=False)
    with pytest.raises(AirflowFailException, match="401"):
        run_task(sync_operator(**place(banksync_sandbox), deferrable=deferrable))
    assert rotation.refused == 1


@BOTH
@pytest.mark.parametrize("kind", ["job", "feed"])
def test_a_sensor(rotation: Rotation, banksync_sandbox: BankSyncSandbox, deferrable: bool, kind: str) -> None:
    where = place(banksync_sandbox)
    job = BankSyncHook(workspace_id=where["workspace_id"]).trigger_sync(where["feed_id"])
    common: dict[str, Any] = {
        **where,
        "task_id": "wait",
        "deferrable": deferrable,
        "poke_interval": 0.02,
        "timeout": 30,
    }
    rotation.after(2)
    if kind == "job":
        run_task(BankSyncJobSensor(job_id=job["id"], **common))
    else:
        run_task(BankSyncFeedSyncedSensor(synced_after=job["createdAt"], **common))
    assert rotation.refused == 1


@BOTH
def test_a_family_sync(rotation: Rotation, banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    rotation.after(12)
    operator = BankSyncFamilySyncOperator(
        task_id="family",
        data_types=["transactions", "balances"],
        deferrable=deferrable,
        poll_interval=0.02,
        timeout=60,
    )
    results = run_task(operator).result
    assert {result["status"] for result in results.values()} == {"completed"}
    started = [record.path for record in banksync_sandbox.requests if record.status == 201]
    assert sorted(started) == [f"/v1/feeds/{feed_id}/sync" for feed_id in sorted(results)], "each once"
    assert 1 <= rotation.refused <= 8, "those that were in flight"


@pytest.mark.banksync_sandbox(portals=1, time_scale=0)
@pytest.mark.parametrize(("scope", "concurrency"), [("family", 8), ("self", 1)])
def test_an_export(
    rotation: Rotation, banksync_sandbox: BankSyncSandbox, tmp_path: Path, scope: str, concurrency: int
) -> None:
    arguments = {"resource": "balances", "scope": scope, "concurrency": concurrency}
    expected = Task(tmp_path / "undisturbed", arguments=arguments).run()
    rotation.after(5)
    got = Task(tmp_path / "rotated", arguments=arguments).run()
    assert 1 <= rotation.refused <= concurrency
    assert (got["rows"], got["files"], got["unavailable"]) == (expected["rows"], expected["files"], [])
    assert got["rows"] > 0


@pytest.mark.banksync_sandbox(time_scale=0)
def test_an_export_does_not_read_the_workspace_of_another_key(
    rotation: Rotation, banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    """Without a workspace in the connection, a key works in its own."""
    portal, _ = banksync_sandbox.portals[0]
    rotation.new_key = banksync_sandbox.create_key(workspace_id=portal)
    rotation.after(1)  # the answer to whoami
    with pytest.raises(AirflowFailException, match="404"):
        Task(tmp_path, arguments={"resource": "feeds", "scope": "self"}).run()
    assert list(tmp_path.rglob("*.jsonl")) == []
