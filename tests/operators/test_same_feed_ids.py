"""Two workspaces may have feeds with the same id. A family sync has both."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.family.state import Feed, FeedResult
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.tasks.feed_selection import select_feeds

if TYPE_CHECKING:
    import pytest


def feed(workspace_id: str, feed_id: str) -> dict[str, Any]:
    portal = {"id": workspace_id, "name": workspace_id.title()}
    return {"id": feed_id, "name": "Daily", "source": "sync", "workspaceId": workspace_id, "portal": portal}


def test_both_are_selected(banksync_sandbox: BankSyncSandbox) -> None:
    rows = [feed("one", "fd_1"), feed("two", "fd_1"), feed("two", "fd_2")]
    banksync_sandbox.faults.add(
        Fault.answer(200, json.dumps({"success": True, "data": rows})), path="/v1/feeds"
    )
    selected = select_feeds(BankSyncHook(), "family", None, None)
    found = [(each.workspace_id, each.feed_id) for each in selected.feeds.values()]
    assert found == [("one", "fd_1"), ("two", "fd_1"), ("two", "fd_2")]


def test_the_result_has_both(banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [feed("one", "fd_1"), feed("two", "fd_1"), feed("two", "fd_2")]
    banksync_sandbox.faults.add(
        Fault.answer(200, json.dumps({"success": True, "data": rows})), path="/v1/feeds"
    )

    def sync(_: object, feeds: list[Feed], *__: object) -> list[FeedResult]:
        return [FeedResult(**asdict(each), status="completed") for each in feeds]

    monkeypatch.setattr(BankSyncFamilySyncOperator, "_sync", sync)
    operator = BankSyncFamilySyncOperator(task_id="sync", durable=False, deferrable=False)
    instance = SimpleNamespace(
        try_number=1, dag_id="dag", task_id="sync", run_id="run", map_index=-1, xcom_push=None
    )
    result = operator.execute({"ti": instance, "task_instance": instance, "dag_run": None})  # type: ignore[arg-type,typeddict-item]
    assert set(result) == {"one/fd_1", "two/fd_1", "fd_2"}
    assert {each["workspace_id"] for each in result.values()} == {"one", "two"}
