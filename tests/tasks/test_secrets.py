"""Airflow stores no key with a task: not in its pickle, serialized DAG, rendered fields or XComs."""

from __future__ import annotations

import json
import pickle
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.operators.listing import BankSyncListOperator
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from tests.support.sandbox_data import family_feed
from tests.support.task_runs import restored, run_task

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=1000, row_error_share=0)


def serialized(dag: Any) -> str:
    """The DAG as it goes into the database."""
    try:
        from airflow.serialization.serialized_objects import DagSerialization as Form
    except ImportError:  # before Airflow 3.1
        from airflow.serialization.serialized_objects import SerializedDAG as Form
    return json.dumps(Form.to_dict(dag))


def tasks(sandbox: BankSyncSandbox) -> list[Any]:
    feed = family_feed(sandbox)
    where = {"feed_id": feed["id"], "workspace_id": feed["workspaceId"]}
    return [
        BankSyncListOperator(task_id="list", resource="banks", scope="family"),
        BankSyncTriggerSyncOperator(task_id="sync", deferrable=False, poll_interval=0.01, **where),
        BankSyncTriggerSyncOperator(task_id="deferred", deferrable=True, poll_interval=0.01, **where),
    ]


def test_airflow_stores_no_key_with_a_task(banksync_sandbox: BankSyncSandbox) -> None:
    key = banksync_sandbox.api_key
    with DAG("secrets", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
        operators = tasks(banksync_sandbox)
    for operator in operators:
        run = run_task(operator)
        assert "hook" in vars(operator), "it has called the API"
        stored = [
            pickle.dumps(operator),
            json.dumps([run.xcom, run.result, run.events], default=str).encode(),
            repr([getattr(operator, name) for name in operator.template_fields]).encode(),
            repr(operator).encode(),
            *(repr(restored(deferral.trigger).serialize()).encode() for deferral in run.deferrals),
        ]
        assert [text for text in stored if key.encode() in text] == []
    assert key not in serialized(dag)


def test_a_used_hook_is_pickled_without_its_key(banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook()
    workspace = hook.whoami()
    stored = pickle.dumps(hook)
    assert banksync_sandbox.api_key.encode() not in stored
    assert pickle.loads(stored).whoami() == workspace
