"""An answer about another workspace, bank, account, feed or job than the one that was asked for is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_banksync.api import endpoints, responses
from airflow_provider_banksync.api.messages import Call, Response
from airflow_provider_banksync.exceptions import BankSyncResponseError

BANK = endpoints.get_bank("b")
ACCOUNTS = endpoints.list_accounts("b")
ACCOUNT = endpoints.get_account("b", "a")
BALANCE = endpoints.get_balance("b", "a")
HOLDINGS = endpoints.list_holdings("b", "a")
LOAN = endpoints.get_loan("b", "a")
TRADES = endpoints.list_trades("b", "a")
TRANSACTIONS = endpoints.list_transactions("b", "a")
FEED = endpoints.get_feed("f")
UPDATED_FEED = endpoints.update_feed("f", {"name": "n"})
JOBS = endpoints.list_jobs("f")
JOB = endpoints.get_job("f", "j")
CANCELLED = endpoints.cancel_job("f", "j")
STARTED = endpoints.trigger_sync("f")
ENRICHMENT = endpoints.get_enrichment("e")
UPDATED_ENRICHMENT = endpoints.update_enrichment("e", {"name": "n"})
OWNED = [
    *(
        (call, name)
        for call in (BALANCE, HOLDINGS, LOAN, TRADES, TRANSACTIONS)
        for name in ("bankId", "accountId")
    ),
    *((call, "id") for call in (BANK, FEED, UPDATED_FEED, ENRICHMENT, UPDATED_ENRICHMENT)),
    *((ACCOUNT, name) for name in ("bankId", "id")),
    (ACCOUNTS, "bankId"),
    *((call, name) for call in (JOB, CANCELLED) for name in ("feedId", "id")),
    *((call, "feedId") for call in (JOBS, STARTED)),
]
#: What each row has, unless it is the field in question.
OWN = {"bankId": "b", "accountId": "a", "feedId": "f"}
IDS = {BANK: "b", ACCOUNT: "a", FEED: "f", UPDATED_FEED: "f", JOB: "j", CANCELLED: "j"}
IDS |= {ENRICHMENT: "e", UPDATED_ENRICHMENT: "e"}


def answer(call: Call[Any], *, workspace_id: str | None = None, **fields: Any) -> Any:
    """Return what the call makes of an answer whose last row has these fields."""
    row = {"id": IDS.get(call, "x"), **OWN}
    is_list = "list" in call.request.operation
    data = [{**row, "id": "first"}, row | fields] if is_list else row | fields
    body = json.dumps({"success": True, "data": data, "meta": {"hasMore": False, "cursor": None}}).encode()
    response = Response(200, {}, body)
    return responses.parse_response(call, response, path=call.request.path, workspace_id=workspace_id)


@pytest.mark.parametrize(
    ("call", "name"), OWNED, ids=[f"{call.request.operation} {name}" for call, name in OWNED]
)
def test_what_belongs_to_another_is_refused(call: Call[Any], name: str) -> None:
    assert answer(call)
    with pytest.raises(BankSyncResponseError, match=f"has {name} 'other' instead of .* cannot be attributed"):
        answer(call, **{name: "other"})


WORKSPACE_LISTS = [endpoints.list_banks, endpoints.list_feeds, endpoints.list_integrations]
ADDRESSED = [BANK, ACCOUNTS, BALANCE, HOLDINGS, TRANSACTIONS, FEED, JOBS, JOB, endpoints.list_enrichments()]


@pytest.mark.parametrize(
    "call",
    [*ADDRESSED, *(make() for make in WORKSPACE_LISTS)],
    ids=lambda call: str(call.request.operation),
)
def test_what_is_in_another_workspace_is_refused(call: Call[Any]) -> None:
    assert answer(call, workspace_id="ws", workspaceId="ws")
    assert answer(call, workspaceId="unknown"), "the workspace of the key is not known here"
    with pytest.raises(BankSyncResponseError, match="has workspaceId 'other' instead of 'ws'"):
        answer(call, workspace_id="ws", workspaceId="other")


@pytest.mark.parametrize("make", WORKSPACE_LISTS)
def test_the_workspace_of_a_request_comes_first(make: Any) -> None:
    call = make(workspace_id="portal")
    assert answer(call, workspace_id="parent", workspaceId="portal")
    with pytest.raises(BankSyncResponseError, match="has workspaceId 'parent' instead of 'portal'"):
        answer(call, workspace_id="parent", workspaceId="parent")


@pytest.mark.parametrize("make", WORKSPACE_LISTS)
def test_a_family_has_rows_of_several_workspaces(make: Any) -> None:
    first = {"id": "x", "workspaceId": "ws", "portal": None}
    rows = [first, {**first, "workspaceId": "portal"}]
    body = json.dumps({"success": True, "data": rows}).encode()
    call = make("family")
    found = responses.parse_response(call, Response(200, {}, body), path="/", workspace_id="ws")
    assert found == rows


def test_a_cancel_that_answers_about_another_job_may_have_worked() -> None:
    with pytest.raises(BankSyncResponseError) as caught:
        answer(CANCELLED, id="other")
    assert caught.value.ambiguous
