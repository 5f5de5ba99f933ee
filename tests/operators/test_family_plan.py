"""The feeds of a deferred family sync fit into what Airflow has for a trigger."""

from __future__ import annotations

import json
import logging
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from cryptography.fernet import Fernet

from airflow_provider_banksync.api.family.state import FamilySettings, Feed, FeedResult
from airflow_provider_banksync.api.family.sync import FamilySync
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.tasks import family_plan
from airflow_provider_banksync.tasks.base import TaskDeadline
from airflow_provider_banksync.tasks.family_state import FamilyState
from tests.operators.test_family import _a_wait_moves_the_servers_clock as _quick_waits  # noqa: F401
from tests.operators.test_family import deferred, feeds_of, operator
from tests.support.task_runs import Run, run_task, run_trigger

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=1, job_seconds=(0.1, 0.2), row_error_share=0)


def stored_bytes(deferral: Any) -> int:
    """Return the bytes that Airflow stores with a trigger, whose arguments it encrypts."""
    arguments = json.dumps(deferral.trigger.serialize()[1]).encode()
    return len(Fernet(Fernet.generate_key()).encrypt(arguments))


@pytest.mark.parametrize(
    "new_id", [lambda: str(uuid.uuid4()), lambda: secrets.token_hex(10)], ids=["uuid", "hex"]
)
def test_two_thousand_feeds_fit_into_a_trigger_of_mysql(
    banksync_sandbox: BankSyncSandbox, new_id: Any
) -> None:
    feeds = [
        Feed(new_id(), new_id(), f"{secrets.token_hex(4)} Cycles & Søns LLC", f"ANZ transactions {number}")
        for number in range(2_000)
    ]
    results = [
        FeedResult(
            new_id(), new_id(), "Saffron Cycles LLC", "ANZ trades", "not_started", error="trades " * 30
        )
        for number in range(200)
    ]
    settings = FamilySettings(deadline=time.time() + 60, since=1_764_518_400.5, attempt_since=1_764_518_400.5)
    deadline = TaskDeadline(settings.deadline)
    context: Any = {"ti": Run()}
    state = FamilyState(context, logging.getLogger(), {}, retries=0, durable=True)
    for known in ([], results):
        for jobs in (400, 2_000):  # that an earlier try started
            own = {f"{feed.workspace_id}/{feed.feed_id}": new_id() for feed in feeds[:jobs]}
            sync = FamilySync(feeds, settings, clock=time.time, log=logging.getLogger(), own_jobs=own)
            with pytest.raises(TaskDeferred) as deferral:
                operator(deferrable=True)._defer(sync, state, known, deadline)
            assert stored_bytes(deferral.value) < 65_535
    kwargs = deferral.value.kwargs
    assert kwargs is not None
    assert [len(json.loads(kwargs[name])) for name in ("feeds", "known")] == [2_000, 200]


@pytest.mark.parametrize("name", ["日本語の会社と口座の取引", "😀" * 20, "é" * 40, '"' * 60], ids=ascii)
@pytest.mark.parametrize("count", [50, 100, 140, 200, 400])
def test_names_that_need_many_bytes_fit_into_a_trigger_of_mysql(
    banksync_sandbox: BankSyncSandbox, name: str, count: int
) -> None:
    """JSON writes one such character as up to twelve."""
    feeds = [Feed(secrets.token_hex(10), secrets.token_hex(10), name, f"{name} {n}") for n in range(count)]
    settings = FamilySettings(deadline=time.time() + 60, since=1_764_518_400.5, attempt_since=1_764_518_400.5)
    context: Any = {"ti": Run()}
    state = FamilyState(context, logging.getLogger(), {}, retries=0, durable=True)
    own = {f"{feed.workspace_id}/{feed.feed_id}": secrets.token_hex(10) for feed in feeds}
    sync = FamilySync(feeds, settings, clock=time.time, log=logging.getLogger(), own_jobs=own)
    with pytest.raises(TaskDeferred) as deferral:
        operator(deferrable=True)._defer(sync, state, [], TaskDeadline(settings.deadline))
    assert stored_bytes(deferral.value) < 65_535


@pytest.mark.banksync_sandbox(portals=3, job_seconds=(0.1, 0.2), row_error_share=0)
def test_a_plan_of_fingerprints_has_the_same_results(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_task(operator(deferrable=True)).result
    monkeypatch.setattr(family_plan, "MAX_PLAN", 0)
    run = run_task(operator(deferrable=True))
    (deferral,) = run.deferrals
    assert all(feed_id not in str(deferral.trigger.serialize()) for feed_id in whole)
    without = {"job_id", "written"}
    assert [{**row, **dict.fromkeys(without)} for row in run.result.values()] == [
        {**row, **dict.fromkeys(without)} for row in whole.values()
    ]
    assert all(
        row["portal"] for row in run.result.values() if row["workspace_id"] in dict(banksync_sandbox.portals)
    )


def test_a_feed_that_is_gone_when_the_trigger_starts_is_reported(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family_plan, "MAX_PLAN", 0)
    task, trigger, deferral = deferred(max_failures=1)
    feeds = feeds_of(banksync_sandbox)
    gone = next(iter(feeds))
    BankSyncHook(workspace_id=feeds[gone]["workspaceId"]).delete_feed(gone)
    kwargs: Any = deferral.kwargs
    results = task.execute_complete({"ti": Run()}, run_trigger(trigger), **kwargs)  # type: ignore[typeddict-item]
    assert results.pop(gone) == {
        "feed_name": feeds[gone]["name"],
        "workspace_id": feeds[gone]["workspaceId"],
        "portal": (feeds[gone]["portal"] or {}).get("name"),
        "job_id": None,
        "status": "not_started",
        "written": None,
        "not_written": None,
        "error": "BankSync does not list the feed any more",
    }
    assert {row["status"] for row in results.values()} == {"completed"}
    assert {*results, gone} == {*feeds}
