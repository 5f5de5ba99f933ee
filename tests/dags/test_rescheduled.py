"""Sensors in reschedule mode on a real Airflow: what they log, and how often."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import pytest

from airflow_provider_banksync.compat import AIRFLOW
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from tests.support.paths import ROOT
from tests.support.sandbox_data import family_feed

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.dags.conftest import RunDag

_MOMENT = re.compile(r"(\d\d:\d\d:\d\d)[.,](\d\d\d)")


@pytest.mark.skipif(
    AIRFLOW == (3, 0), reason="dag.test() of Airflow 3.0 does not return to a task that was rescheduled"
)
@pytest.mark.banksync_sandbox(portals=2, job_seconds=(0.2, 0.4), row_error_share=0)
def test_a_problem_is_a_warning_once(
    banksync_sandbox: BankSyncSandbox, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(ROOT / "tests" / "dags" / "own"))
    feed = family_feed(banksync_sandbox)
    bank_id = feed["sourceConfig"]["accounts"][0]["bankId"]
    other = next(bank for bank in BankSyncHook().list_banks("family") if bank["id"] != bank_id)
    hook = BankSyncHook(workspace_id=feed["workspaceId"])
    cancelled = hook.trigger_sync(feed["id"])
    hook.cancel_job(feed["id"], cancelled["id"])
    banksync_sandbox.break_bank(other["id"])
    paths = {"bank": f"/v1/banks/{other['id']}", "synced": f"/v1/feeds/{feed['id']}/jobs"}

    def polls(of: str) -> int:
        return sum(request.path == paths[of] for request in banksync_sandbox.requests)

    def end_the_waits() -> None:
        while min(map(polls, paths)) < 3 and not over.wait(0.1):
            pass
        banksync_sandbox.mend_bank(other["id"])
        hook.trigger_sync(feed["id"])

    banksync_sandbox.clear_requests()
    over = threading.Event()
    thread = threading.Thread(target=end_the_waits)
    thread.start()
    try:
        run = run_dag(
            "../tests/dags/own/rescheduled.py",
            workspace_id=other["workspaceId"],
            feed_workspace_id=feed["workspaceId"],
            bank_id=other["id"],
            feed_id=feed["id"],
            synced_after=cancelled["createdAt"],
        )
    finally:
        over.set()
        thread.join()
    assert run["state"] == "success", run["log"][-6000:]
    assert sum(request.path == "/v1/whoami" for request in banksync_sandbox.requests) == 1
    for words in ("is not connected: ", f"No sync yet: job {cancelled['id']}"):
        lines = [line for line in run["log"].splitlines() if words in line]
        # Compare times, because some versions of Airflow write each line twice.
        moments = [tuple(_MOMENT.findall(line)[0]) for line in lines]
        warned = {
            at for at, line in zip(moments, lines, strict=True) if "warning" in line.split(words)[0].lower()
        }
        assert (len(set(moments)) > 1, len(warned)) == (True, 1), lines
        assert min(moments) in warned
