"""What the API has of each account, and what an export wrote of it."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.hooks.banksync import BankSyncHook
from tests.support.export_task import rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

TRANSACTIONS = re.compile(r"/v1/banks/([^/]+)/accounts/([^/]+)/transactions")


def family() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every account of the family, by the hook: its workspace, its bank, itself."""
    hook = BankSyncHook()
    return [
        (bank["workspaceId"], bank, account)
        for bank in hook.list_banks("family")
        for account in hook.list_accounts(bank["id"], workspace_id=bank["workspaceId"])
    ]


def truth(**window: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The transactions of every account, by the hook, page by page."""
    hook = BankSyncHook()
    return {
        (workspace, account["id"]): hook.list_transactions(
            bank["id"], account["id"], workspace_id=workspace, **window
        )
        for workspace, bank, account in family()
    }


def exported(folder: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path, rows in rows_of(folder).items():
        workspace = path.split("workspace_id=")[1].split("/")[0]
        for row in rows:
            found.setdefault((workspace, row["accountId"]), []).append(row)
    return found


def without_empty(rows: dict[Any, list[Any]]) -> dict[Any, list[Any]]:
    return {key: value for key, value in rows.items() if value}


def read_accounts(sandbox: BankSyncSandbox, since: int = 0) -> Counter[str]:
    """How often the transactions of each account were asked for from their beginning."""
    asked = Counter[str]()
    for record in sandbox.requests[since:]:
        if (match := TRANSACTIONS.fullmatch(record.path)) and "cursor" not in str(record.query):
            asked[match[2]] += 1
    return asked
