"""What a retry does with the sync of an earlier try, against the sandbox. tests/kill uses a real Airflow."""

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
from airflow_provider_banksync.api.jobs import Ownership
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.sandbox import Fault
from airflow_provider_banksync.tasks.durable import KEY, VERSION, DurableSync, SyncRequest
from tests.support.sandbox_data import family_feed
from tests.support.task_runs import (
    BOTH,
    HELD,
    Run,
    ending,
    jobs_of,
    refused_and_listed,
    run_task,
    sync_operator,
    was_polled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox

# Jobs that run longer than the test, and jobs that end during it.
LONG = {"portals": 2, "job_seconds": (600, 600), "row_error_share": 0}
SHORT = {"portals": 2, "job_seconds": (0.4, 0.4), "row_error_share": 0}
pytestmark = [pytest.mark.banksync_sandbox(**LONG), pytest.mark.usefixtures("quick_searches")]
short = pytest.mark.banksync_sandbox(**SHORT)


class Killed(BaseException):
    """Ends a try as SIGKILL does: nothing of the task runs afterwards."""


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
    """A store whose backend is down."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any) -> None:
            raise ConnectionError("the backend is down")

        return fail


def task(feed: dict[str, Any], **arguments: Any) -> Any:
    return sync_operator(feed_id=feed["id"], workspace_id=feed["workspaceId"], retries=2, **arguments)


def hook_of(feed: dict[str, Any]) -> BankSyncHook:
    return BankSyncHook(workspace_id=feed["workspaceId"])


def a_try(number: int, store: Any = None, **more: Any) -> Run:
    return Run(try_number=number, store=store, **{"max_tries": 2, **more})


def kill_during_wait(operator: Any, run: Run) -> None:
    """Run a try until it waits for the job, and end it there. In deferrable mode, it ends by deferring."""

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
    hook_of(feed).wait_for_job(feed["id"], jobs_of(sandbox, feed["id"])[-1]["id"], 10, 0.05)


def statuses(sandbox: BankSyncSandbox, feed: dict[str, Any]) -> list[str]:
    return [job["status"] for job in jobs_of(sandbox, feed["id"])]


# --- Airflow 3.3 and later: the store ---


@short
@BOTH
def test_a_retry_resumes_the_running_job(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    kill_during_wait(task(feed, deferrable=deferrable), a_try(1, store))
    kill_during_wait(task(feed, deferrable=deferrable), a_try(2, store))
    run = run_task(task(feed, deferrable=deferrable), a_try(3, store))
    assert run.result["id"] == run.xcom["job_id"]
    assert statuses(banksync_sandbox, feed) == ["completed"]


@short
@BOTH
def test_a_retry_returns_the_job_that_has_ended_meanwhile(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    kill_during_wait(task(feed, deferrable=deferrable), a_try(1, store))
    finish(banksync_sandbox, feed)
    run = run_task(task(feed, deferrable=deferrable), a_try(2, store))
    assert run.result["id"] == run.xcom["job_id"]
    assert run.deferrals == []
    assert statuses(banksync_sandbox, feed) == ["completed"]


@BOTH
def test_a_retry_starts_another_job_if_the_first_was_cancelled(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    kill_during_wait(task(feed, deferrable=deferrable), a_try(1, store))
    hook_of(feed).cancel_job(feed["id"], jobs_of(banksync_sandbox, feed["id"])[0]["id"])
    kill_during_wait(task(feed, deferrable=deferrable), a_try(2, store))
    kill_during_wait(task(feed, deferrable=deferrable), a_try(3, store))
    assert len(jobs_of(banksync_sandbox, feed["id"])) == 2, "the third try resumes the second job"
    assert statuses(banksync_sandbox, feed)[0] == "cancelled"


@pytest.mark.banksync_sandbox(**{**SHORT, "row_error_share": 1})
@pytest.mark.parametrize("strict", [True, False])
def test_a_retry_applies_fail_on_job_errors(banksync_sandbox: BankSyncSandbox, strict: bool) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    kill_during_wait(task(feed), a_try(1, store))
    finish(banksync_sandbox, feed)
    if strict:
        with pytest.raises(x.BankSyncJobFailedError):
            run_task(task(feed, fail_on_job_errors=True), a_try(2, store))
    else:
        assert run_task(task(feed), a_try(2, store)).result["errors"]
    assert len(jobs_of(banksync_sandbox, feed["id"])) == 1 + strict


@pytest.mark.parametrize("ended", [pytest.param(True, marks=short), False])
def test_a_kill_before_the_job_id_is_stored(banksync_sandbox: BankSyncSandbox, ended: bool) -> None:
    feed, store = family_feed(banksync_sandbox), Store(dies_at=2)
    with pytest.raises(Killed):
        run_task(task(feed), a_try(1, store))
    assert store.get(KEY)["job_id"] is None
    if ended:
        finish(banksync_sandbox, feed)
    run = run_task(task(feed, wait_for_completion=False), a_try(2, store))
    (job,) = jobs_of(banksync_sandbox, feed["id"])
    assert run.result["id"] == job["id"] == store.get(KEY)["job_id"]


def test_a_kill_before_the_request(banksync_sandbox: BankSyncSandbox) -> None:
    feed, store = family_feed(banksync_sandbox), Store(dies_at=1)
    with pytest.raises(Killed):
        run_task(task(feed), a_try(1, store))
    assert jobs_of(banksync_sandbox, feed["id"]) == []
    run = run_task(task(feed, wait_for_completion=False), a_try(2, store))
    assert [job["id"] for job in jobs_of(banksync_sandbox, feed["id"])] == [run.result["id"]]


def test_a_retry_resumes_the_job_of_a_request_that_arrives_late(banksync_sandbox: BankSyncSandbox) -> None:
    """The request of a killed try arrives after the retry has searched for a job, and before its own request."""
    feed, store = family_feed(banksync_sandbox), Store()
    first_hook = hook_of(feed)

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    first = task(feed, cancel_on_kill=False)  # SIGKILL calls no handler
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first.hook, "start_sync", killed)
        with pytest.raises(Killed):
            run_task(first, a_try(1, store))
    retry = task(feed, timeout=0, if_running="fail")
    send = retry.hook.start_sync

    def send_twice(*arguments: Any, **options: Any) -> Any:
        first_hook.trigger_sync(*arguments)
        return send(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry.hook, "start_sync", send_twice)
        with pytest.raises(x.BankSyncJobTimeoutError):
            run_task(retry, a_try(2, store))
    assert statuses(banksync_sandbox, feed) == ["queued"], "one job, and its timeout does not cancel it"


@pytest.mark.parametrize("change", [{"from_date": "2026-01-02", "to_date": "2026-01-03"}, {"conn": "other"}])
def test_a_task_with_other_arguments_does_not_resume_the_job(
    banksync_sandbox: BankSyncSandbox, change: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", banksync_sandbox.connection_uri)
    feed, store = family_feed(banksync_sandbox), Store()
    kill_during_wait(task(feed, from_date="2026-01-01", to_date="2026-01-03"), a_try(1, store))
    arguments = {"from_date": "2026-01-01", "to_date": "2026-01-03", **change}
    if conn := arguments.pop("conn", None):
        arguments["banksync_conn_id"] = conn
    with pytest.raises(AirflowSkipException):
        run_task(task(feed, if_running="skip", **arguments), a_try(2, store))


@BOTH
@pytest.mark.usefixtures("short_404s")
def test_a_retry_resumes_a_job_that_a_replica_does_not_have_yet(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    """The job has ended meanwhile, so nothing else would prevent a second one."""
    feed, store = family_feed(banksync_sandbox), Store()
    keep = {"cancel_on_kill": False, "deferrable": deferrable}
    kill_during_wait(task(feed, **keep), a_try(1, store))
    banksync_sandbox.clock.advance(601)
    banksync_sandbox.faults.add(Fault.status(404), method="GET", path="/v1/feeds/*/jobs/*", nth=1)
    run = run_task(task(feed, timeout=1, **keep), a_try(2, store))
    assert [job["id"] for job in jobs_of(banksync_sandbox, feed["id"])] == [run.result["id"]]


@pytest.mark.usefixtures("short_404s")
def test_a_retry_replaces_a_missing_job(banksync_sandbox: BankSyncSandbox) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    run = run_task(task(feed, wait_for_completion=False), a_try(1, store))
    record = store.get(KEY)
    store.set(KEY, {**record, "job_id": "no-such-job"})
    hook_of(feed).cancel_job(feed["id"], run.result["id"])
    again = run_task(task(feed, wait_for_completion=False), a_try(2, store))
    assert again.result["id"] not in ("no-such-job", run.result["id"])


@pytest.mark.parametrize(
    "record",
    [
        {"max_tries": 2, "wanted": {}, "asked_at": 1.0, "job_id": "j", "ours": True, "former": "k"},
        {"version": VERSION + 1, "max_tries": 2, "job_id": "j"},
        ["job", "j"],
    ],
    ids=["older", "newer", "no record"],
)
def test_a_record_in_another_format_is_ignored(banksync_sandbox: BankSyncSandbox, record: Any) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    store.set(KEY, record)
    run = run_task(task(feed, wait_for_completion=False), a_try(2, store))
    assert [job["id"] for job in jobs_of(banksync_sandbox, feed["id"])] == [run.result["id"]]
    assert store.get(KEY)["version"] == VERSION


def ignore_cancellations(sandbox: BankSyncSandbox, job: dict[str, Any]) -> None:
    """Accept each request to cancel the job from now on, but let the job run."""
    answer = json.dumps({"success": True, "data": job}, default=str)
    sandbox.faults.add(Fault.answer(200, answer, media_type="application/json"), method="DELETE")


def cancel_later(sandbox: BankSyncSandbox, feed: dict[str, Any], job_id: str) -> threading.Timer:
    """Cancel the job after a second, in another thread."""

    def cancel() -> None:
        sandbox.faults.clear()
        hook_of(feed).cancel_job(feed["id"], job_id)

    timer = threading.Timer(1, cancel)
    timer.start()
    return timer


def count_requests(sandbox: BankSyncSandbox, method: str) -> int:
    return sum(request.method == method for request in sandbox.requests)


@BOTH
@pytest.mark.parametrize("if_running", ["attach", "fail"])
def test_a_retry_waits_for_the_end_of_a_cancelled_job(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, if_running: str
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    arguments = {"deferrable": deferrable, "if_running": if_running}
    kill_during_wait(task(feed, **arguments), a_try(1, store))
    (first,) = jobs_of(banksync_sandbox, feed["id"])
    ignore_cancellations(banksync_sandbox, first)
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task(feed, timeout=0, **arguments), a_try(2, store))
    assert count_requests(banksync_sandbox, "DELETE") == 1
    kill_during_wait(task(feed, **arguments), a_try(3, store))  # while it waits for the end of the first job
    assert statuses(banksync_sandbox, feed) in (["queued"], ["in_progress"])
    assert count_requests(banksync_sandbox, "DELETE") == 1, "it is cancelled once"
    late = cancel_later(banksync_sandbox, feed, first["id"])
    run = run_task(task(feed, wait_for_completion=False, **arguments), a_try(4, store, max_tries=2))
    late.join()
    jobs = jobs_of(banksync_sandbox, feed["id"])
    assert [job["id"] for job in jobs] == [first["id"], run.result["id"]]
    assert jobs[0]["status"] == "cancelled"
    assert store.get(KEY)["excluded_job_id"] is None


@pytest.mark.banksync_sandbox(**HELD, portals=2)
@BOTH
def test_a_job_that_completes_despite_its_cancellation_is_the_result(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    kill_during_wait(task(feed, deferrable=deferrable), a_try(1, store))
    (first,) = jobs_of(banksync_sandbox, feed["id"])
    ignore_cancellations(banksync_sandbox, first)
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task(feed, deferrable=deferrable, timeout=0), a_try(2, store))
    banksync_sandbox.clear_requests()
    with ending(banksync_sandbox, lambda: refused_and_listed(banksync_sandbox, feed["id"])):
        run = run_task(task(feed, deferrable=deferrable), a_try(3, store))
    assert len(run.deferrals) == deferrable, "it was still running"
    (job,) = jobs_of(banksync_sandbox, feed["id"])
    assert (run.result["id"], run.result["status"]) == (job["id"], "completed")
    with ending(banksync_sandbox, lambda: len(jobs_of(banksync_sandbox, feed["id"])) == 2):
        again = run_task(task(feed, deferrable=deferrable), a_try(4, store, max_tries=5))
    assert again.result["id"] != job["id"], "a cleared task starts a new sync"


def test_a_retry_resumes_a_job_that_could_not_be_cancelled(banksync_sandbox: BankSyncSandbox) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    banksync_sandbox.faults.add(Fault.status(403), method="DELETE")
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task(feed, timeout=0), a_try(1, store))
    run = run_task(task(feed, wait_for_completion=False), a_try(2, store))
    assert [job["id"] for job in jobs_of(banksync_sandbox, feed["id"])] == [run.result["id"]]


# --- cleared tasks ---


@BOTH
def test_a_cleared_task_starts_a_new_sync(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    kill_during_wait(task(feed, deferrable=deferrable), a_try(1, store))
    kill_during_wait(task(feed, deferrable=deferrable), a_try(2, store, max_tries=3))
    assert len(jobs_of(banksync_sandbox, feed["id"])) == 2
    assert statuses(banksync_sandbox, feed)[0] == "cancelled", "no task waits for the first job any more"


@short
def test_a_cleared_task_does_not_return_the_earlier_job(banksync_sandbox: BankSyncSandbox) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    first = run_task(task(feed), a_try(1, store))
    second = run_task(task(feed), a_try(2, store, max_tries=3))
    assert first.result["id"] != second.result["id"]
    assert statuses(banksync_sandbox, feed) == ["completed", "completed"]


@pytest.mark.banksync_sandbox(**HELD, portals=2)
@BOTH
def test_a_cleared_task_without_cancel_on_kill_waits_for_its_first_job(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    keep = {"cancel_on_kill": False, "deferrable": deferrable}
    kill_during_wait(task(feed, **keep), a_try(1, store))
    (first,) = jobs_of(banksync_sandbox, feed["id"])
    with ending(banksync_sandbox, lambda: was_polled(banksync_sandbox, first)):
        run = run_task(task(feed, **keep), a_try(2, store, max_tries=3))
    jobs = jobs_of(banksync_sandbox, feed["id"])
    assert [job["status"] for job in jobs] == ["completed", "completed"]
    assert run.result["id"] == jobs[1]["id"]


@pytest.mark.banksync_sandbox(**HELD, portals=2)
@BOTH
def test_a_cleared_task_that_is_killed_before_its_first_job_has_ended(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    keep = {"cancel_on_kill": False, "deferrable": deferrable}
    kill_during_wait(task(feed, **keep), a_try(1, store))
    kill_during_wait(task(feed, **keep), a_try(2, store, max_tries=3))
    assert len(jobs_of(banksync_sandbox, feed["id"])) == 1, "killed while it waited for the first job"
    with ending(banksync_sandbox, lambda: True):
        run = run_task(task(feed, **keep), a_try(3, store, max_tries=3))
    assert statuses(banksync_sandbox, feed) == ["completed", "completed"]
    assert run.result["id"] == jobs_of(banksync_sandbox, feed["id"])[1]["id"]


@pytest.mark.parametrize("cleared", ["once", "twice"])
def test_a_cleared_task_that_is_killed_before_it_cancels(
    banksync_sandbox: BankSyncSandbox, cleared: str
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    kill_during_wait(task(feed), a_try(1, store))

    def die(*_: Any) -> None:
        raise Killed

    second = task(feed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_provider_banksync.api.flows.syncs.end_job", die)
        with pytest.raises(Killed):
            run_task(second, a_try(2, store, max_tries=3))
    third = a_try(3, store, max_tries=3 if cleared == "once" else 4)
    run = run_task(task(feed, wait_for_completion=False), third)
    assert statuses(banksync_sandbox, feed)[0] == "cancelled"
    assert run.result["id"] == jobs_of(banksync_sandbox, feed["id"])[1]["id"]


@BOTH
def test_a_cleared_task_waits_for_a_job_that_is_slow_to_cancel(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    kill_during_wait(task(feed, deferrable=deferrable), a_try(1, store))
    (first,) = jobs_of(banksync_sandbox, feed["id"])
    ignore_cancellations(banksync_sandbox, first)
    banksync_sandbox.clear_requests()
    late = cancel_later(banksync_sandbox, feed, first["id"])
    arguments = {"wait_for_completion": False, "deferrable": deferrable}
    run = run_task(task(feed, **arguments), a_try(2, store, max_tries=3))
    late.join()
    assert run.result["id"] != first["id"]
    assert count_requests(banksync_sandbox, "POST") == 2, (
        "refused once, and not sent again before the first job has ended"
    )
    assert count_requests(banksync_sandbox, "DELETE") == 2, "the test sends one of them"


# --- before Airflow 3.3, or with a store that fails: the API ---


def dag_run_started(seconds_ago: float) -> Any:
    return SimpleNamespace(start_date=datetime.now(timezone.utc) - timedelta(seconds=seconds_ago))


@BOTH
@pytest.mark.parametrize("if_running", ["attach", "fail", "skip", "wait"])
@pytest.mark.parametrize("store", [None, Broken()], ids=["older", "broken"])
def test_a_retry_without_the_store_resumes_the_running_job(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, if_running: str, store: Any
) -> None:
    feed = family_feed(banksync_sandbox)
    arguments = {"deferrable": deferrable, "if_running": if_running, "timeout": 0}
    kill_during_wait(task(feed, **arguments), a_try(1, store, dag_run=dag_run_started(5)))
    run = a_try(2, store, dag_run=dag_run_started(5))
    with pytest.raises(x.BankSyncJobTimeoutError, match="it is not certain that this task started it"):
        run_task(task(feed, **arguments), run)
    assert statuses(banksync_sandbox, feed) == ["queued"], "a timeout does not cancel it"
    assert run.xcom["job_id"] == jobs_of(banksync_sandbox, feed["id"])[0]["id"]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: a_try(1, dag_run=dag_run_started(5)), "a first try"),
        (lambda: a_try(2, max_tries=3, dag_run=dag_run_started(5)), "the first try of a cleared task"),
        # Made when the test begins: the tests may have been collected long before that.
        (
            lambda: a_try(2, dag_run=dag_run_started(-120)),
            "older than the DAG run, by more than clocks may differ",
        ),
        (lambda: a_try(2), "the DAG run is unknown"),
    ],
)
def test_a_job_of_someone_else_is_not_resumed(
    banksync_sandbox: BankSyncSandbox, make: Callable[[], Run], why: str
) -> None:
    feed = family_feed(banksync_sandbox)
    hook_of(feed).trigger_sync(feed["id"])
    with pytest.raises(x.BankSyncConflictError):
        run_task(task(feed, if_running="fail"), make())


def test_a_failing_store_is_logged_once_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    request = SyncRequest("banksync_default", None, "f", None, None)
    durable = DurableSync(
        request,
        BankSyncHook(),
        {"ti": a_try(1), "task_state_store": Broken()},
        logging.getLogger("task"),
        retries=2,
    )
    with durable.requesting([]):
        pass
    durable.record_job("j", Ownership.PROVED)
    durable.record_refusal()
    (message,) = [record.getMessage() for record in caplog.records]
    assert "state store failed (ConnectionError)" in message


def test_a_task_that_is_not_durable_stores_nothing(banksync_sandbox: BankSyncSandbox) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    kill_during_wait(task(feed, durable=False), a_try(1, store))
    assert store.values == {}
    with pytest.raises(x.BankSyncConflictError):
        run_task(task(feed, durable=False, if_running="fail"), a_try(2, store, dag_run=dag_run_started(60)))


# --- a job that someone else started is not cancelled ---


@BOTH
def test_a_timeout_does_not_cancel_an_attached_job(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed, store = family_feed(banksync_sandbox), Store()
    theirs = hook_of(feed).trigger_sync(feed["id"])
    run = a_try(1, store)
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task(feed, deferrable=deferrable, timeout=0.1), run)
    assert run.xcom["job_id"] == theirs["id"]
    with pytest.raises(x.BankSyncJobTimeoutError):  # a retry that resumes it does not cancel it either
        run_task(task(feed, deferrable=deferrable, timeout=0.1), a_try(2, store))
    assert statuses(banksync_sandbox, feed)[0] in ("queued", "in_progress")
    assert len(jobs_of(banksync_sandbox, feed["id"])) == 1


def test_a_kill_does_not_cancel_an_attached_job(banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)
    hook_of(feed).trigger_sync(feed["id"])
    attached = task(feed)
    kill_during_wait(attached, a_try(1, Store()))
    attached.on_kill()
    assert statuses(banksync_sandbox, feed)[0] in ("queued", "in_progress")


# --- timeouts and kills during the request ---


@pytest.mark.parametrize("stop", [AirflowTaskTimeout, Killed])
def test_a_retry_resumes_the_job_of_an_interrupted_request(
    banksync_sandbox: BankSyncSandbox, logged: Callable[[], str], stop: type[BaseException]
) -> None:
    """The answer did not arrive, so it is not proved that the job is ours: it goes on."""
    feed, store = family_feed(banksync_sandbox), Store()
    interrupted = task(feed)
    send = interrupted.hook.start_sync

    def send_and_stop(*arguments: Any, **options: Any) -> Any:
        send(*arguments, **options)
        raise stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interrupted.hook, "start_sync", send_and_stop)
        with pytest.raises(stop):
            run_task(interrupted, a_try(1, store))
    (job,) = jobs_of(banksync_sandbox, feed["id"])
    assert f"Job {job['id']} was left running" in logged()
    run = run_task(task(feed, wait_for_completion=False), a_try(2, store))
    assert [row["id"] for row in jobs_of(banksync_sandbox, feed["id"])] == [run.result["id"]]
    assert job["status"] != "cancelled"
    assert store.get(KEY)["ownership"] == "inferred"


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
