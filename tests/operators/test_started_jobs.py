"""A restarted trigger of a family sync, and a retry, know which jobs the trigger started. So a kill cancels them.

tests/kill/test_kills.py does it in real triggerers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred

from airflow_provider_banksync.api.family.state import FeedResult
from airflow_provider_banksync.compat import AIRFLOW
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.tasks import family_plan, family_state, started_jobs
from airflow_provider_banksync.tasks.family_state import FamilyState
from airflow_provider_banksync.tasks.started_jobs import StartedJobs
from tests.operators.test_family import (
    Store,
    deferred,
    feeds_of,
    operator,
    stop_when,
)
from tests.operators.test_family import _a_wait_moves_the_servers_clock as _quick_waits  # noqa: F401
from tests.support.task_runs import restored

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from airflow_provider_banksync.triggers.family import BankSyncFamilyJobsTrigger

pytestmark = [
    pytest.mark.banksync_sandbox(portals=3, job_seconds=(3600, 3600), row_error_share=0),
    pytest.mark.skipif(AIRFLOW < (3, 3), reason="before Airflow 3.3, a trigger records nothing"),
]


class Supervisor:
    """Answers the requests of a trigger as Airflow does: XComs, and the state of its task, which was killed."""

    def __init__(self) -> None:
        self.xcoms: dict[str, str] = {}
        self.is_broken = False

    def send(self, message: Any) -> Any:
        from airflow.sdk.execution_time import comms

        if isinstance(message, comms.GetTaskStates):
            return SimpleNamespace(task_states={"r": {"sync": "failed"}})
        if self.is_broken:
            raise OSError("the database is gone")
        assert (message.dag_id, message.task_id, message.run_id, message.map_index) == ("d", "sync", "r", -1)
        if isinstance(message, comms.SetXCom):
            self.xcoms[message.key] = json.dumps(message.value)
            return None
        assert isinstance(message, comms.GetXCom)
        return comms.XComResult(key=message.key, value=json.loads(self.xcoms.get(message.key, "null")))


class Instance(SimpleNamespace):
    """A task instance, as a task and as a trigger see it."""

    def __init__(self, try_number: int = 1) -> None:
        ids = {"dag_id": "d", "task_id": "sync", "run_id": "r", "map_index": -1}
        super().__init__(**ids, try_number=try_number, max_tries=2, xcom_push=lambda **_: None)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    from airflow.sdk.execution_time import task_runner

    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    monkeypatch.setattr(started_jobs, "WRITE_INTERVAL", 0.01)
    return supervisor


def restart(trigger: BankSyncFamilyJobsTrigger, try_number: int = 1) -> BankSyncFamilyJobsTrigger:
    """Return the trigger as another triggerer creates it."""
    again: BankSyncFamilyJobsTrigger = restored(trigger)
    again._task_instance = Instance(try_number)  # type: ignore[assignment]
    return again


def record() -> StartedJobs:
    return StartedJobs(Instance(), logging.getLogger())


def start_all(sandbox: BankSyncSandbox, **arguments: Any) -> BankSyncFamilyJobsTrigger:
    """Return a trigger that was ended after it had started and recorded a job for each feed."""
    feeds = feeds_of(sandbox)
    trigger = restart(deferred(**arguments)[1])
    assert stop_when(trigger, lambda: len(record().load()) == len(feeds))
    return trigger


def count_cancelled(sandbox: BankSyncSandbox) -> int:
    return sum(job["status"] == "cancelled" for job in sandbox.jobs)


@pytest.mark.parametrize("resumes", [True, False], ids=["after it has resumed", "before"])
def test_a_kill_after_a_restart_cancels_what_the_trigger_started(
    banksync_sandbox: BankSyncSandbox, supervisor: Supervisor, resumes: bool
) -> None:
    feeds = feeds_of(banksync_sandbox)
    trigger = restart(start_all(banksync_sandbox, cancel_on_kill=True))
    if resumes:
        requests = len(banksync_sandbox.requests)
        assert stop_when(trigger, lambda: len(banksync_sandbox.requests) > requests + len(feeds), kill=True)
    else:
        asyncio.run(trigger.on_kill())
    assert len(banksync_sandbox.jobs) == count_cancelled(banksync_sandbox) == len(feeds)


def test_a_job_that_the_trigger_attached_to_is_not_recorded(
    banksync_sandbox: BankSyncSandbox, supervisor: Supervisor
) -> None:
    feeds = feeds_of(banksync_sandbox)
    attached = list(feeds)[-1]
    other = BankSyncHook(workspace_id=feeds[attached]["workspaceId"]).trigger_sync(attached)
    trigger = restart(deferred(cancel_on_kill=True)[1])
    assert stop_when(trigger, lambda: len(record().load()) == len(feeds) - 1)
    asyncio.run(restart(trigger).on_kill())
    left = [job["id"] for job in banksync_sandbox.jobs if job["status"] != "cancelled"]
    assert left == [other["id"]]


def test_a_timeout_after_a_restart_cancels_what_the_trigger_started(
    banksync_sandbox: BankSyncSandbox, supervisor: Supervisor
) -> None:
    trigger = restart(start_all(banksync_sandbox))
    trigger.deadline = 0.0

    async def run() -> None:
        async for _ in trigger.run():
            pass

    asyncio.run(run())
    assert count_cancelled(banksync_sandbox) == len(banksync_sandbox.jobs)


def test_a_retry_knows_what_the_trigger_started(
    banksync_sandbox: BankSyncSandbox, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds, store = feeds_of(banksync_sandbox), Store()
    task = operator(deferrable=True, cancel_on_kill=True, retries=2)
    with pytest.raises(TaskDeferred) as caught:
        task.execute({"ti": Instance(1), "task_state_store": store})  # type: ignore[typeddict-item]
    first = restart(caught.value.trigger)  # type: ignore[arg-type]
    assert stop_when(first, lambda: len(record().load()) == len(feeds))
    context: Any = {"ti": Instance(1), "task_state_store": store}
    with pytest.raises(AirflowException):  # the trigger failed
        task.resume_execution("__fail__", {"error": "Trigger failure"}, context)
    supervisor.xcoms.clear()  # as Airflow does before a retry
    monkeypatch.setattr(family_plan, "MAX_PLAN", 10)  # the jobs do not fit into the trigger
    with pytest.raises(TaskDeferred) as again:
        task.execute({"ti": Instance(2), "task_state_store": store})  # type: ignore[typeddict-item]
    assert again.value.trigger.own_jobs == "{}"
    asyncio.run(restart(again.value.trigger, 2).on_kill())  # type: ignore[arg-type]
    assert len(banksync_sandbox.jobs) == count_cancelled(banksync_sandbox) == len(feeds)


@pytest.mark.parametrize("per_key", [1, 100])
def test_a_retry_knows_what_a_killed_worker_started(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch, per_key: int
) -> None:
    """Without a trigger, the task records its jobs in the task state store."""
    monkeypatch.setattr(family_state, "WRITE_INTERVAL", 0.01)
    monkeypatch.setattr(family_state, "JOBS_PER_KEY", per_key)
    feeds, store = feeds_of(banksync_sandbox), Store()

    def recorded() -> dict[str, str]:
        state = FamilyState(context(2), logging.getLogger(), request, retries=2, durable=True)
        state.start_try(None, 0.0)
        return state.own_jobs

    def context(number: int) -> Any:
        return {"ti": Instance(number), "task_state_store": store}

    def worker(task: Any, number: int, is_time: Callable[[], bool]) -> None:
        """Run a try. When it is time, its worker dies: it runs nothing more, not even ``on_kill``."""
        run_here = type(task)._run_here

        def run_until(self: Any, sync: Any, state: Any) -> Any:
            thread = threading.Thread(target=lambda: suppressed(run_here, self, sync, state), daemon=True)
            thread.start()
            end = time.monotonic() + 120
            while not is_time():
                assert thread.is_alive()
                assert time.monotonic() < end
                time.sleep(0.01)
            self._thread.cancel()
            thread.join(60)
            raise DiedError

        monkeypatch.setattr(type(task), "_run_here", run_until)
        with pytest.raises(DiedError):
            task.execute(context(number))
        monkeypatch.setattr(type(task), "_run_here", run_here)

    task = operator(cancel_on_kill=True, retries=2)
    request = task._family_state(context(1))._request
    worker(task, 1, lambda: len(recorded()) == len(feeds))
    assert len(banksync_sandbox.jobs) == len(feeds)
    assert count_cancelled(banksync_sandbox) == 0
    retry = operator(cancel_on_kill=True, retries=2)
    polled = len(banksync_sandbox.requests) + len(feeds)
    worker(retry, 2, lambda: len(banksync_sandbox.requests) > polled)
    retry.on_kill()
    assert len(banksync_sandbox.jobs) == count_cancelled(banksync_sandbox) == len(feeds)


class DiedError(Exception):
    """The worker of a task has died."""


def suppressed(function: Callable[..., object], *arguments: Any) -> None:
    """Call a function in a thread whose errors nobody needs."""
    with contextlib.suppress(BaseException):
        function(*arguments)


def test_jobs_of_feeds_that_are_synced_are_not_kept(supervisor: Supervisor) -> None:
    context: Any = {"ti": Instance(), "task_state_store": Store()}
    state = FamilyState(context, logging.getLogger(), {}, retries=2, durable=True)
    state.start_try(None, 0.0)
    record().save({"w/synced": "j1", "w/running": "j2"})
    state.store_results([FeedResult("synced", "w", None, "Feed", "completed", job_id="j1")])
    with pytest.raises(ZeroDivisionError), state.keeping_started_jobs():
        raise ZeroDivisionError
    retry = FamilyState(context, logging.getLogger(), {}, retries=2, durable=True)
    retry.start_try(None, 0.0)
    assert retry.own_jobs == {"w/running": "j2"}


def test_two_triggers_that_write_one_record_lose_nothing(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One was paused, and wakes up after the other has taken over."""
    monkeypatch.setattr(started_jobs, "JOBS_PER_KEY", 3)
    paused, other = record(), record()
    first = {f"w/{number}": f"j{number}" for number in range(4)}
    assert paused.save(first)
    assert other.load() == first
    other.save({**first, "w/4": "j4", "w/1": "new"})
    paused.save({**first, "w/5": "j5"})
    assert record().load() == {**first, "w/1": "new", "w/4": "j4", "w/5": "j5"}
    assert set(supervisor.xcoms) == {"banksync_started_jobs_0", "banksync_started_jobs_1"}


def test_a_record_of_an_earlier_try_is_ignored(supervisor: Supervisor) -> None:
    record().save({"w/1": "j1"})
    second = StartedJobs(Instance(2), logging.getLogger())
    assert second.load() == {}
    second.save({"w/2": "j2"})
    assert second.load() == {"w/2": "j2"}


def test_a_sync_goes_on_if_airflow_stores_nothing(
    banksync_sandbox: BankSyncSandbox, supervisor: Supervisor, logged: Callable[[], str]
) -> None:
    feeds = feeds_of(banksync_sandbox)
    supervisor.is_broken = True
    trigger = restart(deferred(cancel_on_kill=True)[1])
    assert stop_when(trigger, lambda: len(banksync_sandbox.jobs) == len(feeds))
    assert logged().count("Airflow did not read or write an XCom (OSError)") == 1
    asyncio.run(restart(trigger).on_kill())
    assert count_cancelled(banksync_sandbox) == 1, "the worker started it"
