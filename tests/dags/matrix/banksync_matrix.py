"""One sync for each way that a job can end. The test passes the settings in BANKSYNC_MATRIX."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import date, datetime, timedelta, timezone
from functools import partial
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from tests.support.fast_time import Scene, fast_time

TOLD = json.loads(os.environ["BANKSYNC_MATRIX"])
OUTAGE = 300.0
ROW_ERROR = {"message": "Row 7 was not written", "category": "validation", "severity": "warning"}

clock = fast_time(TOLD["url"])


def fault(name: str, feed: dict[str, str], **arguments: Any) -> None:
    """Let each poll of the feed's job fail."""
    path = f"/v1/feeds/{feed['id']}/jobs/*"
    clock.admin("POST", "faults", {"fault": name, "with": arguments, "path": path, "method": "GET"})


def end_faults() -> None:
    clock.admin("DELETE", "faults")


def cancel(feed: dict[str, str]) -> None:
    """Cancel the feed's job, as a person would in the app."""
    (job,) = [job for job in clock.admin("GET", "jobs")["jobs"] if job["feedId"] == feed["id"]]
    headers = {"X-API-Key": TOLD["key"], "X-Workspace-Id": feed["workspaceId"]}
    clock.send("DELETE", f"/v1/feeds/{feed['id']}/jobs/{job['id']}", None, headers)


def scene(ending: str, feed: dict[str, str]) -> Scene:
    """Say what happens to a task, and how many seconds after it began."""
    scenes: dict[str, Scene] = {
        "errors": [(10, partial(fault, "edited", feed, errors=[ROW_ERROR]))],
        "strict": [(10, partial(fault, "edited", feed, errors=[ROW_ERROR]))],
        "cancelled": [(10, partial(cancel, feed))],
        "unknown": [(10, partial(fault, "edited", feed, status="paused")), (200, end_faults)],
        "unknown_end": [
            (10, partial(fault, "edited", feed, status="archived", completedAt="2026-01-01T00:00:00Z"))
        ],
        "too_long": [(10, partial(time.sleep, 60))],
        "killed": [(10, partial(os.kill, os.getpid(), signal.SIGTERM))],
        "missing": [(10, partial(fault, "status", feed, code=404))],
        "outage": [(10, partial(fault, "status", feed, code=502, body="html")), (10 + OUTAGE, end_faults)],
        "refused": [(10, partial(fault, "reset", feed)), (10 + OUTAGE, end_faults)],
    }
    return scenes.get(ending, [])


def begin(ending: str, context: Any) -> None:
    clock.begin(ending, scene(ending, TOLD["feeds"][ending]))


MORE: dict[str, dict[str, Any]] = {
    "completed": {"from_date": "{{ data_interval_start | ds }}", "to_date": "{{ data_interval_end | ds }}"},
    "errors": {"from_date": date(2026, 1, 1)},
    "strict": {"fail_on_job_errors": True},
    "timeout": {"timeout": 60},
    "too_long": {"execution_timeout": timedelta(seconds=4)},
}

# A name for each set of tasks: the dag.test() of Airflow 3.1 does not run one that has changed since its last run.
NAME = f"banksync_matrix_{min(TOLD['feeds'])}"

with DAG(NAME, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
    for name, feed in TOLD["feeds"].items():
        BankSyncTriggerSyncOperator(
            task_id=name,
            feed_id=feed["id"],
            workspace_id=feed["workspaceId"],
            deferrable=TOLD["deferrable"],
            pre_execute=partial(begin, name),
            **MORE.get(name, {}),
        )
