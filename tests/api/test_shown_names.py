"""Clients choose the names of banks, accounts and feeds. No name acts on a log, or shows what no log may show."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_provider_banksync.api.family.state import Feed
from airflow_provider_banksync.api.flows import listings
from airflow_provider_banksync.api.flows.conditions import BankConnected
from airflow_provider_banksync.api.messages import Reply
from airflow_provider_banksync.api.ownership import portal_name
from airflow_provider_banksync.extract.partition import Partition

NAME = "\x1b[2JSavings 123456789\r\nERROR \u202ekey bsk_abcdefghijk"
SHOWN = "Savings ••••6789 ERROR key ***"


def test_of_a_feed() -> None:
    assert Feed("fd", "ws", NAME, NAME).display_name == f'"{SHOWN}" (client {SHOWN}, feed fd)'


def test_of_an_account() -> None:
    partition = Partition("ws", NAME, "bank", NAME, "acc", NAME)
    assert str(partition) == f"client {SHOWN!r}, bank {SHOWN!r}, account {SHOWN!r} (acc)"
    assert partition.to_json()["account"] == NAME, "what is exported stays as it came"
    assert str(Partition("ws", None, "bank", None, "12345678")) == (
        "own workspace, bank 'bank', account '12345678' (12345678)"
    ), "an id is no name"


def test_of_a_bank_that_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    condition = BankConnected("bank", workspace_id=None, log=logging.getLogger())
    condition.check({"id": "bank", "name": NAME, "connectionStatus": {"status": "error"}})
    condition.on_follow_up({"workspaceName": NAME, "workspaceId": "ws"})
    condition.check({"id": "bank", "name": NAME, "connectionStatus": {"status": "connected"}})
    assert [record.getMessage().count(repr(SHOWN)) for record in caplog.records] == [2, 1]


def test_of_a_part_of_a_listing() -> None:
    flow = listings.listing_requests("accounts", "self", internal=False)
    next(flow)
    with pytest.raises(StopIteration) as ended:
        flow.send(Reply([{"id": "bank", "name": NAME}], None, 0.0))
    (request,) = ended.value.value
    assert request.subject == f"bank {SHOWN!r}"


@pytest.mark.parametrize(
    ("portal", "name"),
    [
        (None, None),
        ({"id": "ws", "name": "Café"}, "Café"),
        ({"id": "ws", "name": ""}, "ws"),
        ({"id": "ws", "name": None}, "ws"),
        ({"id": "ws", "name": 7}, "ws"),
        ({"id": "ws", "name": {"en": "Café"}}, "ws"),
        ({"id": "ws"}, "ws"),
    ],
)
def test_a_client_without_a_name_is_not_the_parent(portal: Any, name: str | None) -> None:
    assert portal_name({"workspaceId": "ws", "portal": portal}) == name
