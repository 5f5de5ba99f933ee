"""A wrong argument that is not a template fails where the DAG file is parsed, in every class that has it."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator as Family
from airflow_provider_banksync.operators.feeds import BankSyncDeleteFeedOperator as DeleteFeed
from airflow_provider_banksync.operators.jobs import BankSyncCancelJobOperator as CancelJob
from airflow_provider_banksync.operators.listing import BankSyncListOperator as List
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator as Sync
from airflow_provider_banksync.sensors.feed import BankSyncFeedSyncedSensor as FeedSynced
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator as Export

FEED: dict[str, Any] = {"feed_id": "f"}
LISTING: dict[str, Any] = {"resource": "feeds"}
EXPORT: dict[str, Any] = {"resource": "transactions", "destination": "/lake"}

WRONG = [
    (Sync, FEED, {"if_running": "atach"}, "if_running must be one of attach, wait, skip, fail, not 'atach'"),
    (Sync, FEED, {"from_date": "2026-13-01"}, "from_date must be a day"),
    (Sync, FEED, {"from_date": "2026-01-02", "to_date": date(2026, 1, 1)}, "is after to_date"),
    (Family, {}, {"scope": "famly"}, "scope must be one of self, family, not 'famly'"),
    (Family, {}, {"data_types": ["transaction"]}, "'transaction', which is not.*mean 'transactions'"),
    (Family, {}, {"to_date": "yesterday"}, "to_date must be a day"),
    (Family, {}, {"if_running": "join"}, "if_running must be one of"),
    (List, {}, {"resource": "feed"}, "resource must be one of workspaces, portals, banks"),
    (List, {}, {"resource": "transactions"}, "resource must be one of"),
    (List, {}, {"resource": "portals", "scope": "family"}, "resource 'portals' has no scope='family'"),
    (List, LISTING, {"scope": "all"}, "scope must be one of self, family"),
    (List, LISTING, {"on_unavailable": "warn"}, "on_unavailable must be one of"),
    (List, LISTING, {"max_xcom_bytes": "1 MB"}, "max_xcom_bytes must be a whole number"),
    (Export, {"destination": "/lake"}, {"resource": "transaction"}, "resource must be one of"),
    (Export, EXPORT, {"scope": "famly"}, "scope must be one of"),
    (Export, EXPORT, {"file_format": "pq"}, "file_format must be one of jsonl, csv, parquet"),
    (Export, EXPORT, {"compression": "zip"}, "compression must be one of"),
    (Export, EXPORT, {"on_drift": "report"}, "on_drift must be one of"),
    (Export, EXPORT, {"on_unavailable": "skip"}, "on_unavailable must be one of"),
    (Export, EXPORT, {"from_date": "2026-02-30"}, "from_date must be a day"),
    (
        Export,
        {"destination": "/lake"},
        {"resource": "workspaces", "scope": "family"},
        "has no scope='family'",
    ),
    (CancelJob, {**FEED, "job_id": "j"}, {"if_ended": "sucess"}, "if_ended must be one of"),
    (DeleteFeed, FEED, {"if_missing": "sucess"}, "if_missing must be one of"),
    (FeedSynced, FEED, {"synced_after": "noon"}, "synced_after must be a datetime"),
]


@pytest.mark.parametrize(("kind", "given", "wrong", "words"), WRONG)
def test_a_wrong_argument(kind: Any, given: dict[str, Any], wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(BankSyncConfigError, match=words):
        kind(task_id="t", **{**given, **wrong})


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Sync, {**FEED, "from_date": "{{ ds }}", "to_date": "2020-01-01"}),
        (Family, {"scope": "{{ params.scope }}", "data_types": "{{ params.data_types }}"}),
        (Family, {"data_types": ["{{ params.data_type }}", "payslips"]}),
        (List, {"resource": "{{ params.resource }}", "scope": "{{ params.scope }}"}),
        (Export, {**EXPORT, "resource": "{% if params.x %}banks{% endif %}", "from_date": "{{ ds }}"}),
    ],
)
def test_a_template_is_checked_when_the_task_runs(kind: Any, arguments: dict[str, Any]) -> None:
    kind(task_id="t", **arguments)
