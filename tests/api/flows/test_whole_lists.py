"""A listing without pages must be complete, and has each row once in each workspace."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.exceptions import BankSyncResponseError

LISTS = {
    "banks": endpoints.list_banks(),
    "banks of the family": endpoints.list_banks("family"),
    "accounts": endpoints.list_accounts("bank"),
    "feeds of the family": endpoints.list_feeds("family"),
    "integrations": endpoints.list_integrations(),
    "enrichments": endpoints.list_enrichments(),
    "workspaces": endpoints.list_workspaces(),
    "holdings": endpoints.list_holdings("bank", "account"),
    "trades": endpoints.list_trades("bank", "account"),
}
ROWS = [{"id": "a", "workspaceId": "ws"}, {"id": "b", "workspaceId": "ws"}]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"meta": {"hasMore": True}}, "says that there are more"),
        ({"hasMore": True}, "says that there are more"),
        ({"meta": {"total": 3}}, "2 rows, but its total is 3"),
        ({"meta": {"count": 3, "hasMore": False}}, "2 rows, but its count is 3"),
        ({"totalCount": 50}, "2 rows, but its totalCount is 50"),
        ({"meta": {"total": "3"}}, "2 rows, but its total is 3"),
        ({"meta": {"cursor": "c"}}, "says that there are more"),
        ({"meta": {"nextCursor": "c", "hasMore": None}}, "says that there are more"),
        ({"links": {"next": "/v1/banks?cursor=c"}}, "says that there are more"),
    ],
)
def test_a_list_that_is_not_whole_is_refused(name: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises(BankSyncResponseError, match=words):
        LISTS[name].parse({"success": True, "data": ROWS, **more})


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"meta": None},
        {"meta": {"count": 2, "hasMore": False}},
        {"meta": {"hasMore": None}},
        {"meta": {"count": "2", "cursor": None}, "links": {"self": "/v1/banks"}},
        {"meta": {"cursor": "c", "hasMore": False}, "links": {"next": ""}},
    ],
)
def test_a_whole_list_is_accepted(name: str, more: dict[str, Any]) -> None:
    assert LISTS[name].parse({"success": True, "data": ROWS, **more}) == ROWS


@pytest.mark.parametrize("call", [endpoints.list_jobs("feed"), endpoints.list_all_jobs("family")])
def test_jobs_may_be_only_the_newest(call: Any) -> None:
    assert call.parse({"success": True, "data": ROWS, "meta": {"hasMore": True, "total": 90}}) == ROWS


def test_each_row_comes_once_in_each_workspace() -> None:
    rows = [
        {"id": "a", "workspaceId": "one", "name": "first"},
        {"id": "a", "workspaceId": "two"},
        {"id": "a", "workspaceId": "one", "name": "later"},
    ]
    found = endpoints.list_feeds("family").parse({"success": True, "data": rows})
    assert found == [rows[2], rows[1]]
