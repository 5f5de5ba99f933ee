"""`on_kill` of the triggers: Airflow 3.3 calls it for killed tasks, and for tasks that another triggerer took over.

tests/kill/test_kills.py does both in real triggerers.
"""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import triggers
from airflow_provider_banksync.api import codec
from airflow_provider_banksync.compat import AIRFLOW
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.triggers.family import BankSyncFamilyJobsTrigger
from airflow_provider_banksync.triggers.job import BankSyncJobTrigger
from tests.support.sandbox_data import family_feed
from tests.support.task_runs import jobs_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0, row_error_share=0)

Trigger = BankSyncJobTrigger | BankSyncFamilyJobsTrigger


def job_trigger(feed: dict[str, Any], job: dict[str, Any]) -> Trigger:
    return BankSyncJobTrigger(
        feed_id=feed["id"],
        job_id=job["id"],
        deadline=time.time() + 60,
        workspace_id=feed["workspaceId"],
        cancel_on_kill=True,
    )


def family_trigger(feed: dict[str, Any], job: dict[str, Any]) -> Trigger:
    return BankSyncFamilyJobsTrigger(
        feeds=codec.dumps([[feed["id"], feed["workspaceId"], "Client", "Feed"]]),
        deadline=time.time() + 60,
        since=0.0,
        attempt_since=0.0,
        own_jobs=codec.dumps({f"{feed['workspaceId']}/{feed['id']}": job["id"]}).decode(),
        cancel_on_kill=True,
    )


@pytest.fixture(params=[job_trigger, family_trigger])
def trigger(
    request: pytest.FixtureRequest, banksync_sandbox: BankSyncSandbox
) -> tuple[Trigger, Callable[[], str]]:
    """A trigger whose job runs, and a function that returns the job's status."""
    feed = family_feed(banksync_sandbox)
    job = BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(feed["id"])
    return request.param(feed, job), lambda: jobs_of(banksync_sandbox, feed["id"])[0]["status"]


def state_is(monkeypatch: pytest.MonkeyPatch, state: str | None) -> None:
    monkeypatch.setattr(triggers.BankSyncTrigger, "_task_state", lambda _: state)


@pytest.mark.parametrize("state", ["failed", "success", None])
def test_the_job_of_a_killed_or_cleared_task_is_cancelled(
    trigger: tuple[Trigger, Callable[[], str]], monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    state_is(monkeypatch, state)
    asyncio.run(trigger[0].on_kill())
    assert trigger[1]() == "cancelled"


def test_the_job_of_a_task_that_another_triggerer_took_over_goes_on(
    trigger: tuple[Trigger, Callable[[], str]],
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[], str],
) -> None:
    state_is(monkeypatch, "deferred")
    asyncio.run(trigger[0].on_kill())
    assert trigger[1]() == "queued"
    assert "another triggerer waits for it" in logged()


def test_without_an_answer_from_airflow_nothing_is_cancelled(
    trigger: tuple[Trigger, Callable[[], str]], logged: Callable[[], str]
) -> None:
    asyncio.run(trigger[0].on_kill())  # there is no Airflow here
    assert trigger[1]() == "queued"
    assert "the state of the task is unknown" in logged()


@pytest.mark.usefixtures("short_404s")
def test_a_job_that_a_replica_does_not_have_yet_is_cancelled(
    trigger: tuple[Trigger, Callable[[], str]],
    monkeypatch: pytest.MonkeyPatch,
    banksync_sandbox: BankSyncSandbox,
) -> None:
    state_is(monkeypatch, "failed")
    banksync_sandbox.faults.add(Fault.status(404), method="DELETE", path="/v1/feeds/*/jobs/*", nth=1)
    asyncio.run(trigger[0].on_kill())
    assert trigger[1]() == "cancelled"


def test_airflow_repeats_its_cancellation(
    trigger: tuple[Trigger, Callable[[], str]],
    monkeypatch: pytest.MonkeyPatch,
    banksync_sandbox: BankSyncSandbox,
) -> None:
    state_is(monkeypatch, "failed")
    banksync_sandbox.faults.add(Fault.latency(0.5), method="DELETE", path="/v1/feeds/*/jobs/*", when="before")

    async def kill() -> None:
        killed = asyncio.ensure_future(trigger[0].on_kill())
        while not killed.done():
            await asyncio.sleep(0.1)
            killed.cancel("__airflow_user_action__")
        await killed

    asyncio.run(kill())
    assert trigger[1]() == "cancelled"


def test_a_slow_airflow_is_waited_for_in_the_background(
    trigger: tuple[Trigger, Callable[[], str]],
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[], str],
) -> None:
    def slow(_: Any) -> str:
        time.sleep(0.6)
        return "failed"

    monkeypatch.setattr(triggers.BankSyncTrigger, "_task_state", slow)
    monkeypatch.setattr(triggers, "KILL_TIMEOUT", 0.2)

    async def kill() -> str:
        await trigger[0].on_kill()
        status = trigger[1]()
        await asyncio.gather(*triggers._running)
        return status

    assert asyncio.run(kill()) == "queued", "on_kill returned before Airflow answered"
    assert "as soon as both answer" in logged()
    assert trigger[1]() == "cancelled"


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="Airflow 3.3 brings on_kill of triggers")
@pytest.mark.parametrize(("map_index", "key"), [(-1, "sync"), (3, "sync_3")])
def test_airflow_is_asked_for_this_task(
    trigger: tuple[Trigger, Callable[[], str]],
    monkeypatch: pytest.MonkeyPatch,
    map_index: int,
    key: str,
) -> None:
    from airflow.sdk.execution_time import task_runner

    asked = []

    def send(message: Any) -> Any:
        asked.append((message.dag_id, message.task_ids, message.run_ids, message.map_index))
        return SimpleNamespace(task_states={"r": {key: "failed"}})

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), raising=False)
    trigger[0]._task_instance = SimpleNamespace(dag_id="d", task_id="sync", run_id="r", map_index=map_index)
    asyncio.run(trigger[0].on_kill())
    assert asked == [("d", ["sync"], ["r"], map_index)]
    assert trigger[1]() == "cancelled"
