"""Which feeds a family sync takes from what BankSync lists."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.sandbox import BankSyncSandbox, Fault
from airflow_provider_banksync.tasks.feed_selection import select_feeds


def feed(feed_id: str, data_type: Any) -> dict[str, Any]:
    portal = {"id": "ws", "name": "Café"}
    row = {"id": feed_id, "name": "Daily", "source": "sync", "workspaceId": "ws", "portal": portal}
    return {**row, "dataType": data_type}


def test_a_feed_whose_type_is_no_text_does_not_stop_the_others(banksync_sandbox: BankSyncSandbox) -> None:
    types = ("balances", ["balances"], None, {"a": 1}, 5)
    rows = [feed(f"fd_{number}", data_type) for number, data_type in enumerate(types)]
    banksync_sandbox.faults.add(
        Fault.answer(200, json.dumps({"success": True, "data": rows})), path="/v1/feeds"
    )
    selected = select_feeds(BankSyncHook(), "family", None, None, data_types=["balances"])
    assert [each.feed_id for each in selected.feeds.values()] == ["fd_0"]
    assert len(select_feeds(BankSyncHook(), "family", None, None).feeds) == len(types)
