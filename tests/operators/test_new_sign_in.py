"""A bank that needs a new sign-in: no retry of a sync helps, so there is none."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api.jobs import needs_sign_in, raise_unless_succeeded
from tests.operators.test_family import QUICK, Store, attempt, feeds_of, operator, started
from tests.support.sandbox_data import truth
from tests.support.task_runs import BOTH, Run, run_task, sync_operator

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

HINT = "A retry does not help. Have the client reconnect the bank in BankSync."
pytestmark = pytest.mark.banksync_sandbox(**QUICK)


def broken_feeds(sandbox: BankSyncSandbox, count: int = 1) -> set[str]:
    """Break some banks, and return the feeds that read them."""
    banks = [bank["id"] for bank in truth(sandbox, "/v1/banks?scope=family")][:count]
    for bank_id in banks:
        sandbox.break_bank(bank_id)
    return {
        feed_id
        for feed_id, feed in feeds_of(sandbox).items()
        if {account["bankId"] for account in feed["sourceConfig"]["accounts"]} & set(banks)
    }


@BOTH
def test_a_sync_fails_without_a_retry(banksync_sandbox: BankSyncSandbox, deferrable: bool) -> None:
    feed_id = min(broken_feeds(banksync_sandbox))
    feed = feeds_of(banksync_sandbox)[feed_id]
    task = sync_operator(feed_id=feed_id, workspace_id=feed["workspaceId"], deferrable=deferrable)
    with pytest.raises(AirflowFailException) as caught:
        run_task(task)
    (job,) = banksync_sandbox.jobs
    for words in ("BankSyncJobReauthRequiredError", job["errors"][0]["message"], job["id"], HINT):
        assert words in str(caught.value)
    assert "mapping" not in str(caught.value)


@BOTH
def test_a_family_of_which_only_banks_need_a_sign_in(
    banksync_sandbox: BankSyncSandbox, deferrable: bool
) -> None:
    doomed, run = broken_feeds(banksync_sandbox), Run()
    with pytest.raises(AirflowFailException) as caught:
        run_task(operator(deferrable=deferrable), run)
    assert str(caught.value).endswith(f"{HINT} This concerns {len(doomed)} of the feeds.")
    for feed_id, row in run.xcom["return_value"].items():
        assert (row["error"] or "").startswith("the bank needs the client to sign in again: ") == (
            feed_id in doomed
        )


@pytest.mark.banksync_sandbox(**{**QUICK, "failure_share": 0.3, "seed": 3})
@BOTH
@pytest.mark.parametrize("newest", [True, False], ids=["with-a-store", "by-the-api"])
def test_a_retry_starts_only_the_feeds_that_may_succeed(
    banksync_sandbox: BankSyncSandbox, deferrable: bool, newest: bool
) -> None:
    signed_out = broken_feeds(banksync_sandbox)
    context: dict[str, Any] = {"dag_run": SimpleNamespace(start_date=datetime.now(timezone.utc))}
    if newest:
        context["task_state_store"] = Store()
    with pytest.raises(x.BankSyncJobFailedError):
        attempt(operator(deferrable=deferrable), 1, **context)
    failed = {job["feedId"] for job in banksync_sandbox.jobs if job["status"] == "failed"}
    assert failed > signed_out, "the destinations of other feeds fail"
    time.sleep(1.1)  # the server tells whole seconds: what failed in this one would be the retry's
    with pytest.raises(x.BankSyncJobFailedError) as caught:
        attempt(operator(deferrable=deferrable), 2, **context)
    assert started(banksync_sandbox) == {
        feed_id: 1 + (feed_id in failed - signed_out) for feed_id in feeds_of(banksync_sandbox)
    }
    assert f"{len(failed)} of " in str(caught.value), "the retry reports them again"
    # After a new sign-in, a person clears the task. Then every feed is synced again.
    before = started(banksync_sandbox)
    with pytest.raises(x.BankSyncJobFailedError):
        attempt(operator(deferrable=deferrable), 3, max_tries=4, **context)
    assert started(banksync_sandbox) == {feed_id: count + 1 for feed_id, count in before.items()}


JOB = {"id": "j", "feedId": "f", "status": "failed", "errors": []}


@pytest.mark.parametrize(
    "fields",
    [
        {"errorCategory": "authentication"},
        {"errors": [{"message": "no", "category": "authentication", "severity": "error"}]},
        {"errors": [{"message": "ITEM_LOGIN_REQUIRED: the login details have changed"}]},
        {"errors": ["First Platypus Bank: please sign in again"]},
        {"errors": [{"message": "Consent expired; the owner has to re-authenticate"}]},
        {"errors": [{"message": "ok"}, {"message": "Bank requires a new sign-in"}]},
        {"status": "completed", "errors": [{"message": "login required", "severity": "error"}]},
    ],
)
def test_errors_that_ask_for_a_sign_in(fields: dict[str, Any]) -> None:
    job = {**JOB, **fields}
    assert needs_sign_in(job)
    with pytest.raises(x.BankSyncJobReauthRequiredError) as caught:
        raise_unless_succeeded(job, fail_on_job_errors=True)
    assert caught.value.permanent
    assert isinstance(caught.value, x.BankSyncJobFailedError)
    assert caught.value.job == job
    assert str(caught.value).endswith(HINT)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"errors": None, "errorCategory": None},
        {"errorCategory": "destination", "errors": ["Notion: log in again"]},
        {"errors": [{"message": "Airtable: re-authorize the integration", "category": "destination"}]},
        {"errors": [{"message": "Bank timed out after login"}]},
        {"errors": [{"message": "sign in again soon", "severity": "warning"}]},
        {"status": "cancelled", "errorCategory": "authentication"},
    ],
)
def test_errors_that_do_not(fields: dict[str, Any]) -> None:
    job = {**JOB, **fields}
    assert not needs_sign_in(job)
    with pytest.raises(x.BankSyncJobError) as caught:
        raise_unless_succeeded(job)
    assert not caught.value.permanent
