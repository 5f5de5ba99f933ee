"""The syncs that the tests kill, one task for each feed; what there is to sync comes in BANKSYNC_KILLS."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_banksync.operators.sync import BankSyncFamilySyncOperator, BankSyncTriggerSyncOperator

TOLD = json.loads(os.environ["BANKSYNC_KILLS"])


def tell(name: str, context: Any) -> None:
    """Leave a note of this process, just before the task's work begins."""
    note = {"pid": os.getpid(), "parent": os.getppid(), "try": context["ti"].try_number, "at": time.time()}
    file = Path(TOLD["notes"]) / f"{context['dag'].dag_id}~{name}~{time.time_ns()}"
    file.with_suffix(".new").write_text(json.dumps(note))
    file.with_suffix(".new").rename(file)


def sync(name: str, feed: dict[str, Any], **arguments: Any) -> None:
    BankSyncTriggerSyncOperator(
        task_id=name,
        feed_id=feed["id"],
        workspace_id=feed["workspaceId"],
        poll_interval=0.5,
        pre_execute=partial(tell, name),
        **arguments,
    )


START = datetime(2026, 1, 1, tzinfo=timezone.utc)

with DAG("kills", schedule=None, start_date=START) as kills:
    for task_id, wanted in TOLD["kills"].items():
        sync(
            task_id,
            wanted,
            deferrable=wanted["deferrable"],
            max_poll_interval=2,
            retries=9,
            retry_delay=timedelta(0),
        )

with DAG("waits", schedule=None, start_date=START) as waits:
    for task_id, wanted in TOLD["waits"].items():
        sync(task_id, wanted, deferrable=True, max_poll_interval=10, banksync_conn_id="banksync_long")

for dag_id in ("family_killed", "family_moved"):
    with DAG(dag_id, schedule=None, start_date=START) as globals()[dag_id]:
        BankSyncFamilySyncOperator(
            task_id="sync",
            data_types=["transactions", "balances", "holdings", "loans"],
            deferrable=True,
            max_poll_interval=5,
            banksync_conn_id=f"banksync_{dag_id}",
        )
