"""What Airflow stores of a sensor that can start in the triggerer. tests/dags runs such sensors."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator, Param

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.compat import AIRFLOW
from airflow_provider_banksync.sensors.bank import BankSyncBankConnectedSensor
from airflow_provider_banksync.sensors.feed import BankSyncFeedSyncedSensor
from airflow_provider_banksync.sensors.job import BankSyncJobSensor

STARTS = AIRFLOW < (3, 1) or AIRFLOW >= (3, 3)
RENDERS = AIRFLOW >= (3, 3)
STRAIGHT: dict[str, Any] = {"deferrable": True, "start_from_trigger": True}


def dag() -> DAG:
    return DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc))


def job_sensor(job_id: Any, **arguments: Any) -> BankSyncJobSensor:
    with dag():
        return BankSyncJobSensor(task_id="t", feed_id="f", job_id=job_id, **{**STRAIGHT, **arguments})


def kwargs_of(sensor: Any) -> dict[str, Any]:
    assert sensor.start_from_trigger is True
    return dict(sensor.start_trigger_args.trigger_kwargs)


@pytest.mark.skipif(not STARTS, reason="this Airflow starts nothing in the triggerer")
def test_what_the_trigger_is_given() -> None:
    sensor = BankSyncFeedSyncedSensor(
        task_id="t",
        feed_id="f",
        synced_after=datetime(2026, 1, 1, tzinfo=timezone.utc),
        workspace_id="w",
        banksync_conn_id="c",
        poke_interval=30,
        timeout=100,
        **STRAIGHT,
    )
    assert kwargs_of(sensor) == {
        "feed_id": "f",
        "synced_after": "2026-01-01T00:00:00+00:00",
        "fail_on_failed_job": False,
        "workspace_id": "w",
        "banksync_conn_id": "c",
        "poll_interval": 5.0,
        "max_poll_interval": 30,
        "timeout": 100,
        "leeway": 600,
        "ends_task": False,
    }
    started = sensor.start_trigger_args
    assert started.trigger_cls == "airflow_provider_banksync.triggers.sensors.BankSyncFeedSyncedTrigger"
    assert (started.next_method, started.timeout) == ("execute_complete", timedelta(seconds=700))


@pytest.mark.skipif(not STARTS, reason="this Airflow starts nothing in the triggerer")
@pytest.mark.parametrize(
    ("arguments", "ends"),
    [
        ({"do_xcom_push": False}, True),
        ({}, False),
        ({"do_xcom_push": False, "on_success_callback": print}, False),
        ({"do_xcom_push": False, "on_execute_callback": print}, False),
        ({"do_xcom_push": False, "on_failure_callback": print}, True),
        ({"do_xcom_push": False, "pre_execute": print}, False),
        ({"do_xcom_push": False, "post_execute": print}, False),
    ],
)
def test_where_it_ends(arguments: dict[str, Any], ends: bool) -> None:
    assert kwargs_of(job_sensor("j", **arguments))["ends_task"] is ends


@pytest.mark.skipif(not STARTS, reason="this Airflow starts nothing in the triggerer")
# Airflow 2.11 imports its providers together with assets, and they use deprecated names of Flask and SQLAlchemy.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_sensor_with_outlets_ends_in_a_worker() -> None:
    from airflow.providers.common.compat.sdk import Asset

    sensor = job_sensor("j", do_xcom_push=False, outlets=[Asset("banksync://f")])
    assert kwargs_of(sensor)["ends_task"] is False


@pytest.mark.skipif(not STARTS, reason="this Airflow starts nothing in the triggerer")
@pytest.mark.parametrize("limit", [50, 400, 5000])
def test_the_deadline_where_airflow_ends_the_deferral_itself(limit: float) -> None:
    import time

    from airflow_provider_banksync.triggers.sensors import BankSyncJobEndedTrigger

    sensor = job_sensor("j", timeout=100, execution_timeout=timedelta(seconds=limit))
    trigger = BankSyncJobEndedTrigger(**kwargs_of(sensor))
    began = time.time()
    ends = datetime.fromtimestamp(began + min(limit, 700), timezone.utc)
    for stated in (ends, ends.replace(tzinfo=None)):
        trigger.timeout_after = stated  # type: ignore[attr-defined]  # as the triggerer does
        assert trigger._deadline() == pytest.approx(began + 100, abs=0.01)
    del trigger.timeout_after  # type: ignore[attr-defined]
    assert trigger._deadline() == pytest.approx(time.time() + 100, abs=50)


PULL = "{{ ti.xcom_pull(task_ids='a', key='k') }}"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("{{ params.job }}", "{{ params.job }}"),
        ("{{ var.value.get('job', 'x') }}", "{{ var.value.get('job', 'x') }}"),
        ("{{ dag_run.conf['job'] }}-{{ ds }}", "{{ dag_run.conf['job'] }}-{{ ds }}"),
        ("{{ data_interval_end | ds_nodash }}", "{{ data_interval_end | ds_nodash }}"),
        (PULL, "{{ ti.xcom_pull(task_ids='a', key='k', map_indexes=-1) }}"),
        ("{{ task_instance.xcom_pull('a',) }}", "{{ task_instance.xcom_pull('a', map_indexes=-1) }}"),
        ("{{ ti.xcom_pull() }}", "{{ ti.xcom_pull(map_indexes=-1) }}"),
        ("{{ ti.xcom_pull('a', map_indexes=3) }}", "{{ ti.xcom_pull('a', map_indexes=3) }}"),
        ("{% set a = params.a %}{{ a }}", "{% set a = params.a %}{{ a }}"),
    ],
)
def test_templates_that_the_triggerer_can_render(given: str, sent: str) -> None:
    sensor = job_sensor(given)
    assert sensor.start_from_trigger is RENDERS
    assert sensor.job_id == given, "a worker renders what was given"
    if RENDERS:
        assert kwargs_of(sensor)["job_id"] == sent


@pytest.mark.parametrize(
    "given",
    [
        "{{ my_macro() }}",
        "{{ params.a | my_filter }}",
        "{{ prev_data_interval_end_success }}",
        "{{ inlet_events }}",
        "{{ task.task_id }}",
        "{{ ti.get_dagrun().run_id }}",
        "{% set pull = ti %}{{ pull.xcom_pull('a') }}",
        "{{ ti.xcom_pull(task_ids=params.get('t')) }}",
        "{{ ti['xcom_pull']('a') }}",
        "{{ unclosed",
    ],
)
def test_templates_that_only_a_worker_can_render(given: str) -> None:
    sensor = job_sensor(given)
    assert sensor.start_from_trigger is False
    assert sensor.start_trigger_args is None


@pytest.mark.parametrize(("where", "starts"), [(None, False), ("ws", RENDERS)])
def test_a_param_that_may_be_empty_needs_a_worker(where: str | None, starts: bool) -> None:
    params = {"where": Param(where, type=["null", "string"])}
    sensor = job_sensor("j", dag=DAG("d", schedule=None, params=params), workspace_id="{{ params.where }}")
    assert sensor.start_from_trigger is starts


def test_what_another_task_pushed() -> None:
    with dag():
        first = BaseOperator(task_id="first")
        one = BankSyncJobSensor(task_id="one", feed_id="f", job_id=first.output["job_id"], **STRAIGHT)
        made = BankSyncJobSensor(task_id="made", feed_id="f", job_id=first.output.map(str), **STRAIGHT)
    assert one.start_from_trigger is RENDERS
    if RENDERS:
        pull = "{{ task_instance.xcom_pull(task_ids='first', dag_id='d', key='job_id', map_indexes=-1) }}"
        assert kwargs_of(one)["job_id"] == pull
    assert made.start_from_trigger is False
    assert first.task_id in one.upstream_task_ids


def test_mapped_ones_go_through_a_worker() -> None:
    from airflow.providers.common.compat.sdk import task_group

    with dag():
        mapped = BankSyncBankConnectedSensor.partial(task_id="mapped", **STRAIGHT).expand(bank_id=["a", "b"])

        @task_group
        def group(bank_id: str) -> None:
            BankSyncJobSensor(task_id="inside", feed_id="f", job_id=PULL, **STRAIGHT)

        group.expand(bank_id=["a", "b"])
    assert mapped.start_trigger_args is None, "Airflow would start it with no arguments"
    inside = mapped.dag.get_task("group.inside")
    assert inside.start_from_trigger is False


def test_only_what_defers_can_start_there() -> None:
    with pytest.raises(x.BankSyncConfigError, match="start_from_trigger=True needs deferrable=True"):
        job_sensor("j", deferrable=False)


def test_nobody_asked() -> None:
    sensor = job_sensor("j", start_from_trigger=False)
    assert (sensor.start_from_trigger, sensor.start_trigger_args) == (False, None)


@pytest.mark.skipif(STARTS, reason="this Airflow can")
def test_an_airflow_that_cannot_defers_as_ever() -> None:
    sensor = job_sensor("j")
    assert (sensor.start_from_trigger, sensor.start_trigger_args) == (False, None)
