"""Arguments with typos. mypy checks this file, and nothing runs it.

Each ``type: ignore`` is an error that mypy must find. mypy reports those that it does not need.
"""

from __future__ import annotations

from typing import Any, cast

from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator
from airflow_provider_banksync.operators.feeds import BankSyncDeleteFeedOperator
from airflow_provider_banksync.operators.jobs import BankSyncCancelJobOperator
from airflow_provider_banksync.operators.listing import BankSyncListOperator
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

BankSyncTriggerSyncOperator(task_id="t", feed_id="f", if_running="attach")
BankSyncTriggerSyncOperator(task_id="t", feed_id="f", if_running="atach")  # type: ignore[arg-type]
BankSyncFamilySyncOperator(task_id="t", scope="family", data_types=["transactions"], if_running="skip")
BankSyncFamilySyncOperator(task_id="t", scope="famly")  # type: ignore[arg-type]
BankSyncFamilySyncOperator(task_id="t", data_types=["transaction"])  # type: ignore[list-item]
BankSyncFamilySyncOperator(task_id="t", if_running="join")  # type: ignore[arg-type]
BankSyncCancelJobOperator(task_id="t", feed_id="f", job_id="j", if_ended="sucess")  # type: ignore[arg-type]
BankSyncDeleteFeedOperator(task_id="t", feed_id="f", if_missing="sucess")  # type: ignore[arg-type]
BankSyncListOperator(task_id="t", resource="feeds", scope="family", on_unavailable="report")
BankSyncListOperator(task_id="t", resource="transactions")  # type: ignore[arg-type]
BankSyncListOperator(task_id="t", resource="feeds", scope="all")  # type: ignore[arg-type]
BankSyncListOperator(task_id="t", resource="feeds", on_unavailable="warn")  # type: ignore[arg-type]
BankSyncToObjectStorageOperator(task_id="t", resource="trades", destination="/lake", file_format="csv")
BankSyncToObjectStorageOperator(task_id="t", resource="transaction", destination="/lake")  # type: ignore[arg-type]
BankSyncToObjectStorageOperator(
    task_id="t",
    resource="trades",
    destination="/lake",
    file_format="pq",  # type: ignore[arg-type]
    compression="zip",  # type: ignore[arg-type]
    on_drift="report",  # type: ignore[arg-type]
)
# A template is a text that the type cannot know.
BankSyncListOperator(task_id="t", resource=cast("Any", "{{ params.resource }}"))

hook = BankSyncHook()
hook.list_feeds("family")
hook.list_feeds("famly")  # type: ignore[arg-type]
hook.list_jobs("f", status="complete")  # type: ignore[arg-type]
