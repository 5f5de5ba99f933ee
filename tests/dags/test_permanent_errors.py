"""Permanent errors burn no retries, on a real Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_banksync.hooks.banksync import BankSyncHook
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.dags.conftest import RunDag


@pytest.mark.banksync_sandbox(portals=1, job_seconds=(0.2, 0.5), row_error_share=0)
def test_what_fails_for_good_is_tried_once(
    banksync_sandbox: BankSyncSandbox, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(ROOT / "tests" / "dags" / "own"))
    hook = BankSyncHook()
    feeds = [feed for feed in hook.list_feeds() if feed["dataType"] != "trades"][:2]
    for feed, deferrable in zip(feeds, (False, True), strict=True):
        hook.update_feed(feed["id"], {"name": f"feed {deferrable}"})
    for bank in hook.list_banks():
        banksync_sandbox.break_bank(bank["id"])
    banksync_sandbox.clear_requests()
    run = run_dag("../tests/dags/own/permanent_errors.py")
    assert {task["state"] for task in run["tasks"]} == {"failed"}
    asked = [request for request in banksync_sandbox.requests if request.path.endswith("/no-such-feed")]
    assert len(asked) == 1
    assert {job["feedId"] for job in banksync_sandbox.jobs} == {feed["id"] for feed in feeds}
    assert len(banksync_sandbox.jobs) == len(feeds), "no retry starts another job"
    assert run["log"].count("Have the client reconnect the bank in BankSync") >= len(feeds)
