"""BankSyncListOperator: filter, shape, and what fits into XCom."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.filters import matches, wanted_values
from airflow_provider_banksync.operators.listing import BankSyncListOperator
from airflow_provider_banksync.task import for_xcom
from tests.hooks.test_hook import truth
from tests.tasks.conftest import run_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0)


def listed(**arguments: Any) -> Any:
    return run_task(BankSyncListOperator(task_id="list", **arguments)).result


def test_rows_as_they_came(banksync_sandbox: BankSyncSandbox) -> None:
    assert listed(resource="feeds") == truth(banksync_sandbox, "/v1/feeds")
    assert listed(resource="banks", scope="family") == truth(banksync_sandbox, "/v1/banks?scope=family")
    portal, _ = banksync_sandbox.portals[0]
    expected = truth(banksync_sandbox, "/v1/integrations", portal)
    assert listed(resource="integrations", workspace_id=portal) == expected


def test_shaped_for_expand_kwargs(banksync_sandbox: BankSyncSandbox) -> None:
    feeds = truth(banksync_sandbox, "/v1/feeds?scope=family")
    rows = listed(
        resource="feeds",
        scope="family",
        where={"dataType": ["transactions", "balances"], "source": "sync"},
        fields={"feed_id": "id", "workspace_id": "workspaceId", "client": "portal.name"},
    )
    assert rows == [
        {
            "feed_id": feed["id"],
            "workspace_id": feed["workspaceId"],
            "client": (feed["portal"] or {}).get("name"),
        }
        for feed in feeds
        if feed["dataType"] in ("transactions", "balances") and feed["source"] == "sync"
    ]
    assert 0 < len(rows) < len(feeds)


class FromMappedTasks(Sequence[str]):
    """What a task gets of a mapped one: a sequence that is neither a list nor a tuple."""

    def __init__(self, *values: str) -> None:
        self._values = values

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)


@pytest.mark.parametrize("several", [set, frozenset, tuple, lambda values: FromMappedTasks(*values)])
def test_several_values_in_whatever_they_come(
    banksync_sandbox: BankSyncSandbox, several: Callable[[list[str]], Any]
) -> None:
    wanted = ["transactions", "balances"]
    rows = listed(resource="feeds", scope="family", where={"dataType": several(wanted)}, fields=["id"])
    assert rows == listed(resource="feeds", scope="family", where={"dataType": wanted}, fields=["id"]) != []


def test_a_set_of_values_has_the_same_order_in_every_process() -> None:
    """The next try of a task, in another process, takes up what was done for the same filter."""
    found = wanted_values({"currency": {"SEK", "EUR", "USD", "GBP", "CHF", "NOK"}})
    assert found == {"currency": ["CHF", "EUR", "GBP", "NOK", "SEK", "USD"]}


def test_a_number_is_found_as_it_is_written() -> None:
    row = codec.loads(b'{"balance": 1.1, "order": 3}')
    for value in (1.1, Decimal("1.10"), [2.2, 1.1]):
        assert matches(row, wanted_values({"balance": value, "order": 3.0}))
    assert not matches(row, wanted_values({"balance": 1.2}))


def test_fields_by_name_and_filters_that_reach_inside(banksync_sandbox: BankSyncSandbox) -> None:
    portal, name = banksync_sandbox.portals[1]
    rows = listed(resource="banks", scope="family", where={"portal.name": name}, fields=["id", "workspaceId"])
    banks = truth(banksync_sandbox, "/v1/banks", portal)
    assert rows == [{"id": bank["id"], "workspaceId": portal} for bank in banks]


def test_nothing_matches(banksync_sandbox: BankSyncSandbox) -> None:
    assert listed(resource="feeds", where={"name": "no such"}, fields=["id"]) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"resource": "bank"}, "resource must be one of"),
        ({"resource": "feeds", "scope": "all"}, "scope must be"),
        ({"resource": "portals", "scope": "family"}, "no scope='family'"),
        ({"resource": "feeds", "fields": ["id", "idd"]}, "idd, which no row has; there are: .*dataType"),
        ({"resource": "feeds", "where": {"datatype": "balances"}}, "where names datatype, which no row has"),
        ({"resource": "feeds", "where": "name"}, "where must be a dict"),
        ({"resource": "feeds", "where": {1: "name"}}, "where must be a dict of fields"),
        ({"resource": "feeds", "fields": "id"}, "fields must be"),
        ({"resource": "feeds", "fields": []}, "fields must be"),
        ({"resource": "feeds", "workspace_id": "None"}, "workspace_id must be"),
        ({"resource": "feeds", "max_xcom_bytes": 100}, "BankSyncToObjectStorageOperator"),
    ],
)
def test_bad_arguments_fail_at_once(
    banksync_sandbox: BankSyncSandbox, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(AirflowFailException, match=words):
        listed(**arguments)


@pytest.mark.parametrize("text", ["12.50", "0.1", "123456789012.34", "1E-8", "-0.01"])
def test_numbers_that_xcom_keeps_stay_numbers(text: str) -> None:
    assert for_xcom({"a": [Decimal(text)]}) == {"a": [Decimal(text)]}


@pytest.mark.parametrize("text", ["0.123456789012345678", "12345678901234567.89", "1E400"])
def test_numbers_that_xcom_would_round_become_text(text: str) -> None:
    assert for_xcom([{"a": Decimal(text), "b": 1, "c": "x", "d": None}]) == [
        {"a": str(Decimal(text)), "b": 1, "c": "x", "d": None}
    ]
