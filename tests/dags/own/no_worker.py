"""Sensors that start in the triggerer. Their pool has no slots, so a task that needs a worker never runs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_banksync.compat import AIRFLOW
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from airflow_provider_banksync.sensors.bank import BankSyncBankConnectedSensor
from airflow_provider_banksync.sensors.feed import BankSyncFeedSyncedSensor
from airflow_provider_banksync.sensors.job import BankSyncJobSensor

BANK, SECOND, FEED, BROKEN, CLIENT = "@BANK@", "@SECOND@", "@FEED@", "@BROKEN@", "@CLIENT@"
# A worker ends these tasks, so their pool has slots.
WITH_WORKER: dict[str, Any] = {
    "deferrable": True,
    "start_from_trigger": True,
    "poke_interval": 1,
    "timeout": 120,
}
CAN = AIRFLOW < (3, 1) or AIRFLOW >= (3, 3)
WITHOUT: dict[str, Any] = {
    **WITH_WORKER,
    "do_xcom_push": False,
    "pool": "no_slots" if CAN else "default_pool",
}

with DAG(
    "no_worker",
    schedule="@once",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    params={"feed_id": FEED},
) as dag:
    BankSyncBankConnectedSensor(task_id="bank", bank_id=BANK, **WITHOUT)
    BankSyncFeedSyncedSensor(task_id="literal", feed_id=FEED, synced_after="2026-01-01", **WITHOUT)
    soft: dict[str, Any] = {**WITH_WORKER, "soft_fail": True}
    BankSyncBankConnectedSensor(task_id="gone", bank_id="no-such-bank", retries=2, **WITH_WORKER)
    BankSyncBankConnectedSensor(task_id="soft", bank_id="no-such-bank", **soft)
    BankSyncBankConnectedSensor(
        task_id="again",
        bank_id=SECOND,
        workspace_id=CLIENT,
        retries=1,
        retry_delay=timedelta(seconds=1),
        **WITH_WORKER,
    )
    BankSyncBankConnectedSensor(
        task_id="late", bank_id=BROKEN, workspace_id=CLIENT, **{**WITH_WORKER, "timeout": 3}
    )

    if AIRFLOW >= (3, 3):
        ANY_FEED = "{{ params.feed_id }}"
        start = BankSyncTriggerSyncOperator(task_id="start", feed_id=ANY_FEED, wait_for_completion=False)
        BankSyncFeedSyncedSensor(task_id="synced", feed_id="{{ var.value.feed_id }}", **WITHOUT)
        BankSyncFeedSyncedSensor(
            task_id="today", feed_id=ANY_FEED, synced_after="{{ dag_run.run_after | ds }}", **WITHOUT
        )
        text = BankSyncJobSensor(
            task_id="text",
            feed_id=ANY_FEED,
            job_id="{{ ti.xcom_pull(task_ids='start', key='job_id') }}",
            **WITHOUT,
        )
        pulled = BankSyncJobSensor(
            task_id="pulled", feed_id=ANY_FEED, job_id=start.output["job_id"], **WITH_WORKER
        )
        by_worker = BankSyncJobSensor(
            task_id="by_worker",
            feed_id=ANY_FEED,
            job_id="{{ (ti.xcom_pull(task_ids='start'))['id'] | trim if task else '' }}",
            **WITH_WORKER,
        )
        start >> [text, by_worker]

        @task
        def ids(job: dict[str, Any]) -> list[str]:
            """Map over the job."""
            return [job["id"]]

        @task
        def read(job: dict[str, Any]) -> str:
            """Use what the sensor returned, as any task downstream would."""
            return f"{job['id']} {job['status']}"

        read(pulled.output)
        BankSyncJobSensor.partial(task_id="mapped", feed_id=ANY_FEED, **WITH_WORKER).expand(
            job_id=ids(start.output)
        )
        BankSyncFeedSyncedSensor(task_id="unknown", feed_id="{{ var.value.nothing }}", **WITH_WORKER)
