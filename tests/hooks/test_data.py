"""The data of accounts through the hook: every row, digit and page."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from tests.support.sandbox_data import connect, truth

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=2, time_scale=0, broken_banks=1, page_size=7)


def own_account(sandbox: BankSyncSandbox, kind: str) -> tuple[str, str, str]:
    """The parent's account of a type: bank, account, and the path of its data."""
    for bank in truth(sandbox, "/v1/banks"):
        for account in truth(sandbox, f"/v1/banks/{bank['id']}/accounts"):
            if account["accountType"] == kind:
                return bank["id"], account["id"], f"/v1/banks/{bank['id']}/accounts/{account['id']}"
    raise AssertionError(f"the parent has no {kind} account")


def test_transactions_page_by_page(banksync_sandbox: BankSyncSandbox) -> None:
    bank, account, path = own_account(banksync_sandbox, "checking")
    today = banksync_sandbox.today
    window = ((today - timedelta(days=30)).isoformat(), today.isoformat())
    pages = list(BankSyncHook().iter_transactions(bank, account, *window))
    assert len(pages) > 2
    assert all(0 < len(rows) <= 7 for rows, _ in pages[:-1])
    rows = [row for page, _ in pages for row in page]
    assert len({row["id"] for row in rows}) == len(rows)
    assert rows == BankSyncHook().list_transactions(bank, account, *window)
    assert all(isinstance(row["amount"], (Decimal, int)) for row in rows)
    first = truth(banksync_sandbox, f"{path}/transactions?from={window[0]}&to={window[1]}")
    assert rows[:7] == first
    last = pages[-1][1]
    assert last
    assert BankSyncHook().list_transactions(bank, account, cursor=last) == []


def test_balance_trades_holdings_loan(banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook()
    bank, account, path = own_account(banksync_sandbox, "investment")
    assert hook.get_balance(bank, account) == truth(banksync_sandbox, f"{path}/balances")
    assert hook.list_holdings(bank, account) == truth(banksync_sandbox, f"{path}/holdings") != []
    assert hook.list_trades(bank, account) == truth(banksync_sandbox, f"{path}/trades")
    window = "?from=2026-01-01&to=2026-06-30"
    trades = hook.list_trades(bank, account, "2026-01-01", "2026-06-30")
    assert trades == truth(banksync_sandbox, f"{path}/trades{window}") != []
    with pytest.raises(x.BankSyncNotFoundError):
        hook.get_loan(bank, account)
    bank, account, path = own_account(banksync_sandbox, "loan")
    assert hook.get_loan(bank, account) == truth(banksync_sandbox, f"{path}/loan")


def test_a_bank_that_needs_a_sign_in_differs_from_a_failed_service(
    banksync_sandbox: BankSyncSandbox,
) -> None:
    (broken,) = [
        bank
        for bank in truth(banksync_sandbox, "/v1/banks?scope=family")
        if bank["connectionStatus"]["status"] != "connected"
    ]
    hook = BankSyncHook(workspace_id=broken["workspaceId"])
    (account, *_) = hook.list_accounts(broken["id"])
    banksync_sandbox.clear_requests()
    for ask in (hook.get_balance, hook.list_transactions):
        with pytest.raises(x.BankSyncReauthRequiredError, match="reconnect the bank"):
            ask(broken["id"], account["id"])
    assert len(banksync_sandbox.requests) == 2, "no retry cures it"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"cursor": "c", "from_date": "2026-01-01"}, "cursor cannot be combined with"),
        ({"from_date": "01/02/2026"}, "from_date must be a day"),
    ],
)
def test_bad_windows_are_refused_before_any_request(
    banksync_sandbox: BankSyncSandbox, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(x.BankSyncConfigError, match=words):
        BankSyncHook().list_transactions("b", "a", **arguments)
    assert banksync_sandbox.requests == []


def test_jobs_of_the_family_on_both_surfaces(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = BankSyncHook()
    internal = connect(monkeypatch, banksync_sandbox, host=f"{banksync_sandbox.url}/api")
    banksync_sandbox.clear_requests()
    newest = internal.list_family_jobs(limit=10)
    assert len(banksync_sandbox.requests) == 1
    walked = public.list_family_jobs(limit=10)
    assert len(banksync_sandbox.requests) == 2 + len(public.list_feeds("family"))
    assert [job["createdAt"] for job in walked] == [job["createdAt"] for job in newest]
    assert {job["id"]: job["workspaceId"] for job in walked} == {
        job["id"]: job["workspaceId"] for job in newest
    }
    failed = public.list_family_jobs(status="completed", limit=3)
    assert [job["status"] for job in failed] == ["completed"] * 3
