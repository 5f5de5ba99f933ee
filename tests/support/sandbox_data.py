"""What a sandbox serves, and a hook that is connected to it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import requests

from airflow_provider_banksync.hooks.banksync import BankSyncHook

if TYPE_CHECKING:
    import pytest

    from airflow_provider_banksync.sandbox import BankSyncSandbox


def truth(sandbox: BankSyncSandbox, path: str, workspace_id: str | None = None) -> Any:
    """What the sandbox serves, asked without our client."""
    headers = {"X-API-Key": sandbox.api_key, "User-Agent": "tests/1"}
    if workspace_id:
        headers["X-Workspace-Id"] = workspace_id
    answer = requests.get(sandbox.url + path, headers=headers, timeout=300)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.content, parse_float=Decimal)["data"]


def connect(monkeypatch: pytest.MonkeyPatch, sandbox: BankSyncSandbox, **fields: Any) -> BankSyncHook:
    connection = {"conn_type": "banksync", "host": sandbox.url, "password": sandbox.api_key, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(connection))
    return BankSyncHook("other")


def family_feed(sandbox: BankSyncSandbox, kind: str = "transactions") -> dict[str, Any]:
    """A feed of a client (not of the parent) whose banks are well."""
    broken = {
        bank["id"]
        for bank in truth(sandbox, "/v1/banks?scope=family")
        if (bank.get("connectionStatus") or {}).get("status") != "connected"
    }
    for feed in truth(sandbox, "/v1/feeds?scope=family"):
        banks = {account["bankId"] for account in feed["sourceConfig"]["accounts"]}
        if feed["portal"] and feed["dataType"] == kind and not banks & broken:
            return dict(feed)
    raise AssertionError(f"the sandbox has no {kind} feed of a client")
