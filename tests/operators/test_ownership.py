"""Only a job that this task certainly started is cancelled. What happens to others is told."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.operators.jobs import BankSyncCancelJobOperator
from airflow_provider_banksync.sandbox import Fault
from tests.support.sandbox_data import family_feed
from tests.support.task_runs import BOTH, Run, jobs_of, restored, run_task, sync_operator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = [
    pytest.mark.banksync_sandbox(portals=1, time_scale=0, row_error_share=0),
    pytest.mark.usefixtures("quick_searches"),
]
HOW = pytest.mark.parametrize(
    ("how", "why"),
    [
        ("inferred", "it is not certain that this task started it"),
        ("attached", "this task did not start it"),
        ("answered", "this task did not start it"),
    ],
)


def prepare(sandbox: BankSyncSandbox, how: str) -> dict[str, Any]:
    """Return a feed whose sync will end up with this ownership."""
    feed = family_feed(sandbox)
    if how != "inferred":
        job = BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(feed["id"])
        if how == "answered":  # with the running job, and not with 409
            answer = Fault.answer(201, json.dumps({"success": True, "data": job}))
            sandbox.faults.add(answer, method="POST", path="/v1/feeds/*/sync")
    else:
        sandbox.faults.add(Fault.reset(), method="POST", path="/v1/feeds/*/sync", nth=1, when="after")
    return feed


def task(feed: dict[str, Any], **arguments: Any) -> Any:
    return sync_operator(feed_id=feed["id"], workspace_id=feed["workspaceId"], **arguments)


@HOW
@BOTH
def test_a_timeout_leaves_a_job_running_that_may_be_of_others(
    banksync_sandbox: BankSyncSandbox, logged: Callable[[], str], deferrable: bool, how: str, why: str
) -> None:
    feed, run = prepare(banksync_sandbox, how), Run()
    with pytest.raises(x.BankSyncJobTimeoutError) as caught:
        run_task(task(feed, timeout=0.1, deferrable=deferrable), run)
    (job,) = jobs_of(banksync_sandbox, feed["id"])
    assert job["status"] == "queued"
    message = f"Job {job['id']} was left running, because {why}. To cancel it, run BankSyncCancelJobOperator("
    assert message in str(caught.value)
    assert message in logged()
    arguments = str(caught.value).split("BankSyncCancelJobOperator(")[1].split(").")[0]
    cancel = eval(f"BankSyncCancelJobOperator({arguments}, task_id='cancel')")
    assert isinstance(cancel, BankSyncCancelJobOperator)
    assert run_task(cancel).result["status"] == "cancelled"


@HOW
def test_a_kill_leaves_a_job_running_that_may_be_of_others(
    banksync_sandbox: BankSyncSandbox,
    logged: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    why: str,
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        killed.on_kill()
        raise Killed

    feed = prepare(banksync_sandbox, how)
    killed = task(feed)
    monkeypatch.setattr(killed.hook, "wait_for_job", kill)
    with pytest.raises(Killed):
        run_task(killed)
    assert [job["status"] for job in jobs_of(banksync_sandbox, feed["id"])] == ["queued"]
    assert f"was left running, because {why}" in logged()


@HOW
def test_a_killed_trigger_leaves_a_job_running_that_may_be_of_others(
    banksync_sandbox: BankSyncSandbox, logged: Callable[[], str], how: str, why: str
) -> None:
    feed = prepare(banksync_sandbox, how)
    with pytest.raises(TaskDeferred) as deferred:
        task(feed, deferrable=True).execute({"ti": Run()})
    trigger = deferred.value.trigger
    assert trigger.ownership == ("inferred" if how == "inferred" else "attached")
    asyncio.run(restored(trigger).on_kill())
    assert [job["status"] for job in jobs_of(banksync_sandbox, feed["id"])] == ["queued"]
    assert f"was left running, because {why}" in logged()


@BOTH
def test_a_job_that_completes_before_it_can_be_cancelled_is_a_success(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    """It is still running at the last poll, and completes before the cancellation."""
    feed = family_feed(banksync_sandbox)
    started = task(feed, timeout=0, deferrable=deferrable)
    banksync_sandbox.faults.add(
        Fault.edited(status="in_progress"), method="GET", path="/v1/feeds/*/jobs/*", nth=1
    )
    real = BankSyncHook.start_sync

    def start_and_end(hook: Any, *arguments: Any, **options: Any) -> Any:
        answer = real(hook, *arguments, **options)
        banksync_sandbox.clock.advance(3600)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BankSyncHook, "start_sync", start_and_end)
        run = run_task(started)
    assert run.result["status"] == "completed"
    assert [job["status"] for job in jobs_of(banksync_sandbox, feed["id"])] == ["completed"]


@BOTH
@pytest.mark.usefixtures("short_404s")
def test_a_timeout_cancels_a_job_that_a_replica_does_not_have_yet(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed = family_feed(banksync_sandbox)
    missing = banksync_sandbox.faults.add(
        Fault.status(404), method="DELETE", path="/v1/feeds/*/jobs/*", nth=1
    )
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task(feed, timeout=0.1, deferrable=deferrable))
    assert missing.hits
    assert [job["status"] for job in jobs_of(banksync_sandbox, feed["id"])] == ["cancelled"]


@pytest.mark.usefixtures("short_404s")
def test_a_killed_task_cancels_a_job_that_a_replica_does_not_have_yet(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        killed.on_kill()
        raise Killed

    feed = family_feed(banksync_sandbox)
    killed = task(feed)
    banksync_sandbox.faults.add(Fault.status(404), method="DELETE", path="/v1/feeds/*/jobs/*", nth=1)
    monkeypatch.setattr(killed.hook, "wait_for_job", kill)
    with pytest.raises(Killed):
        run_task(killed)
    assert [job["status"] for job in jobs_of(banksync_sandbox, feed["id"])] == ["cancelled"]
