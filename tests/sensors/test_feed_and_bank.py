"""Sensors of a feed's sync and a bank's connection, in poke and deferrable mode, against the sandbox."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import retry_policy
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.sandbox import Fault
from airflow_provider_banksync.sensors.bank import BankSyncBankConnectedSensor
from airflow_provider_banksync.sensors.feed import BankSyncFeedSyncedSensor
from airflow_provider_banksync.tasks.trigger_events import row_from_event
from airflow_provider_banksync.triggers.sensors import (
    BankSyncBankConnectedTrigger,
    BankSyncFeedSyncedTrigger,
    BankSyncJobEndedTrigger,
)
from tests.support.sandbox_data import family_feed, truth
from tests.support.task_runs import Logged, Run, restored, run_task

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
STOPPED = {"portals": 3, "time_scale": 0, "row_error_share": 0}
pytestmark = pytest.mark.banksync_sandbox(**STOPPED)


def iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat()


def synced(sandbox: BankSyncSandbox, feed: dict[str, Any], **how: Any) -> dict[str, Any]:
    """Sync a feed, whatever comes of it; an hour goes by."""
    hook = BankSyncHook(workspace_id=feed["workspaceId"])
    job = hook.trigger_sync(feed["id"])
    if how.get("cancelled"):
        hook.cancel_job(feed["id"], job["id"])
    sandbox.clock.advance(3600)
    ended: dict[str, Any] = truth(sandbox, f"/v1/feeds/{feed['id']}/jobs/{job['id']}", feed["workspaceId"])
    return ended


def feed_sensor(feed: dict[str, Any], **arguments: Any) -> BankSyncFeedSyncedSensor:
    where = {"task_id": "synced", "feed_id": feed["id"], "workspace_id": feed["workspaceId"]}
    return BankSyncFeedSyncedSensor(**{**where, "poke_interval": 0.05, "timeout": 1.5, **arguments})


# --- a feed's sync ---


@MODES
def test_the_end_of_a_job_decides_to_the_millisecond(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed = family_feed(banksync_sandbox)
    job = synced(banksync_sandbox, feed)
    # Neither this machine's clock nor when the job began matters.
    assert job["completedAt"] > job["createdAt"]
    run = run_task(feed_sensor(feed, synced_after=job["completedAt"], deferrable=deferrable))
    assert run.result == job
    ended = datetime.fromisoformat(job["completedAt"].replace("Z", "+00:00"))
    with pytest.raises(AirflowSensorTimeout):
        run_task(feed_sensor(feed, synced_after=ended + timedelta(milliseconds=1), deferrable=deferrable))


@MODES
def test_a_job_counts_if_it_began_before_and_ended_after(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed = family_feed(banksync_sandbox)
    job = synced(banksync_sandbox, feed)
    assert job["startedAt"] < job["completedAt"]
    began = datetime.fromisoformat(job["startedAt"].replace("Z", "+00:00"))
    moment = began + timedelta(milliseconds=1)
    assert run_task(feed_sensor(feed, synced_after=moment, deferrable=deferrable)).result == job


@MODES
def test_it_waits_for_a_later_sync(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed = family_feed(banksync_sandbox)
    early = synced(banksync_sandbox, feed)
    late = synced(banksync_sandbox, feed)
    assert (
        run_task(feed_sensor(feed, synced_after=early["completedAt"], deferrable=deferrable)).result == late
    )
    task = feed_sensor(feed, synced_after=late["completedAt"][:-1] + "9Z", deferrable=deferrable, timeout=20)
    BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(feed["id"])
    banksync_sandbox.clock.set_scale(3000)
    run = run_task(task)
    assert run.result["status"] == "completed"
    assert run.result["id"] not in {early["id"], late["id"]}


@MODES
def test_a_look_is_one_request(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed = family_feed(banksync_sandbox)
    job = synced(banksync_sandbox, feed)
    banksync_sandbox.clear_requests()
    run_task(feed_sensor(feed, synced_after=job["completedAt"], deferrable=deferrable))
    assert len(banksync_sandbox.requests) == 1


@MODES
def test_a_cancelled_job_is_none_and_is_told_of(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, logged: Logged
) -> None:
    feed = family_feed(banksync_sandbox)
    job = synced(banksync_sandbox, feed, cancelled=True)
    task = feed_sensor(feed, synced_after=job["createdAt"], fail_on_failed_job=True, deferrable=deferrable)
    with pytest.raises(AirflowSensorTimeout):
        run_task(task)
    assert logged().count(f"No sync yet: job {job['id']} of feed {feed['id']} cancelled") == 1
    late = synced(banksync_sandbox, feed)
    assert run_task(task).result == late


@pytest.mark.banksync_sandbox(**STOPPED, failure_share=1)
@MODES
@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({}, AirflowSensorTimeout),
        ({"soft_fail": True}, AirflowSkipException),
        ({"fail_on_failed_job": True}, AirflowFailException),
        ({"fail_on_failed_job": True, "soft_fail": True}, AirflowSkipException),
    ],
    ids=["waits-on", "soft", "fails", "fails-soft"],
)
def test_a_job_that_failed(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, arguments: dict[str, Any], kind: type[Exception]
) -> None:
    feed = family_feed(banksync_sandbox)
    job = synced(banksync_sandbox, feed)
    assert job["status"] == "failed"
    task = feed_sensor(feed, synced_after=job["createdAt"], deferrable=deferrable, **arguments)
    with pytest.raises(kind) as caught:
        run_task(task)
    if kind is AirflowFailException:
        assert job["errors"][0]["message"] in str(caught.value)


@pytest.mark.banksync_sandbox(**STOPPED, failure_share=1)
@MODES
def test_a_failure_before_the_moment_is_nobodys_business(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    feed = family_feed(banksync_sandbox)
    synced(banksync_sandbox, feed)
    after = iso(banksync_sandbox.clock.now().timestamp())
    with pytest.raises(AirflowSensorTimeout):
        run_task(feed_sensor(feed, synced_after=after, fail_on_failed_job=True, deferrable=deferrable))


@MODES
def test_a_status_that_is_new_to_us_is_no_sync(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed = family_feed(banksync_sandbox)
    job = synced(banksync_sandbox, feed)
    rows = [{**job, "status": "archived"}]
    banksync_sandbox.faults.add(listing(rows), path="/v1/feeds/*/jobs")
    with pytest.raises(AirflowSensorTimeout, match="archived" if deferrable else None):
        run_task(feed_sensor(feed, synced_after=job["createdAt"], deferrable=deferrable))


@MODES
def test_a_feed_without_jobs_is_waited_for(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    banksync_sandbox.faults.add(listing([]), path="/v1/feeds/*/jobs")
    with pytest.raises(AirflowSensorTimeout, match="the feed has no jobs" if deferrable else None):
        run_task(feed_sensor(family_feed(banksync_sandbox), synced_after="2026-01-01", deferrable=deferrable))


def listing(rows: list[dict[str, Any]]) -> Fault:
    body = json.dumps({"success": True, "data": rows}, default=str)
    return Fault.answer(200, body, media_type="application/json")


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        (date(2026, 1, 31), "2026-01-31T00:00:00Z"),
        ("2026-01-31T05:00:00Z", "2026-01-31T05:00:00Z"),
        ("2026-01-31 05:00:00+02:00", "2026-01-31T03:00:00Z"),
        ("2026-01-31T05:00", "2026-01-31T05:00:00Z"),
        ("2026-01-31T05:00:00.12Z", "2026-01-31T05:00:00.120Z"),
        ("2026-01-31T05:00:00.123456789Z", "2026-01-31T05:00:00.123456Z"),
        (datetime(2026, 1, 31, 5), "2026-01-31T05:00:00Z"),  # noqa: DTZ001 - that is the point
        (datetime(2026, 1, 31, 5, tzinfo=timezone(timedelta(hours=2))), "2026-01-31T03:00:00Z"),
    ],
)
def test_moments(given: Any, moment: str) -> None:
    from airflow_provider_banksync.api.codec import epoch_seconds
    from airflow_provider_banksync.api.validation import parse_datetime as read

    assert read("synced_after", given) == epoch_seconds(moment)


@MODES
def test_a_day_begins_at_midnight_utc(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed = family_feed(banksync_sandbox)
    job = synced(banksync_sandbox, feed)
    ended = datetime.fromisoformat(job["completedAt"].replace("Z", "+00:00"))
    day = date(ended.year, ended.month, ended.day)
    assert run_task(feed_sensor(feed, synced_after=day, deferrable=deferrable)).result == job
    with pytest.raises(AirflowSensorTimeout):
        run_task(feed_sensor(feed, synced_after=day + timedelta(days=1), deferrable=deferrable))


@MODES
@pytest.mark.parametrize("bad", ["", "None", "yesterday", "2026-13-01", 5, None])
def test_what_is_no_moment_fails_at_once(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, bad: Any
) -> None:
    task = feed_sensor({"id": "f", "workspaceId": "w"}, deferrable=deferrable)
    task.synced_after = bad  # as a template would give it
    with pytest.raises(
        AirflowFailException, match="synced_after must be a datetime, a date or ISO 8601 text"
    ):
        run_task(task)
    assert banksync_sandbox.requests == []


def test_what_is_no_moment_does_not_parse() -> None:
    with pytest.raises(x.BankSyncConfigError, match="synced_after must be"):
        feed_sensor({"id": "f", "workspaceId": "w"}, synced_after="yesterday")


# --- a bank's connection ---


def bank_sensor(bank: dict[str, Any], **arguments: Any) -> BankSyncBankConnectedSensor:
    where = {"task_id": "connected", "bank_id": bank["id"], "workspace_id": bank["workspaceId"]}
    return BankSyncBankConnectedSensor(**{**where, "poke_interval": 0.05, "timeout": 1.5, **arguments})


def client_bank(sandbox: BankSyncSandbox, form: str) -> dict[str, Any]:
    """A client's bank whose status comes in one of the two forms that have been seen."""
    banks = truth(sandbox, "/v1/banks?scope=family")
    return dict(next(bank for bank in banks if bank["portal"] and form in bank["connectionStatus"]))


FORMS = pytest.mark.parametrize("form", ["status", "connected"])


@pytest.mark.banksync_sandbox(portals=8, time_scale=0, drift=True)
@MODES
@FORMS
def test_a_bank_that_is_connected(banksync_sandbox: BankSyncSandbox, deferrable: bool, form: str) -> None:
    bank = client_bank(banksync_sandbox, form)
    banksync_sandbox.clear_requests()
    run = run_task(bank_sensor(bank, deferrable=deferrable))
    assert run.result == truth(banksync_sandbox, f"/v1/banks/{bank['id']}", bank["workspaceId"])
    assert len(banksync_sandbox.requests) == 2, "one look, and this test's own"


@pytest.mark.banksync_sandbox(portals=8, time_scale=0, drift=True)
@MODES
@FORMS
def test_a_bank_that_is_broken_and_mended(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, form: str, logged: Logged
) -> None:
    import threading

    bank = client_bank(banksync_sandbox, form)
    banksync_sandbox.break_bank(bank["id"])
    client = dict(banksync_sandbox.portals)[bank["workspaceId"]]
    banksync_sandbox.clear_requests()
    with pytest.raises(AirflowSensorTimeout):
        run_task(bank_sensor(bank, deferrable=deferrable))
    log = logged()
    assert f"{client!r} ({bank['workspaceId']}) must sign in to the bank again" in log
    assert log.count("must sign in to the bank again") == 1, "said once, not at each look"
    paths = [request.path for request in banksync_sandbox.requests]
    assert paths.count("/v1/whoami") == 1
    assert len(paths) > 3
    mending = threading.Timer(0.3, banksync_sandbox.mend_bank, [bank["id"]])
    mending.start()
    run = run_task(bank_sensor(bank, deferrable=deferrable, timeout=20))
    mending.join()
    assert run.result["id"] == bank["id"]


@MODES
@pytest.mark.parametrize(
    ("status", "connected", "words"),
    [
        ({"status": "connected"}, True, ""),
        ({"status": "CONNECTED"}, True, ""),
        ({"connected": True}, True, ""),
        ({"status": "error", "connected": True}, False, "is not connected: error."),
        ({"status": "pending"}, False, "is not connected: pending."),
        ({"connected": "yes"}, False, "is not connected: not connected."),
        ({"connected": False}, False, "must sign in to the bank again"),
        ({"status": "error", "errorCode": "ITEM_LOGIN_REQUIRED"}, False, "must sign in to the bank again"),
        ({"status": "requires_reauth"}, False, "must sign in to the bank again"),
        ({}, False, "BankSync does not say whether it is connected"),
        (None, False, "BankSync does not say whether it is connected"),
        ("connected", False, "BankSync does not say whether it is connected"),
    ],
)
def test_what_a_bank_says_of_itself(
    banksync_sandbox: BankSyncSandbox,
    deferrable: bool,
    status: Any,
    connected: bool,
    words: str,
    logged: Logged,
) -> None:
    bank = truth(banksync_sandbox, "/v1/banks?scope=family")[0]
    banksync_sandbox.faults.add(Fault.edited(connectionStatus=status), path="/v1/banks/*")
    task = bank_sensor(bank, deferrable=deferrable, timeout=0.1)
    if connected:
        assert run_task(task).result["id"] == bank["id"]
        return
    with pytest.raises(AirflowSensorTimeout):
        run_task(task)
    log = logged()
    assert words in log
    assert ("must sign in" in log) is ("must sign in" in words)


@MODES
@pytest.mark.parametrize("known", [True, False])
def test_a_client_whose_name_cannot_be_had(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, known: bool, logged: Logged
) -> None:
    bank = next(bank for bank in truth(banksync_sandbox, "/v1/banks?scope=family") if not bank["portal"])
    banksync_sandbox.break_bank(bank["id"])
    banksync_sandbox.faults.add(Fault.status(403), path="/v1/whoami")
    with pytest.raises(AirflowSensorTimeout):
        run_task(bank_sensor(bank, deferrable=deferrable, **({} if known else {"workspace_id": None})))
    where = f"workspace {bank['workspaceId']}" if known else "this workspace"
    assert logged().count(f"{where} must sign in to the bank again") == 1


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "NOT_FOUND_GRACE", 0.2)


@pytest.mark.usefixtures("short_grace")
@MODES
@pytest.mark.parametrize(("soft_fail", "kind"), [(False, AirflowFailException), (True, AirflowSkipException)])
def test_a_bank_that_there_is_not(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, soft_fail: bool, kind: type[Exception]
) -> None:
    task = bank_sensor(
        {"id": "no-such-bank", "workspaceId": None}, deferrable=deferrable, soft_fail=soft_fail
    )
    with pytest.raises(kind):
        run_task(task)


@MODES
@pytest.mark.parametrize("bad", ["", "  ", "None", None])
def test_an_empty_id_fails_at_once(banksync_sandbox: BankSyncSandbox, deferrable: bool, bad: Any) -> None:
    task = bank_sensor({"id": "{{ params.bank }}", "workspaceId": None}, deferrable=deferrable)
    task.bank_id = bad
    with pytest.raises(AirflowFailException, match="bank_id is"):
        run_task(task)
    assert banksync_sandbox.requests == []


# --- waiting, whatever for ---


@MODES
@pytest.mark.parametrize("bad", ["", "None", " "])
def test_a_lost_workspace_is_not_the_parent(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, bad: str
) -> None:
    task = bank_sensor({"id": "b", "workspaceId": "{{ params.portal }}"}, deferrable=deferrable)
    task.workspace_id = bad
    with pytest.raises(AirflowFailException, match="workspace_id must be"):
        run_task(task)
    task.workspace_id, task._workspace_rendered_empty = (
        None,
        True,
    )  # as a template that gave nothing leaves it
    with pytest.raises(AirflowFailException, match="workspace_id must be"):
        run_task(task)
    assert banksync_sandbox.requests == []


def without_retries(sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each failed request be a failed look."""
    connection: dict[str, Any] = {"conn_type": "banksync", "host": sandbox.url, "password": sandbox.api_key}
    connection["extra"] = {"max_retries": 0}
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", json.dumps(connection))


@MODES
def test_a_time_of_trouble_is_outlasted(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_retries(banksync_sandbox, monkeypatch)
    bank = truth(banksync_sandbox, "/v1/banks?scope=family")[0]
    banksync_sandbox.faults.add(Fault.status(502), path="/v1/banks/*", times=3)
    banksync_sandbox.faults.add(Fault.reset(), path="/v1/banks/*", times=2)
    run = run_task(bank_sensor(bank, deferrable=deferrable, timeout=60))
    assert run.result["id"] == bank["id"]
    assert len(banksync_sandbox.requests) >= 6


@MODES
def test_trouble_until_the_end(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_retries(banksync_sandbox, monkeypatch)
    banksync_sandbox.stop()
    with pytest.raises(AirflowSensorTimeout, match="there was no answer" if deferrable else None):
        run_task(bank_sensor({"id": "b", "workspaceId": None}, deferrable=deferrable, timeout=0.1))


@MODES
@pytest.mark.parametrize(
    ("never_fail", "kind"), [(False, x.BankSyncResponseError), (True, AirflowSkipException)]
)
def test_an_error_that_a_retry_may_cure(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, never_fail: bool, kind: type[Exception]
) -> None:
    bank = truth(banksync_sandbox, "/v1/banks?scope=family")[0]
    banksync_sandbox.faults.add(Fault.redirect("https://elsewhere.example/"), path="/v1/banks/*")
    with pytest.raises(kind):
        run_task(bank_sensor(bank, deferrable=deferrable, never_fail=never_fail))


@pytest.mark.usefixtures("short_grace")
@MODES
@pytest.mark.parametrize("how", ["soft_fail", "never_fail"])
@pytest.mark.parametrize(
    "bank_id", ["", "no-such-bank", "a real one"], ids=["bad-argument", "not-there", "too-late"]
)
def test_what_is_skipped_where_a_failure_is_none(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, how: str, bank_id: str
) -> None:
    if how == "never_fail" and bank_id == "a real one" and not deferrable:
        pytest.skip("Airflow does not count the time of a sensor that pokes among its failures")
    bank = truth(banksync_sandbox, "/v1/banks?scope=family")[0]
    banksync_sandbox.break_bank(bank["id"])
    task = bank_sensor(bank, deferrable=deferrable, **{how: True})
    if bank_id != "a real one":
        task.bank_id = bank_id
    with pytest.raises(AirflowSkipException):
        run_task(task)


def test_a_deferral_outlives_the_triggers_deadline(banksync_sandbox: BankSyncSandbox) -> None:
    bank = truth(banksync_sandbox, "/v1/banks?scope=family")[0]
    run, began = Run(), time.time()
    run_task(bank_sensor(bank, deferrable=True, timeout=5), run)
    (deferral,) = run.deferrals
    assert deferral.timeout == timedelta(seconds=605)
    assert 5 <= deferral.trigger.deadline - began < 60


COMMON = {
    "banksync_conn_id": "c",
    "workspace_id": "w",
    "poll_interval": 1.5,
    "max_poll_interval": 9,
    "deadline": 12.5,
    "timeout": 7.0,
    "leeway": -3.0,
    "ends_task": True,
}


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (BankSyncJobEndedTrigger, {"feed_id": "f", "job_id": "j", "fail_on_job_errors": True}),
        (
            BankSyncFeedSyncedTrigger,
            {"feed_id": "f", "synced_after": "2026-01-01", "fail_on_failed_job": True},
        ),
        (BankSyncBankConnectedTrigger, {"bank_id": "b"}),
    ],
)
def test_a_trigger_survives_its_stored_form(kind: Any, arguments: dict[str, Any]) -> None:
    path, kwargs = kind(**arguments, **COMMON).serialize()
    assert path == f"airflow_provider_banksync.triggers.sensors.{kind.__name__}"
    assert kwargs == {**arguments, **COMMON}
    assert restored(kind(**arguments, **COMMON)).serialize() == (path, kwargs)


@pytest.mark.parametrize("event", [None, "found", {}, {"status": "success"}, {"status": "found"}])
def test_an_event_that_nobody_knows_is_an_error(event: Any) -> None:
    with pytest.raises(x.BankSyncError):
        row_from_event(event)


def test_a_hundred_waits_share_one_loop(banksync_sandbox: BankSyncSandbox) -> None:
    bank = truth(banksync_sandbox, "/v1/banks?scope=family")[0]
    banksync_sandbox.break_bank(bank["id"])
    banksync_sandbox.faults.add(Fault.latency(0.2), path="/v1/banks/*")

    async def one() -> list[Any]:
        trigger = BankSyncBankConnectedTrigger(
            bank_id=bank["id"], workspace_id=bank["workspaceId"], deadline=time.time() + 3, poll_interval=1
        )
        return [event.payload["status"] async for event in restored(trigger).run()]

    async def main() -> list[list[Any]]:
        return await asyncio.gather(*(one() for _ in range(100)))

    began = time.monotonic()
    assert asyncio.run(main()) == [["timeout"]] * 100
    looks = sum(request.path == f"/v1/banks/{bank['id']}" for request in banksync_sandbox.requests)
    assert looks >= 100
    assert time.monotonic() - began < 0.2 * looks / 2, "one after the other, they would take twice as long"
