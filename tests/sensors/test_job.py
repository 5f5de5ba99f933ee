"""BankSyncJobSensor in poke, reschedule and deferrable mode."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_provider_banksync.api import retry_policy
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.sandbox import Fault
from airflow_provider_banksync.sensors.job import BankSyncJobSensor
from tests.support.sandbox_data import family_feed, truth
from tests.support.task_runs import run_task

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=400, row_error_share=0)
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
COUNTS_RESCHEDULES = pytest.mark.skipif(
    version("apache-airflow").startswith("2."), reason="Airflow 2 asks its own database how often it was here"
)
STOPPED = {"portals": 3, "time_scale": 0, "row_error_share": 0}


def started(sandbox: BankSyncSandbox) -> dict[str, Any]:
    feed = family_feed(sandbox)
    job = BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(feed["id"])
    return {"feed_id": feed["id"], "job_id": job["id"], "workspace_id": feed["workspaceId"]}


def without_retries(sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hook send each request once."""
    connection = {"host": sandbox.url, "password": sandbox.api_key, "extra": {"max_retries": 0}}
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", json.dumps({"conn_type": "banksync", **connection}))


def sensor(**arguments: Any) -> BankSyncJobSensor:
    return BankSyncJobSensor(**{"task_id": "wait", "poke_interval": 0.05, "timeout": 30, **arguments})


@MODES
def test_it_waits_and_returns_the_job(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    where = started(banksync_sandbox)
    run = run_task(sensor(**where, deferrable=deferrable))
    path = f"/v1/feeds/{where['feed_id']}/jobs/{where['job_id']}"
    assert run.result == truth(banksync_sandbox, path, where["workspace_id"])
    assert run.result["status"] == "completed"


@pytest.mark.banksync_sandbox(**STOPPED)
@MODES
@pytest.mark.parametrize(("soft_fail", "kind"), [(False, AirflowFailException), (True, AirflowSkipException)])
def test_a_job_that_was_cancelled(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, soft_fail: bool, kind: type[Exception]
) -> None:
    where = started(banksync_sandbox)
    BankSyncHook(workspace_id=where["workspace_id"]).cancel_job(where["feed_id"], where["job_id"])
    with pytest.raises(kind):
        run_task(sensor(**where, deferrable=deferrable, soft_fail=soft_fail))


@COUNTS_RESCHEDULES
@pytest.mark.banksync_sandbox(**STOPPED)
def test_reschedule_gives_the_worker_back(banksync_sandbox: BankSyncSandbox) -> None:
    from unittest.mock import MagicMock

    from airflow.exceptions import AirflowRescheduleException

    where = started(banksync_sandbox)
    task = sensor(**where, mode="reschedule", poke_interval=60)
    ti = MagicMock()  # of Airflow's own surface: how often the sensor was rescheduled before
    ti.get_first_reschedule_date.return_value = None
    with pytest.raises(AirflowRescheduleException):
        task.execute({"ti": ti, "task_instance": ti})
    banksync_sandbox.clock.advance(3600)
    assert task.execute({"ti": ti, "task_instance": ti})["status"] == "completed"


@pytest.mark.banksync_sandbox(**STOPPED)
@MODES
def test_when_the_time_is_up(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    task = sensor(**started(banksync_sandbox), deferrable=deferrable, timeout=0.2)
    with pytest.raises(AirflowSensorTimeout):
        run_task(task)


@pytest.mark.banksync_sandbox(**STOPPED)
def test_a_look_that_fails_for_a_passing_reason_is_not_the_end(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_retries(banksync_sandbox, monkeypatch)
    where = started(banksync_sandbox)
    banksync_sandbox.stop()
    assert not sensor(**where).poke({})
    with pytest.raises(AirflowSensorTimeout):
        run_task(sensor(**where, timeout=0.1))


@MODES
@pytest.mark.parametrize("name", ["feed_id", "job_id"])
def test_an_empty_id_fails_at_once(banksync_sandbox: BankSyncSandbox, deferrable: bool, name: str) -> None:
    with pytest.raises(BankSyncConfigError, match=f"{name} must be an id from BankSync, not ''"):
        sensor(**{"feed_id": "f", "job_id": "j", name: ""}, deferrable=deferrable)
    task = sensor(feed_id="f", job_id="j", deferrable=deferrable)
    setattr(task, name, "")  # what a template has rendered
    with pytest.raises(AirflowFailException, match=f"{name} is ''"):
        run_task(task)
    assert banksync_sandbox.requests == []


@MODES
def test_a_job_that_there_is_not(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "NOT_FOUND_GRACE", 0.2)
    task = sensor(**{**started(banksync_sandbox), "job_id": "no-such-job"}, deferrable=deferrable)
    with pytest.raises(AirflowFailException, match="BankSyncNotFoundError"):
        run_task(task)
    assert len([one for one in banksync_sandbox.requests if one.path.endswith("no-such-job")]) > 1


@MODES
@pytest.mark.parametrize(
    "fault", [Fault.status(404), Fault.status(404, body="html")], ids=["replica", "gateway"]
)
def test_a_job_that_is_not_found_at_first(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_retries(banksync_sandbox, monkeypatch)
    where = started(banksync_sandbox)
    banksync_sandbox.faults.add(fault, path="/v1/feeds/*/jobs/*", times=2)
    assert run_task(sensor(**where, deferrable=deferrable)).result["status"] == "completed"


@pytest.mark.parametrize("deferrable", [True])
def test_a_timeout_shows_what_a_gateway_sent(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_retries(banksync_sandbox, monkeypatch)
    where = started(banksync_sandbox)
    banksync_sandbox.faults.add(Fault.answer(403, "<p>Be right back</p>", media_type="text/html"))
    with pytest.raises(AirflowSensorTimeout, match="A gateway or a proxy sent: Be right back"):
        run_task(sensor(**where, deferrable=deferrable, timeout=0.5))


@COUNTS_RESCHEDULES
@pytest.mark.parametrize(("seconds", "final"), [(10, False), (59, False), (61, True)])
def test_a_rescheduled_sensor_waits_a_minute_for_a_job_that_a_replica_does_not_have(
    banksync_sandbox: BankSyncSandbox, seconds: int, final: bool
) -> None:
    """Each poll is in a process of its own. Only Airflow knows when the first one was."""
    where = started(banksync_sandbox)
    missing = banksync_sandbox.faults.add(Fault.status(404), path="/v1/feeds/*/jobs/*")
    first = datetime.now(timezone.utc) - timedelta(seconds=seconds)
    ti = SimpleNamespace(get_first_reschedule_date=lambda _: first)
    context: Any = {"task_reschedule_count": 3, "ti": ti}
    if final:
        with pytest.raises(AirflowFailException, match="BankSyncNotFoundError"):
            sensor(**where, mode="reschedule").poke(context)
    else:
        assert not sensor(**where, mode="reschedule").poke(context)
    assert missing.hits
    banksync_sandbox.faults.clear()
    sensor(**where, mode="reschedule").poke(context)  # no error


@COUNTS_RESCHEDULES
def test_a_rescheduled_sensor_waits_only_once_for_a_job_that_there_is_not(
    banksync_sandbox: BankSyncSandbox,
) -> None:
    where = {**started(banksync_sandbox), "job_id": "no-such-job"}
    assert not sensor(**where, mode="reschedule").poke({})
    with pytest.raises(AirflowFailException, match="BankSyncNotFoundError"):
        sensor(**where, mode="reschedule").poke({"task_reschedule_count": 1})
