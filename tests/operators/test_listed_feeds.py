"""A feed that a listing has just had, and that a replica of BankSync does not have yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_banksync.operators.feeds import (
    BankSyncDeleteFeedOperator,
    BankSyncUpsertFeedOperator,
)
from airflow_provider_banksync.operators.jobs import BankSyncTriggerLearnOperator
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.tasks import base
from tests.support.sandbox_data import truth
from tests.support.task_runs import run_task

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.banksync_sandbox(portals=1, time_scale=0)


def sync(feed: dict[str, Any], by: str) -> BankSyncTriggerSyncOperator:
    return BankSyncTriggerSyncOperator(
        task_id="x", wait_for_completion=False, **{by: feed[by.removeprefix("feed_")]}
    )


def learn(feed: dict[str, Any], by: str) -> BankSyncTriggerLearnOperator:
    return BankSyncTriggerLearnOperator(task_id="x", **{by: feed[by.removeprefix("feed_")]})


def delete(feed: dict[str, Any], by: str) -> BankSyncDeleteFeedOperator:
    return BankSyncDeleteFeedOperator(task_id="x", if_missing="fail", **{by: feed[by.removeprefix("feed_")]})


def upsert(feed: dict[str, Any], _: str) -> BankSyncUpsertFeedOperator:
    return BankSyncUpsertFeedOperator(
        task_id="x",
        name=feed["name"],
        definition={"schedule": {"enabled": True, "frequency": "daily", "timeOfDay": "05:17"}},
    )


WRITES = [
    (sync, "GET", "/v1/feeds/*/jobs"),
    (sync, "POST", "/v1/feeds/*/sync"),
    (learn, "POST", "/v1/feeds/*/learn"),
    (delete, "DELETE", "/v1/feeds/*"),
    (upsert, "PUT", "/v1/feeds/*"),
]


def memory_feed(sandbox: BankSyncSandbox) -> dict[str, Any]:
    feeds = truth(sandbox, "/v1/feeds")
    learns = [
        feed for feed in feeds if any(each.get("type") == "memory" for each in feed.get("enrichments") or [])
    ]
    return dict((learns or feeds)[0])


@pytest.mark.parametrize(("operator", "method", "path"), WRITES)
def test_it_is_found_a_moment_later(
    banksync_sandbox: BankSyncSandbox,
    monkeypatch: pytest.MonkeyPatch,
    operator: Callable[[dict[str, Any], str], Any],
    method: str,
    path: str,
) -> None:
    monkeypatch.setattr(base, "NOT_FOUND_INTERVAL", 0.01)
    feed = memory_feed(banksync_sandbox)
    missing = [
        banksync_sandbox.faults.add(Fault.status(404), method=method, path=path, nth=nth) for nth in (1, 2)
    ]
    assert run_task(operator(feed, "feed_name")).result
    assert all(fault.hits for fault in missing)
    assert len(banksync_sandbox.jobs) == (1 if operator is sync else 0)


@pytest.mark.usefixtures("short_404s")
@pytest.mark.parametrize(("operator", "method", "path"), WRITES)
def test_a_404_that_lasts_is_final(
    banksync_sandbox: BankSyncSandbox,
    operator: Callable[[dict[str, Any], str], Any],
    method: str,
    path: str,
) -> None:
    feed = memory_feed(banksync_sandbox)
    missing = banksync_sandbox.faults.add(Fault.status(404), method=method, path=path)
    with pytest.raises(AirflowFailException, match="404"):
        run_task(operator(feed, "feed_name"))
    assert missing.hits > 1


@pytest.mark.parametrize(("operator", "method", "path"), WRITES[:-1])
def test_an_id_that_nothing_has_listed_fails_at_once(
    banksync_sandbox: BankSyncSandbox,
    operator: Callable[[dict[str, Any], str], Any],
    method: str,
    path: str,
) -> None:
    missing = banksync_sandbox.faults.add(Fault.status(404), method=method, path=path)
    with pytest.raises(AirflowFailException, match="404"):
        run_task(operator(memory_feed(banksync_sandbox), "feed_id"))
    assert missing.hits == 1
