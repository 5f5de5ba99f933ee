"""Ten syncs are ten jobs, whatever clocks and lists say: over real HTTP, against a sandbox whose answers are lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator
from airflow_provider_banksync.sandbox import Fault
from tests.support.sandbox_data import truth
from tests.support.task_runs import BOTH, run_task, sync_operator

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

# A job has ended before any list shows it, so no 409 shows that it exists.
pytestmark = pytest.mark.banksync_sandbox(portals=5, job_seconds=(1, 1), row_error_share=0, broken_banks=0)


@pytest.fixture(autouse=True)
def _waits_move_the_servers_clock(banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = banksync_sandbox.clock

    async def pause(seconds: float) -> None:
        clock.advance(seconds)
        await asyncio.sleep(0.001)

    monkeypatch.setattr("airflow_provider_banksync.api.http.client.sleep", clock.advance)
    monkeypatch.setattr("airflow_provider_banksync.api.http.async_client.sleep", pause)


def feeds_of(sandbox: BankSyncSandbox) -> list[dict[str, Any]]:
    rows = truth(sandbox, "/v1/feeds?scope=family")
    feeds = [row for row in rows if row["dataType"] != "trades"][:10]
    assert len(feeds) == 10
    return feeds


def lie(sandbox: BankSyncSandbox) -> None:
    """Lose each answer to a sync, show jobs 4 s late, 3 s too old and of a new type, and send no ``Date``."""
    sync, jobs = "/v1/feeds/*/sync", "/v1/feeds/*/jobs"
    sandbox.faults.add(Fault.reset(), method="POST", path=sync, when="after")
    sandbox.faults.add(Fault.lag(4), method="GET", path=jobs)
    sandbox.faults.add(Fault.shifted(createdAt=-3), path="/v1/feeds/**")
    sandbox.faults.add(Fault.edited(type="api"), method="GET", path="/v1/feeds/*/jobs**")
    sandbox.faults.add(Fault.date(None))


def test_each_task_starts_one_job(banksync_sandbox: BankSyncSandbox) -> None:
    feeds = feeds_of(banksync_sandbox)
    lie(banksync_sandbox)
    for feed in feeds:
        task = sync_operator(feed_id=feed["id"], workspace_id=feed["workspaceId"])
        assert run_task(task).result["status"] == "completed"
    assert Counter(job["feedId"] for job in banksync_sandbox.jobs) == {feed["id"]: 1 for feed in feeds}


@BOTH
def test_a_family_starts_one_job_for_each_feed(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feeds = feeds_of(banksync_sandbox)
    lie(banksync_sandbox)
    task = BankSyncFamilySyncOperator(
        task_id="sync",
        feed_ids=[feed["id"] for feed in feeds],
        poll_interval=0.1,
        max_poll_interval=0.3,
        deferrable=deferrable,
    )
    result = run_task(task).result
    assert {row["status"] for row in result.values()} == {"completed"}
    assert Counter(job["feedId"] for job in banksync_sandbox.jobs) == {feed["id"]: 1 for feed in feeds}
