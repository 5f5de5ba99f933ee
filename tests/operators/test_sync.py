"""BankSyncTriggerSyncOperator in both modes, against the sandbox."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.tasks.base import DEFERRAL_GRACE
from airflow_provider_banksync.tasks.trigger_events import job_from_event
from airflow_provider_banksync.triggers.job import BankSyncJobTrigger
from tests.support.sandbox_data import family_feed, truth
from tests.support.task_runs import (
    BOTH,
    HELD,
    Run,
    ending,
    jobs_of,
    rendered,
    restored,
    run_task,
    sync_operator,
    was_polled,
)

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

# Jobs take a tenth of a second, and no row fails by chance.
pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=400, row_error_share=0, broken_banks=1)
STOPPED = {"portals": 3, "time_scale": 0, "row_error_share": 0}


@BOTH
def test_the_task_starts_a_job_and_waits(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed = family_feed(banksync_sandbox)
    run = run_task(sync_operator(feed_id=feed["id"], workspace_id=feed["workspaceId"], deferrable=deferrable))
    (job,) = jobs_of(banksync_sandbox, feed["id"])
    assert run.xcom == {"job_id": job["id"]}
    assert run.result == truth(
        banksync_sandbox, f"/v1/feeds/{feed['id']}/jobs/{job['id']}", feed["workspaceId"]
    )
    assert run.result["status"] == "completed"
    assert len(run.deferrals) == int(deferrable)


@BOTH
def test_a_task_without_wait_for_completion_returns_at_once(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed = family_feed(banksync_sandbox)
    run = run_task(
        sync_operator(
            feed_id=feed["id"],
            workspace_id=feed["workspaceId"],
            wait_for_completion=False,
            deferrable=deferrable,
        )
    )
    assert run.result["status"] == "queued"
    assert run.xcom == {"job_id": run.result["id"]}
    assert run.deferrals == []


def test_a_feed_by_name_with_dates(banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)
    run = run_task(
        sync_operator(
            feed_name=feed["name"],
            workspace_id=feed["workspaceId"],
            from_date="2026-01-01",
            to_date="2026-01-31",
        )
    )
    assert (run.result["feedId"], run.result["startDate"]) == (feed["id"], "2026-01-01")


@BOTH
def test_a_failed_job_fails_the_task_with_the_jobs_message(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    broken = next(
        bank
        for bank in truth(banksync_sandbox, "/v1/banks?scope=family")
        if bank["connectionStatus"]["status"] != "connected"
    )
    feed = next(
        feed
        for feed in truth(banksync_sandbox, "/v1/feeds?scope=family")
        if feed["dataType"] != "trades"
        and broken["id"] in {account["bankId"] for account in feed["sourceConfig"]["accounts"]}
    )
    task = sync_operator(feed_id=feed["id"], workspace_id=feed["workspaceId"], deferrable=deferrable)
    run = Run()
    with pytest.raises(AirflowFailException) as caught:
        run_task(task, run)
    (job,) = jobs_of(banksync_sandbox, feed["id"])
    assert job["errors"][0]["message"] in str(caught.value)
    assert job["errorCategory"] in str(caught.value)
    assert run.xcom == {"job_id": job["id"]}


@pytest.mark.banksync_sandbox(portals=3, time_scale=400, row_error_share=1)
@BOTH
def test_rows_that_were_not_written(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed = family_feed(banksync_sandbox)
    where = {"feed_id": feed["id"], "workspace_id": feed["workspaceId"], "deferrable": deferrable}
    run = run_task(sync_operator(**where))
    assert run.result["status"] == "completed"
    assert run.result["errors"]
    with pytest.raises(x.BankSyncJobFailedError):
        run_task(sync_operator(**where, fail_on_job_errors=True))


# --- a job is already running ---


@BOTH
@pytest.mark.banksync_sandbox(**HELD)
def test_attach_waits_for_the_running_job(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed = family_feed(banksync_sandbox)
    running = BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(feed["id"])
    with ending(banksync_sandbox, lambda: was_polled(banksync_sandbox, running)):
        run = run_task(
            sync_operator(feed_id=feed["id"], workspace_id=feed["workspaceId"], deferrable=deferrable)
        )
    assert run.result["id"] == running["id"]
    assert run.xcom == {"job_id": running["id"]}
    assert len(jobs_of(banksync_sandbox, feed["id"])) == 1


@BOTH
@pytest.mark.banksync_sandbox(**HELD)
def test_a_task_with_an_open_end_does_not_attach_to_a_job_with_two_dates(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed = family_feed(banksync_sandbox)
    two_days = BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(
        feed["id"], "2026-01-01", "2026-01-02"
    )
    place = {"feed_id": feed["id"], "workspace_id": feed["workspaceId"]}
    with ending(banksync_sandbox, lambda: was_polled(banksync_sandbox, two_days)):
        run = run_task(sync_operator(**place, deferrable=deferrable, from_date="2026-01-01"))
    assert run.result["id"] != two_days["id"]
    assert (run.result["startDate"], run.result.get("endDate")) == ("2026-01-01", None)


@BOTH
@pytest.mark.banksync_sandbox(**HELD)
@pytest.mark.parametrize(
    "arguments",
    [{"if_running": "attach", "from_date": "2026-01-01", "to_date": "2026-01-31"}, {"if_running": "wait"}],
    ids=["other-dates", "wait"],
)
def test_a_task_waits_for_the_running_job_before_it_starts_its_own(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, arguments: dict[str, Any]
) -> None:
    feed = family_feed(banksync_sandbox)
    running = BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(feed["id"])
    task = sync_operator(
        feed_id=feed["id"], workspace_id=feed["workspaceId"], deferrable=deferrable, **arguments
    )
    with ending(banksync_sandbox, lambda: was_polled(banksync_sandbox, running)):
        run = run_task(task)
    jobs = jobs_of(banksync_sandbox, feed["id"])
    assert {job["id"] for job in jobs} == {running["id"], run.result["id"]}
    assert len(jobs) == 2
    assert run.result["status"] == "completed"
    assert run.xcom == {"job_id": run.result["id"]}
    assert run.result.get("startDate") == arguments.get("from_date")


@pytest.mark.banksync_sandbox(**STOPPED)
def test_if_running_skip_and_fail(banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)
    BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(feed["id"])
    where = {"feed_id": feed["id"], "workspace_id": feed["workspaceId"]}
    with pytest.raises(AirflowSkipException):
        run_task(sync_operator(**where, if_running="skip"))
    with pytest.raises(x.BankSyncConflictError):
        run_task(sync_operator(**where, if_running="fail"))
    assert len(jobs_of(banksync_sandbox, feed["id"])) == 1


# --- timeouts and kills ---


@pytest.mark.banksync_sandbox(**STOPPED)
@BOTH
@pytest.mark.parametrize("cancel", [True, False])
def test_timeout(banksync_sandbox: BankSyncSandbox, deferrable: bool, cancel: bool) -> None:
    feed = family_feed(banksync_sandbox)
    task = sync_operator(
        feed_id=feed["id"],
        workspace_id=feed["workspaceId"],
        deferrable=deferrable,
        timeout=0.2,
        cancel_on_timeout=cancel,
    )
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task)
    assert jobs_of(banksync_sandbox, feed["id"])[0]["status"] == ("cancelled" if cancel else "queued")


@pytest.mark.banksync_sandbox(**STOPPED)
def test_a_deferral_outlives_the_triggers_deadline(banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)
    run = Run()
    task = sync_operator(feed_id=feed["id"], workspace_id=feed["workspaceId"], deferrable=True, timeout=1.5)
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(task, run)
    assert run.deferrals[0].timeout > timedelta(seconds=DEFERRAL_GRACE)


@pytest.mark.banksync_sandbox(**STOPPED)
@pytest.mark.parametrize("cancel", [True, False])
def test_a_killed_task_cancels_its_job(banksync_sandbox: BankSyncSandbox, cancel: bool, mocker: Any) -> None:
    feed = family_feed(banksync_sandbox)
    banksync_sandbox.clear_requests()
    sync_operator(feed_id=feed["id"]).on_kill()  # nothing was started, so there is nothing to cancel
    assert banksync_sandbox.requests == [] == banksync_sandbox.jobs
    task = sync_operator(feed_id=feed["id"], workspace_id=feed["workspaceId"], cancel_on_kill=cancel)

    class Killed(BaseException):
        pass

    def kill(_: float) -> None:
        task.on_kill()
        raise Killed

    # Airflow kills from a signal handler, which interrupts the sleep between two polls.
    mocker.patch("airflow_provider_banksync.api.http.client.sleep", kill)
    with pytest.raises(Killed):
        run_task(task)
    assert jobs_of(banksync_sandbox, feed["id"])[0]["status"] == ("cancelled" if cancel else "queued")


@pytest.mark.banksync_sandbox(**STOPPED)
def test_execution_timeout_cancels(banksync_sandbox: BankSyncSandbox) -> None:
    from airflow.providers.common.compat.sdk import AirflowTaskTimeout, timeout

    feed = family_feed(banksync_sandbox)
    task = sync_operator(feed_id=feed["id"], workspace_id=feed["workspaceId"])
    with pytest.raises(AirflowTaskTimeout), timeout(1):
        run_task(task)
    task.on_kill()  # Airflow calls it when the exception has left execute()
    assert jobs_of(banksync_sandbox, feed["id"])[0]["status"] == "cancelled"


@pytest.mark.banksync_sandbox(**STOPPED)
def test_a_kill_before_the_jobs_id_is_known(banksync_sandbox: BankSyncSandbox, mocker: Any) -> None:
    feed = family_feed(banksync_sandbox)
    task = sync_operator(feed_id=feed["id"], workspace_id=feed["workspaceId"], wait_for_completion=False)
    real = task.hook.start_sync

    def killed_meanwhile(*arguments: Any, **options: Any) -> Any:
        task.on_kill()
        return real(*arguments, **options)

    mocker.patch.object(task.hook, "start_sync", killed_meanwhile)
    run_task(task)
    assert jobs_of(banksync_sandbox, feed["id"])[0]["status"] == "cancelled"


@pytest.mark.banksync_sandbox(**STOPPED)
@pytest.mark.parametrize("cancel", [True, False])
def test_a_killed_trigger_cancels_and_a_restarted_one_does_not(
    banksync_sandbox: BankSyncSandbox, cancel: bool
) -> None:
    import asyncio

    feed = family_feed(banksync_sandbox)
    job = BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(feed["id"])
    trigger = BankSyncJobTrigger(
        feed_id=feed["id"],
        job_id=job["id"],
        deadline=time.time() + 60,
        workspace_id=feed["workspaceId"],
        cancel_on_kill=cancel,
    )
    asyncio.run(restored(trigger).cleanup())
    assert jobs_of(banksync_sandbox, feed["id"])[0]["status"] == "queued"
    asyncio.run(restored(trigger).on_kill())
    assert jobs_of(banksync_sandbox, feed["id"])[0]["status"] == ("cancelled" if cancel else "queued")
    asyncio.run(restored(trigger).on_kill())


# --- bad input ---


@pytest.mark.parametrize("bad", ["", "  ", "None", None])
def test_an_empty_feed_id_fails_at_once(banksync_sandbox: BankSyncSandbox, bad: Any) -> None:
    task = sync_operator(feed_id="{{ x }}")
    task.feed_id = bad
    with pytest.raises(AirflowFailException, match="feed_id is"):
        run_task(task)
    assert banksync_sandbox.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "neither feed_id nor feed_name is given"),
        ({"feed_id": "a", "feed_name": "b"}, "feed_id and feed_name are both given"),
        ({"feed_id": "a", "if_running": "maybe"}, "if_running must be one of"),
        ({"feed_id": "a", "timeout": None}, "timeout must be"),
        ({"feed_id": "a", "timeout": "60"}, "timeout must be"),
        ({"feed_id": "a", "timeout": 1e15}, "timeout must be"),
        ({"feed_id": "a", "poll_interval": 0}, "poll_interval must be"),
        ({"feed_id": "a", "max_poll_interval": float("nan")}, "max_poll_interval must be"),
    ],
)
def test_a_dag_with_bad_arguments_does_not_parse(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sync_operator(**arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (None, None)),
        ({"from_date": "", "to_date": None}, (None, None)),
        ({"from_date": "2026-01-01", "to_date": "2026-01-31"}, ("2026-01-01", "2026-01-31")),
        ({"from_date": date(2026, 1, 1)}, ("2026-01-01", None)),
        ({"to_date": datetime(2026, 1, 31, 23, 59, tzinfo=timezone.utc)}, (None, "2026-01-31")),
    ],
)
def test_dates(
    banksync_sandbox: BankSyncSandbox, arguments: dict[str, Any], expected: tuple[str | None, ...]
) -> None:
    feed = family_feed(banksync_sandbox)
    run_task(
        sync_operator(
            feed_id=feed["id"], workspace_id=feed["workspaceId"], wait_for_completion=False, **arguments
        )
    )
    (job,) = jobs_of(banksync_sandbox, feed["id"])
    assert (job.get("startDate"), job.get("endDate")) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"from_date": "yesterday"},
            "from_date must be a day in the form YYYY-MM-DD, not 'yesterday'.*filter ds",
        ),
        ({"to_date": "2026-02-30"}, "to_date must be a day"),
        ({"to_date": "2026-W01-1"}, "to_date must be a day"),
        ({"from_date": "2026-01-01 00:00:00+00:00"}, "from_date must be a day"),
        ({"from_date": "None"}, "from_date must be a day"),
        ({"from_date": 20260101}, "from_date must be a day"),
        ({"from_date": "2026-01-02", "to_date": "2026-01-01"}, "from_date 2026-01-02 is after to_date"),
    ],
)
def test_wrong_dates_fail_at_once(
    banksync_sandbox: BankSyncSandbox, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(AirflowFailException, match=words):
        run_task(rendered(sync_operator, feed_name="any", **arguments))
    assert banksync_sandbox.requests == []


@BOTH
def test_a_permanent_error_fails_at_once(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    with pytest.raises(AirflowFailException, match="BankSyncNotFoundError"):
        run_task(sync_operator(feed_id="no-such-feed", deferrable=deferrable))


def test_airflow_retries_a_temporary_error(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    connection = {"conn_type": "banksync", "host": banksync_sandbox.url, "password": banksync_sandbox.api_key}
    monkeypatch.setenv(
        "AIRFLOW_CONN_BANKSYNC_DEFAULT", json.dumps({**connection, "extra": {"max_retries": 0}})
    )
    banksync_sandbox.stop()
    with pytest.raises(x.BankSyncConnectionError):
        run_task(sync_operator(feed_id="f"))


# --- the serialized trigger, and its events ---


def test_the_trigger_survives_serialization() -> None:
    arguments = {
        "feed_id": "f",
        "job_id": "j",
        "ownership": "inferred",
        "deadline": 12.5,
        "limit": "execution_timeout",
        "banksync_conn_id": "c",
        "workspace_id": "w",
        "poll_interval": 1.5,
        "max_poll_interval": 9,
        "cancel_on_kill": True,
        "cancel_on_timeout": True,
    }
    path, kwargs = BankSyncJobTrigger(**arguments).serialize()
    assert path == "airflow_provider_banksync.triggers.job.BankSyncJobTrigger"
    assert kwargs == arguments
    assert restored(BankSyncJobTrigger(**arguments)).serialize() == (path, kwargs)


@pytest.mark.parametrize(
    "event",
    [None, "ended", {}, {"status": "success"}, {"status": "ended"}, {"status": "ended", "job": {"id": "j"}}],
)
def test_an_unknown_event_is_an_error(event: Any) -> None:
    with pytest.raises(x.BankSyncError):
        job_from_event(event)


def test_an_error_in_an_event_keeps_its_type() -> None:
    for kind in ("BankSyncAuthError", "BankSyncServerError"):
        with pytest.raises(getattr(x, kind), match="why"):
            job_from_event({"status": "error", "error": {"type": kind, "message": "why"}})
    with pytest.raises(x.BankSyncError, match="why"):
        job_from_event({"status": "error", "error": {"type": "os.system", "message": "why"}})
