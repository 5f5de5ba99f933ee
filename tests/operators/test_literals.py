"""Arguments that can never be right are refused when Airflow parses the DAG file, not when the task runs."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator
from airflow_provider_banksync.operators.feeds import BankSyncDeleteFeedOperator, BankSyncUpsertFeedOperator
from airflow_provider_banksync.operators.jobs import BankSyncCancelJobOperator
from airflow_provider_banksync.operators.listing import BankSyncListOperator
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from airflow_provider_banksync.sensors.bank import BankSyncBankConnectedSensor
from airflow_provider_banksync.sensors.feed import BankSyncFeedSyncedSensor
from airflow_provider_banksync.sensors.job import BankSyncJobSensor
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

EXPORT = {"resource": "transactions", "destination": "/lake", "scope": "family"}
WRONG: list[tuple[type, dict[str, Any], str]] = [
    (BankSyncTriggerSyncOperator, {"feed_id": ""}, "feed_id must be an id from BankSync"),
    (BankSyncTriggerSyncOperator, {"feed_id": 7}, "feed_id must be an id from BankSync"),
    (
        BankSyncTriggerSyncOperator,
        {"feed_id": "f", "workspace_id": ""},
        "workspace_id must be a BankSync workspace id",
    ),
    (BankSyncDeleteFeedOperator, {"feed_id": ".."}, "feed_id must be an id from BankSync"),
    (
        BankSyncUpsertFeedOperator,
        {"name": "n", "definition": {}, "workspace_id": "a b"},
        "workspace_id must be",
    ),
    (BankSyncCancelJobOperator, {"feed_id": "f", "job_id": " "}, "job_id must be an id from BankSync"),
    (BankSyncFamilySyncOperator, {"feed_ids": "fd_1"}, "feed_ids must be a list or None"),
    (BankSyncFamilySyncOperator, {"workspace_ids": [""]}, "workspace_ids contains ''"),
    (BankSyncFamilySyncOperator, {"workspace_ids": [None, "{{ params.x }}"]}, "workspace_ids contains None"),
    (BankSyncListOperator, {"resource": "banks", "where": ["name"]}, "where must be a dict"),
    (BankSyncListOperator, {"resource": "banks", "fields": "id"}, "fields must be a list of names"),
    (BankSyncListOperator, {"resource": "banks", "fields": []}, "fields must be a list of names"),
    (BankSyncToObjectStorageOperator, {**EXPORT, "where": "currency=EUR"}, "where must be a dict"),
    (BankSyncToObjectStorageOperator, {**EXPORT, "bank_ids": 5}, "bank_ids must be a list or None"),
    (
        BankSyncToObjectStorageOperator,
        {**EXPORT, "account_ids": "ac_1"},
        "account_ids must be a list or None",
    ),
    (BankSyncJobSensor, {"feed_id": "f", "job_id": ""}, "job_id must be an id from BankSync"),
    (BankSyncFeedSyncedSensor, {"feed_id": ".", "synced_after": "2026-01-01"}, "feed_id must be an id"),
    (BankSyncBankConnectedSensor, {"bank_id": ""}, "bank_id must be an id from BankSync"),
    (BankSyncBankConnectedSensor, {"bank_id": "b", "workspace_id": "None"}, "workspace_id must be"),
]


@pytest.mark.parametrize(("kind", "arguments", "message"), WRONG)
def test_a_wrong_literal(kind: type, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BankSyncConfigError, match=message):
        kind(task_id="t", **arguments)


LATER: list[tuple[type, dict[str, Any]]] = [
    (
        BankSyncTriggerSyncOperator,
        {"feed_id": "{{ params.feed_id }}", "workspace_id": "{{ params.workspace_id }}"},
    ),
    (
        BankSyncFamilySyncOperator,
        {"feed_ids": "{{ params.feed_ids }}", "workspace_ids": ["{{ params.portal }}"]},
    ),
    (
        BankSyncListOperator,
        {"resource": "banks", "where": "{{ params.where }}", "fields": "{{ params.fields }}"},
    ),
    (
        BankSyncListOperator,
        {"resource": "banks", "where": {"name": "{{ params.name }}"}, "fields": {"id": "id"}},
    ),
    (BankSyncToObjectStorageOperator, {**EXPORT, "bank_ids": None, "account_ids": {"ac_1"}}),
]


@pytest.mark.parametrize(("kind", "arguments"), LATER)
def test_a_template_is_checked_when_the_task_runs(kind: type, arguments: dict[str, Any]) -> None:
    kind(task_id="t", **arguments)


def test_so_is_the_output_of_a_task() -> None:
    with DAG("d", schedule=None):
        first = BankSyncListOperator(task_id="first", resource="feeds")
        BankSyncFamilySyncOperator(task_id="t", feed_ids=first.output, workspace_ids=[first.output])  # type: ignore[arg-type,list-item]
