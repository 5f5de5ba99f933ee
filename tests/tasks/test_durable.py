"""What a retry makes of an earlier try's sync, against the sandbox; tests/kill does the same to a real Airflow."""

from __future__ import annotations

import json
import logging
import threading
import time
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout, TaskDeferred

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.durable import KEY, SyncMemory, Wanted
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.sandbox import Fault
from tests.hooks.test_hook import family_feed
from tests.tasks.conftest import HELD, Run, ending, run_task
from tests.tasks.test_sync import BOTH, looked_at, made, operator

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

# Jobs that go on for the whole test, and jobs that end by themselves within it.
LONG = {"portals": 2, "job_seconds": (600, 600), "row_error_share": 0}
SHORT = {"portals": 2, "job_seconds": (0.4, 0.4), "row_error_share": 0}
pytestmark = pytest.mark.banksync_sandbox(**LONG)
short = pytest.mark.banksync_sandbox(**SHORT)


class Killed(BaseException):
    """What SIGKILL does: nothing of the task runs after it."""


class Store:
    """Airflow's task state store as a task sees it: values come back as JSON."""

    def __init__(self, *, dies_at: int = 0) -> None:
        self.values: dict[str, str] = {}
        self.dies_at = dies_at
        self.writes = 0

    def get(self, key: str) -> Any:
        return json.loads(self.values[key]) if key in self.values else None

    def set(self, key: str, value: Any) -> None:
        self.writes += 1
        if self.writes == self.dies_at:
            raise Killed
        self.values[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


class Broken:
    """A store whose backend is away."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any) -> None:
            raise ConnectionError("nobody there")

        return fail


def task(feed: dict[str, Any], **arguments: Any) -> Any:
    return operator(feed_id=feed["id"], workspace_id=feed["workspaceId"], retries=2, **arguments)


def hook_of(feed: dict[str, Any]) -> BankSyncHook:
    return BankSyncHook(workspace_id=feed["workspaceId"])


def a_try(number: int, store: Any = None, **more: Any) -> Run:
    return Run(try_number=number, store=store, **{"max_tries": 2, **more})


def killed_in_its_wait(operator: Any, run: Run) -> None:
    """Run a try to its wait, here or on the triggerer, and no further."""

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    context = {"ti": run, "dag_run": run.dag_run}
    if run.store is not None:
        context["task_state_store"] = run.store
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operator.hook, "wait_for_job", die)
        with pytest.raises((Killed, TaskDeferred)):
            operator.execute(context)


def finish(sandbox: BankSyncSandbox, feed: dict[str, Any]) -> None:
    hook_of(feed).wait_for_job(feed["id"], made(sandbox, feed["id"])[-1]["id"], 10, 0.05)


def statuses(sandbox: BankSyncSandbox, feed: dict[str, Any]) -> list[str]:
    return [job["status"] for job in made(sandbox, feed["id"])]


# --- Airflow 3.3 and later: the store ---


@short
@BOTH
def test_a_retry_goes_back_to_the_job_that_runs(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    killed_in_its_wait(task(feed, deferrable=deferrable), a_try(1, store))
    killed_in_its_wait(task(feed, deferrable=deferrable), a_try(2, store))
    run = run_task(task(feed, deferrable=deferrable), a_try(3, store))
    assert run.result["id"] == run.xcom["job_id"]
    assert statuses(banksync_sandbox, feed) == ["completed"]


@short
@BOTH
def test_a_retry_returns_what_has_ended_meanwhile(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    killed_in_its_wait(task(feed, deferrable=deferrable), a_try(1, store))
    finish(banksync_sandbox, feed)
    run = run_task(task(feed, deferrable=deferrable), a_try(2, store))
    assert run.result["id"] == run.xcom["job_id"]
    assert run.deferrals == []
    assert statuses(banksync_sandbox, feed) == ["completed"]


@BOTH
def test_a_retry_starts_another_where_the_first_was_cancelled(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    killed_in_its_wait(task(feed, deferrable=deferrable), a_try(1, store))
    hook_of(feed).cancel_job(feed["id"], made(banksync_sandbox, feed["id"])[0]["id"])
    killed_in_its_wait(task(feed, deferrable=deferrable), a_try(2, store))
    killed_in_its_wait(task(feed, deferrable=deferrable), a_try(3, store))
    assert len(made(banksync_sandbox, feed["id"])) == 2, "the third try goes back to the second's"
    assert statuses(banksync_sandbox, feed)[0] == "cancelled"


@pytest.mark.banksync_sandbox(**{**SHORT, "row_error_share": 1})
@pytest.mark.parametrize("strict", [True, False])
def test_the_task_says_what_counts_as_failed(banksync_sandbox: BankSyncSandbox, strict: bool) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    killed_in_its_wait(task(feed), a_try(1, store))
    finish(banksync_sandbox, feed)
    if strict:
        with pytest.raises(x.BankSyncJobFailedError):
            run_task(task(feed, fail_on_job_errors=True), a_try(2, store))
    else:
        assert run_task(task(feed), a_try(2, store)).result["errors"]
    assert len(made(banksync_sandbox, feed["id"])) == 1 + strict


@pytest.mark.parametrize("ended", [pytest.param(True, marks=short), False])
def test_killed_before_the_jobs_id_was_noted(banksync_sandbox: BankSyncSandbox, ended: bool) -> None:
    feed, store = family_feed(banksync_sandbox), Store(dies_at=2)
    with pytest.raises(Killed):
        run_task(task(feed), a_try(1, store))
    assert store.get(KEY)["job_id"] is None
    if ended:
        finish(banksync_sandbox, feed)
    run = run_task(task(feed, wait_for_completion=False), a_try(2, store))
    (job,) = made(banksync_sandbox, feed["id"])
    assert run.result["id"] == job["id"] == store.get(KEY)["job_id"]


@short
def test_a_slow_machine_loses_no_job(banksync_sandbox: BankSyncSandbox) -> None:
    """The time that a retry takes to make its client is not time in which the job may not have been born."""
    feed, store = family_feed(banksync_sandbox), Store(dies_at=2)
    with pytest.raises(Killed):
        run_task(task(feed), a_try(1, store))
    finish(banksync_sandbox, feed)
    retry = task(feed)
    connect = retry.hook.get_conn

    def slow() -> Any:
        time.sleep(2.5)  # more than the second that the server's Date rounds off
        return connect()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry.hook, "get_conn", slow)
        run = run_task(retry, a_try(2, store))
    assert [job["id"] for job in made(banksync_sandbox, feed["id"])] == [run.result["id"]]


def test_killed_before_the_request(banksync_sandbox: BankSyncSandbox) -> None:
    feed, store = family_feed(banksync_sandbox), Store(dies_at=1)
    with pytest.raises(Killed):
        run_task(task(feed), a_try(1, store))
    assert made(banksync_sandbox, feed["id"]) == []
    run = run_task(task(feed, wait_for_completion=False), a_try(2, store))
    assert [job["id"] for job in made(banksync_sandbox, feed["id"])] == [run.result["id"]]


def test_a_request_that_was_still_on_its_way_is_ours(banksync_sandbox: BankSyncSandbox) -> None:
    """The one window: a killed try's request does its work after the retry has looked, and before it asks itself."""
    feed, store = family_feed(banksync_sandbox), Store()
    on_its_way = hook_of(feed)

    def killed(*_: Any) -> None:
        raise Killed

    first = task(feed, cancel_on_kill=False)  # SIGKILL asks nobody
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first.hook, "trigger_sync", killed)
        with pytest.raises(Killed):
            run_task(first, a_try(1, store))
    retry = task(feed, timeout=0, if_running="fail")
    ask = retry.hook.trigger_sync

    def too_late(*arguments: Any) -> Any:
        on_its_way.trigger_sync(*arguments)
        return ask(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry.hook, "trigger_sync", too_late)
        with pytest.raises(x.BankSyncJobTimeoutError):
            run_task(retry, a_try(2, store))
    assert statuses(banksync_sandbox, feed) == ["cancelled"], "ours, so it is cancelled when the time is up"


@pytest.mark.parametrize("change", [{"from_date": "2026-01-02", "to_date": "2026-01-03"}, {"conn": "other"}])
def test_another_sync_is_not_gone_on_with(
    banksync_sandbox: BankSyncSandbox, change: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", banksync_sandbox.connection_uri)
    feed, store = family_feed(banksync_sandbox), Store()
    killed_in_its_wait(task(feed, from_date="2026-01-01", to_date="2026-01-03"), a_try(1, store))
    arguments = {"from_date": "2026-01-01", "to_date": "2026-01-03", **change}
    if conn := arguments.pop("conn", None):
        arguments["banksync_conn_id"] = conn
    with pytest.raises(AirflowSkipException):
        run_task(task(feed, if_running="skip", **arguments), a_try(2, store))


def test_a_job_that_is_gone_is_started_again(banksync_sandbox: BankSyncSandbox) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    run = run_task(task(feed, wait_for_completion=False), a_try(1, store))
    record = store.get(KEY)
    store.set(KEY, {**record, "job_id": "no-such-job"})
    hook_of(feed).cancel_job(feed["id"], run.result["id"])
    again = run_task(task(feed, wait_for_completion=False), a_try(2, store))
    assert again.result["id"] not in ("no-such-job", run.result["id"])


def cancels_slowly(sandbox: BankSyncSandbox, job: dict[str, Any]) -> None:
    """From now on, take note that the job is to be cancelled, and have it run on for the time being."""
    answer = json.dumps({"success": True, "data": job}, default=str)
    sandbox.faults.add(Fault.answer(200, answer, media_type="application/json"), method="DELETE")


def cancel_late(sandbox: BankSyncSandbox, feed: dict[str, Any], job_id: str) -> threading.Timer:
    """Cancel the job in a while, by itself."""

    def cancel() -> None:
        sandbox.faults.clear()
        hook_of(feed).cancel_job(feed["id"], job_id)

    timer = threading.Timer(1, cancel)
    timer.start()
    return timer


def count(sandbox: BankSyncSandbox, method: str) -> int:
    return sum(request.method == method for request in sandbox.requests)


@BOTH
@pytest.mark.parametrize("if_running", ["attach", "fail"])
def test_a_job_that_an_earlier_try_cancelled_is_seen_out(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, if_running: str
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    arguments = {"deferrable": deferrable, "if_running": if_running}
    killed_in_its_wait(task(feed, **arguments), a_try(1, store))
    (first,) = made(banksync_sandbox, feed["id"])
    cancels_slowly(banksync_sandbox, first)
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task(feed, timeout=0, **arguments), a_try(2, store))
    assert count(banksync_sandbox, "DELETE") == 1
    killed_in_its_wait(task(feed, **arguments), a_try(3, store))  # in the wait for the end of the first
    assert statuses(banksync_sandbox, feed) in (["queued"], ["in_progress"])
    assert count(banksync_sandbox, "DELETE") == 1, "it is cancelled once"
    late = cancel_late(banksync_sandbox, feed, first["id"])
    run = run_task(task(feed, wait_for_completion=False, **arguments), a_try(4, store, max_tries=2))
    late.join()
    jobs = made(banksync_sandbox, feed["id"])
    assert [job["id"] for job in jobs] == [first["id"], run.result["id"]]
    assert jobs[0]["status"] == "cancelled"
    assert store.get(KEY)["former"] is None


@pytest.mark.banksync_sandbox(**HELD, portals=2)
@BOTH
def test_a_job_that_was_cancelled_too_late_is_the_result(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    killed_in_its_wait(task(feed, deferrable=deferrable), a_try(1, store))
    (first,) = made(banksync_sandbox, feed["id"])
    cancels_slowly(banksync_sandbox, first)
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task(feed, deferrable=deferrable, timeout=0), a_try(2, store))
    banksync_sandbox.clear_requests()
    with ending(banksync_sandbox, lambda: looked_at(banksync_sandbox, first)):
        run = run_task(task(feed, deferrable=deferrable), a_try(3, store))
    assert len(run.deferrals) == deferrable, "it was still running"
    (job,) = made(banksync_sandbox, feed["id"])
    assert (run.result["id"], run.result["status"]) == (job["id"], "completed")
    with ending(banksync_sandbox, lambda: len(made(banksync_sandbox, feed["id"])) == 2):
        again = run_task(task(feed, deferrable=deferrable), a_try(4, store, max_tries=5))
    assert again.result["id"] != job["id"], "cleared, it is a sync of its own"


def test_a_job_that_could_not_be_cancelled_is_gone_back_to(banksync_sandbox: BankSyncSandbox) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    banksync_sandbox.faults.add(Fault.status(403), method="DELETE")
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task(feed, timeout=0), a_try(1, store))
    run = run_task(task(feed, wait_for_completion=False), a_try(2, store))
    assert [job["id"] for job in made(banksync_sandbox, feed["id"])] == [run.result["id"]]


# --- cleared ---


@BOTH
def test_a_cleared_task_starts_a_sync_of_its_own(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    killed_in_its_wait(task(feed, deferrable=deferrable), a_try(1, store))
    killed_in_its_wait(task(feed, deferrable=deferrable), a_try(2, store, max_tries=3))
    assert len(made(banksync_sandbox, feed["id"])) == 2
    assert statuses(banksync_sandbox, feed)[0] == "cancelled", "nobody waits for the first any more"


@short
def test_a_cleared_task_does_not_return_what_had_ended(banksync_sandbox: BankSyncSandbox) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    first = run_task(task(feed), a_try(1, store))
    second = run_task(task(feed), a_try(2, store, max_tries=3))
    assert first.result["id"] != second.result["id"]
    assert statuses(banksync_sandbox, feed) == ["completed", "completed"]


@pytest.mark.banksync_sandbox(**HELD, portals=2)
@BOTH
def test_a_cleared_task_that_must_not_cancel_waits_its_first_job_out(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    keep = {"cancel_on_kill": False, "deferrable": deferrable}
    killed_in_its_wait(task(feed, **keep), a_try(1, store))
    (first,) = made(banksync_sandbox, feed["id"])
    with ending(banksync_sandbox, lambda: looked_at(banksync_sandbox, first)):
        run = run_task(task(feed, **keep), a_try(2, store, max_tries=3))
    jobs = made(banksync_sandbox, feed["id"])
    assert [job["status"] for job in jobs] == ["completed", "completed"]
    assert run.result["id"] == jobs[1]["id"]


@pytest.mark.banksync_sandbox(**HELD, portals=2)
@BOTH
def test_a_cleared_task_that_is_killed_before_its_first_job_has_ended(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    keep = {"cancel_on_kill": False, "deferrable": deferrable}
    killed_in_its_wait(task(feed, **keep), a_try(1, store))
    killed_in_its_wait(task(feed, **keep), a_try(2, store, max_tries=3))
    assert len(made(banksync_sandbox, feed["id"])) == 1, "killed while it saw the first one out"
    with ending(banksync_sandbox, lambda: True):
        run = run_task(task(feed, **keep), a_try(3, store, max_tries=3))
    assert statuses(banksync_sandbox, feed) == ["completed", "completed"]
    assert run.result["id"] == made(banksync_sandbox, feed["id"])[1]["id"]


@pytest.mark.parametrize("cleared", ["once", "twice"])
def test_a_cleared_task_that_is_killed_before_it_could_cancel(
    banksync_sandbox: BankSyncSandbox, cleared: str
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    killed_in_its_wait(task(feed), a_try(1, store))

    def die(*_: Any) -> None:
        raise Killed

    second = task(feed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second.hook, "cancel_job", die)
        with pytest.raises(Killed):
            run_task(second, a_try(2, store, max_tries=3))
    third = a_try(3, store, max_tries=3 if cleared == "once" else 4)
    run = run_task(task(feed, wait_for_completion=False), third)
    assert statuses(banksync_sandbox, feed)[0] == "cancelled"
    assert run.result["id"] == made(banksync_sandbox, feed["id"])[1]["id"]


@BOTH
def test_a_cleared_task_sees_out_a_job_that_is_slow_to_be_cancelled(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    killed_in_its_wait(task(feed, deferrable=deferrable), a_try(1, store))
    (first,) = made(banksync_sandbox, feed["id"])
    cancels_slowly(banksync_sandbox, first)
    banksync_sandbox.clear_requests()
    late = cancel_late(banksync_sandbox, feed, first["id"])
    arguments = {"wait_for_completion": False, "deferrable": deferrable}
    run = run_task(task(feed, **arguments), a_try(2, store, max_tries=3))
    late.join()
    assert run.result["id"] != first["id"]
    assert count(banksync_sandbox, "POST") == 2, "refused once, and not asked for again before it can be"
    assert count(banksync_sandbox, "DELETE") == 2, "one is this test's"


# --- before Airflow 3.3, or with a store that fails: the API ---


def began(seconds_ago: float) -> Any:
    return SimpleNamespace(start_date=datetime.now(timezone.utc) - timedelta(seconds=seconds_ago))


@BOTH
@pytest.mark.parametrize("if_running", ["attach", "fail", "skip", "wait"])
@pytest.mark.parametrize("store", [None, Broken()], ids=["older", "broken"])
def test_a_retry_takes_up_the_job_that_runs(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, if_running: str, store: Any
) -> None:
    feed = family_feed(banksync_sandbox)
    arguments = {"deferrable": deferrable, "if_running": if_running, "timeout": 0}
    killed_in_its_wait(task(feed, **arguments), a_try(1, store, dag_run=began(5)))
    run = a_try(2, store, dag_run=began(5))
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task(feed, **arguments), run)
    assert statuses(banksync_sandbox, feed) == ["cancelled"], "ours, so it is cancelled when the time is up"
    assert run.xcom["job_id"] == made(banksync_sandbox, feed["id"])[0]["id"]


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (a_try(1, dag_run=began(5)), "a first try"),
        (a_try(2, max_tries=3, dag_run=began(5)), "a first try after a clearing"),
        (a_try(2, dag_run=began(0)), "older than the DAG run"),
        (a_try(2), "nothing is known of the DAG run"),
    ],
)
def test_somebody_elses_job_is_not_taken_up(banksync_sandbox: BankSyncSandbox, run: Run, why: str) -> None:
    feed = family_feed(banksync_sandbox)
    hook_of(feed).trigger_sync(feed["id"])
    time.sleep(2.1)  # the server tells its time in whole seconds
    if run.dag_run is not None and why.startswith("older"):
        run.dag_run = began(0)
    with pytest.raises(x.BankSyncConflictError):
        run_task(task(feed, if_running="fail"), run)


def test_a_store_that_fails_is_told_once_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    wanted = Wanted("banksync_default", None, "f", None, None)
    memory = SyncMemory(
        wanted, {"ti": a_try(1), "task_state_store": Broken()}, logging.getLogger("task"), retries=2
    )
    memory.ask()
    memory.note("j", ours=True)
    memory.refused()
    (told,) = [record.getMessage() for record in caplog.records]
    assert "state store failed (ConnectionError)" in told


def test_a_task_that_is_not_durable_remembers_nothing(banksync_sandbox: BankSyncSandbox) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    killed_in_its_wait(task(feed, durable=False), a_try(1, store))
    assert store.values == {}
    with pytest.raises(x.BankSyncConflictError):
        run_task(task(feed, durable=False, if_running="fail"), a_try(2, store, dag_run=began(60)))


# --- somebody else's job is left alone ---


@BOTH
def test_a_joined_job_is_not_cancelled_when_the_time_is_up(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    theirs = hook_of(feed).trigger_sync(feed["id"])
    run = a_try(1, store)
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task(feed, deferrable=deferrable, timeout=0.1), run)
    assert run.xcom["job_id"] == theirs["id"]
    with pytest.raises(x.BankSyncJobTimeoutError):  # and not by a retry that goes back to it, either
        run_task(task(feed, deferrable=deferrable, timeout=0.1), a_try(2, store))
    assert statuses(banksync_sandbox, feed)[0] in ("queued", "in_progress")
    assert len(made(banksync_sandbox, feed["id"])) == 1


def test_a_joined_job_is_not_cancelled_by_a_kill(banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)
    hook_of(feed).trigger_sync(feed["id"])
    joins = task(feed)
    killed_in_its_wait(joins, a_try(1, Store()))
    joins.on_kill()
    assert statuses(banksync_sandbox, feed)[0] in ("queued", "in_progress")


# --- out of time, or killed, in the middle of the request ---


@pytest.mark.parametrize("stop", [AirflowTaskTimeout, Killed])
@pytest.mark.parametrize("wish", [True, False])
def test_a_request_that_is_torn_off_leaves_no_job_behind(
    banksync_sandbox: BankSyncSandbox, stop: type[BaseException], wish: bool
) -> None:
    feed = family_feed(banksync_sandbox)
    asks = task(feed, cancel_on_kill=wish, cancel_on_timeout=wish)
    ask = asks.hook.trigger_sync

    def torn_off(*arguments: Any) -> Any:
        ask(*arguments)
        raise stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asks.hook, "trigger_sync", torn_off)
        with pytest.raises(stop):
            run_task(asks, a_try(1, Store()))
    assert (statuses(banksync_sandbox, feed) == ["cancelled"]) is wish


def test_what_was_torn_off_and_cancelled_is_not_taken_up(banksync_sandbox: BankSyncSandbox) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    asks = task(feed)
    ask = asks.hook.trigger_sync

    def torn_off(*arguments: Any) -> Any:
        cancels_slowly(banksync_sandbox, ask(*arguments))
        raise AirflowTaskTimeout

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asks.hook, "trigger_sync", torn_off)
        with pytest.raises(AirflowTaskTimeout):
            run_task(asks, a_try(1, store))
    (first,) = made(banksync_sandbox, feed["id"])
    late = cancel_late(banksync_sandbox, feed, first["id"])
    run = run_task(task(feed, wait_for_completion=False), a_try(2, store))
    late.join()
    assert [job["id"] for job in made(banksync_sandbox, feed["id"])] == [first["id"], run.result["id"]]


@BOTH
@pytest.mark.parametrize("cancel", [True, False])
def test_execution_timeout(banksync_sandbox: BankSyncSandbox, deferrable: bool, cancel: bool) -> None:
    from airflow.providers.common.compat.sdk import timeout

    feed = family_feed(banksync_sandbox)
    slow = task(feed, deferrable=deferrable, execution_timeout=timedelta(seconds=3), cancel_on_timeout=cancel)
    with pytest.raises(AirflowTaskTimeout), timeout(3 if not deferrable else 60):
        run_task(slow, a_try(1, Store(), start_date=datetime.now(timezone.utc)))
    slow.on_kill()  # Airflow calls it when the exception has left execute()
    assert (statuses(banksync_sandbox, feed) == ["cancelled"]) is cancel


def test_a_deferred_task_counts_its_execution_timeout_from_its_start(
    banksync_sandbox: BankSyncSandbox,
) -> None:
    feed = family_feed(banksync_sandbox)
    start = datetime.now(timezone.utc) - timedelta(seconds=20)
    run = a_try(1, Store(), start_date=start)
    slow = task(feed, deferrable=True, execution_timeout=timedelta(seconds=25))
    began_at = time.time()
    with pytest.raises(AirflowTaskTimeout):
        run_task(slow, run)
    assert run.deferrals[0].trigger.deadline == pytest.approx(start.timestamp() + 22.5)
    assert time.time() - began_at < 20
    shorter = task(family_feed(banksync_sandbox), deferrable=True, timeout=0, execution_timeout=timedelta(1))
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(shorter, a_try(1, Store(), start_date=start))
