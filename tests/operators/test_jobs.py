"""BankSyncCancelJobOperator and BankSyncTriggerLearnOperator, against the sandbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.operators.jobs import BankSyncCancelJobOperator, BankSyncTriggerLearnOperator
from airflow_provider_banksync.sandbox import Fault
from tests.support.sandbox_data import family_feed, truth
from tests.support.task_runs import HELD, ending, rendered, run_task

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0, row_error_share=0)


def start_job(sandbox: BankSyncSandbox) -> dict[str, Any]:
    feed = family_feed(sandbox)
    job = BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(feed["id"])
    return {"feed_id": feed["id"], "job_id": job["id"], "workspace_id": feed["workspaceId"]}


def cancel(**arguments: Any) -> BankSyncCancelJobOperator:
    return BankSyncCancelJobOperator(**{"task_id": "cancel", **arguments})


def job_in_sandbox(sandbox: BankSyncSandbox, where: dict[str, Any]) -> Any:
    return truth(sandbox, f"/v1/feeds/{where['feed_id']}/jobs/{where['job_id']}", where["workspace_id"])


def test_a_job_is_cancelled(banksync_sandbox: BankSyncSandbox) -> None:
    where = start_job(banksync_sandbox)
    run = run_task(cancel(**where, if_ended="fail"))
    assert run.result == job_in_sandbox(banksync_sandbox, where)
    assert run.result["status"] == "cancelled"
    again = run_task(cancel(**where, if_ended="fail"))
    assert again.result == run.result


def test_a_cancel_whose_answer_was_lost(banksync_sandbox: BankSyncSandbox) -> None:
    where = start_job(banksync_sandbox)
    banksync_sandbox.faults.add(Fault.reset(), method="DELETE", nth=1, when="after")
    assert run_task(cancel(**where, if_ended="fail")).result["status"] == "cancelled"


def test_a_job_that_has_ended(banksync_sandbox: BankSyncSandbox) -> None:
    where = start_job(banksync_sandbox)
    banksync_sandbox.clock.advance(3600)
    ended = job_in_sandbox(banksync_sandbox, where)
    assert ended["status"] == "completed"
    assert run_task(cancel(**where)).result == ended
    with pytest.raises(
        AirflowSkipException, match=r"had ended before it could be cancelled: job .* completed"
    ):
        run_task(cancel(**where, if_ended="skip"))
    with pytest.raises(
        AirflowFailException, match=r"had ended before it could be cancelled: job .* completed"
    ):
        run_task(cancel(**where, if_ended="fail"))


@pytest.mark.banksync_sandbox(**HELD, portals=3)
def test_the_task_waits_until_the_job_has_ended(banksync_sandbox: BankSyncSandbox) -> None:
    where = start_job(banksync_sandbox)
    # The API accepts the request, and the job goes on.
    slow = {"success": True, "data": {**job_in_sandbox(banksync_sandbox, where), "status": "in_progress"}}
    banksync_sandbox.faults.add(
        Fault.answer(200, json.dumps(slow), media_type="application/json"), method="DELETE"
    )
    with ending(
        banksync_sandbox, lambda: any(request.method == "DELETE" for request in banksync_sandbox.requests)
    ):
        run = run_task(cancel(**where))
    assert run.result == job_in_sandbox(banksync_sandbox, where)
    assert run.result["status"] == "completed"
    banksync_sandbox.faults.clear()
    where = start_job(banksync_sandbox)
    slow["data"] = {**job_in_sandbox(banksync_sandbox, where), "status": "in_progress"}
    banksync_sandbox.faults.add(
        Fault.answer(200, json.dumps(slow), media_type="application/json"), method="DELETE"
    )
    with pytest.raises(x.BankSyncJobTimeoutError):
        run_task(cancel(**where, timeout=0))


@pytest.mark.usefixtures("short_404s")
def test_a_job_that_a_replica_does_not_have_yet(banksync_sandbox: BankSyncSandbox) -> None:
    where = start_job(banksync_sandbox)
    banksync_sandbox.faults.add(Fault.status(404), method="DELETE", path="/v1/feeds/*/jobs/*", nth=1)
    assert run_task(cancel(**where)).result["status"] == "cancelled"


@pytest.mark.usefixtures("short_404s")
def test_a_missing_job(banksync_sandbox: BankSyncSandbox) -> None:
    where = {**start_job(banksync_sandbox), "job_id": "no-such-job"}
    with pytest.raises(AirflowFailException, match="BankSyncNotFoundError"):
        run_task(cancel(**where))


@pytest.mark.parametrize("name", ["feed_id", "job_id"])
@pytest.mark.parametrize("bad", ["", "None", None])
def test_an_empty_id_fails_at_once(banksync_sandbox: BankSyncSandbox, name: str, bad: Any) -> None:
    with pytest.raises(AirflowFailException, match=f"{name} is"):
        run_task(rendered(cancel, **{"feed_id": "f", "job_id": "j", name: bad}))
    assert banksync_sandbox.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"if_ended": "maybe"}, "if_ended must be one of"), ({"timeout": -1}, "timeout must be")],
)
def test_a_dag_with_bad_arguments_does_not_parse(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(x.BankSyncConfigError, match=words):
        cancel(feed_id="f", job_id="j", **arguments)


# --- learn ---


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_feed_learns(banksync_sandbox: BankSyncSandbox, by: str) -> None:
    feed = family_feed(banksync_sandbox)
    task = BankSyncTriggerLearnOperator(
        task_id="learn", **{f"feed_{by}": feed[by]}, workspace_id=feed["workspaceId"]
    )
    assert run_task(task).result
    sent = [request.path for request in banksync_sandbox.requests if request.method == "POST"]
    assert sent == [f"/v1/feeds/{feed['id']}/learn"]


def test_airflow_retries_a_learn_request_without_an_answer(banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)
    banksync_sandbox.faults.add(Fault.reset(), method="POST", nth=1, when="after")
    task = BankSyncTriggerLearnOperator(task_id="learn", feed_id=feed["id"], workspace_id=feed["workspaceId"])
    with pytest.raises(x.BankSyncConnectionError):
        run_task(task)
    assert run_task(task).result


def test_learning_needs_feed_id_or_feed_name() -> None:
    with pytest.raises(x.BankSyncConfigError, match="neither feed_id nor feed_name is given"):
        BankSyncTriggerLearnOperator(task_id="learn")


def test_a_missing_feed_cannot_learn(banksync_sandbox: BankSyncSandbox) -> None:
    for where in ({"feed_id": "no-such-feed"}, {"feed_name": "No such feed"}):
        with pytest.raises(AirflowFailException, match="BankSyncNotFoundError"):
            run_task(BankSyncTriggerLearnOperator(task_id="learn", **where))
