"""BankSyncListOperator: filters, fields, and the size limit of XCom."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_banksync.api import codec, retry_policy
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.extract.filters import matches, parse_where
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.operators.listing import BankSyncListOperator
from airflow_provider_banksync.sandbox import Fault
from airflow_provider_banksync.tasks.xcom import to_xcom
from tests.support.listings import list_resource
from tests.support.sandbox_data import truth
from tests.support.task_runs import Run, rendered, run_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0)


def operator(**arguments: Any) -> BankSyncListOperator:
    return BankSyncListOperator(task_id="list", **arguments)


def listed(**arguments: Any) -> Any:
    return run_task(operator(**arguments)).result


def test_rows_are_returned_unchanged(banksync_sandbox: BankSyncSandbox) -> None:
    assert listed(resource="feeds") == truth(banksync_sandbox, "/v1/feeds")
    assert listed(resource="banks", scope="family") == truth(banksync_sandbox, "/v1/banks?scope=family")
    portal, _ = banksync_sandbox.portals[0]
    expected = truth(banksync_sandbox, "/v1/integrations", portal)
    assert listed(resource="integrations", workspace_id=portal) == expected


def test_rows_for_expand_kwargs(banksync_sandbox: BankSyncSandbox) -> None:
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
    """The output of mapped tasks: a sequence that is neither a list nor a tuple."""

    def __init__(self, *values: str) -> None:
        self._values = values

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)


@pytest.mark.parametrize("collection", [set, frozenset, tuple, lambda values: FromMappedTasks(*values)])
def test_a_filter_accepts_any_collection_of_values(
    banksync_sandbox: BankSyncSandbox, collection: Callable[[list[str]], Any]
) -> None:
    wanted = ["transactions", "balances"]
    rows = listed(resource="feeds", scope="family", where={"dataType": collection(wanted)}, fields=["id"])
    assert rows == listed(resource="feeds", scope="family", where={"dataType": wanted}, fields=["id"]) != []


def test_a_set_of_values_has_the_same_order_in_every_process() -> None:
    """A retry runs in another process. It resumes an export only if the filter is the same."""
    found = parse_where({"currency": {"SEK", "EUR", "USD", "GBP", "CHF", "NOK"}})
    assert found == {"currency": ["CHF", "EUR", "GBP", "NOK", "SEK", "USD"]}


def test_numbers_match_by_value() -> None:
    row = codec.loads(b'{"balance": 1.1, "order": 3}')
    for value in (1.1, Decimal("1.10"), [2.2, 1.1]):
        assert matches(row, parse_where({"balance": value, "order": 3.0}))
    assert not matches(row, parse_where({"balance": 1.2}))


def test_a_filter_by_a_nested_field(banksync_sandbox: BankSyncSandbox) -> None:
    portal, name = banksync_sandbox.portals[1]
    rows = listed(resource="banks", scope="family", where={"portal.name": name}, fields=["id", "workspaceId"])
    banks = truth(banksync_sandbox, "/v1/banks", portal)
    assert rows == [{"id": bank["id"], "workspaceId": portal} for bank in banks]


def test_no_row_matches(banksync_sandbox: BankSyncSandbox) -> None:
    assert listed(resource="feeds", where={"name": "no such"}, fields=["id"]) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"resource": "bank"}, "resource must be one of"),
        ({"resource": "feeds", "scope": "all"}, "scope must be"),
        ({"resource": "portals", "scope": "family"}, "no scope='family'"),
        (
            {"resource": "feeds", "fields": ["id", "idd"]},
            "unknown fields: idd. The rows have these fields: .*dataType",
        ),
        ({"resource": "feeds", "where": {"datatype": "balances"}}, "where contains unknown fields: datatype"),
        ({"resource": "feeds", "where": "name"}, "where must be a dict"),
        ({"resource": "feeds", "where": {1: "name"}}, "where must be a dict of field names"),
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
        run_task(rendered(operator, **arguments))


@pytest.mark.parametrize("text", ["12.50", "0.1", "123456789012.34", "1E-8", "-0.01"])
def test_numbers_that_xcom_keeps_stay_numbers(text: str) -> None:
    assert to_xcom({"a": [Decimal(text)]}) == {"a": [Decimal(text)]}


@pytest.mark.parametrize("text", ["0.123456789012345678", "12345678901234567.89", "1E400"])
def test_numbers_that_xcom_would_round_become_text(text: str) -> None:
    assert to_xcom([{"a": Decimal(text), "b": 1, "c": "x", "d": None}]) == [
        {"a": str(Decimal(text)), "b": 1, "c": "x", "d": None}
    ]


# --- what is unavailable ---


@pytest.fixture
def fast(banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_policy, "NOT_FOUND_GRACE", 0.2)
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", f"{banksync_sandbox.connection_uri}&max_retries=0")


def broken_bank(sandbox: BankSyncSandbox) -> dict[str, Any]:
    bank = truth(sandbox, "/v1/banks?scope=family")[-1]
    sandbox.faults.add(Fault.status(503), path=f"/v1/banks/{bank['id']}/accounts")
    return bank


@pytest.mark.parametrize("scope", ["family", "self"])
def test_a_bank_that_needs_a_sign_in_is_reported(banksync_sandbox: BankSyncSandbox, scope: str) -> None:
    bank = broken_bank(banksync_sandbox)
    workspace = {"workspace_id": bank["workspaceId"]} if scope == "self" else {}
    task = operator(resource="accounts", scope=scope, on_unavailable="report", **workspace)
    run = run_task(task)
    assert run.result
    assert bank["id"] not in {row["bankId"] for row in run.result}
    report = run.xcom["unavailable"]
    (entry,) = report["unavailable"]
    assert "sign in again" in entry.pop("message")
    assert entry == {
        "workspace_id": bank["workspaceId"],
        "portal": (bank["portal"] or {}).get("name") if scope == "family" else None,
        "bank_id": bank["id"],
        "bank": bank["name"],
        "account_id": None,
        "account": None,
        "reason": "sign_in",
    }
    assert (report["unavailable_count"], report["unavailable_reasons"]) == (1, {"sign_in": 1})


def test_a_listing_fails_by_default_and_names_all_that_is_unavailable(
    banksync_sandbox: BankSyncSandbox,
) -> None:
    banks = truth(banksync_sandbox, "/v1/banks?scope=family")[-2:]
    for bank in banks:
        banksync_sandbox.faults.add(Fault.status(503), path=f"/v1/banks/{bank['id']}/accounts")
    run = Run()
    with pytest.raises(AirflowFailException, match=r"2 of the accounts or banks are unavailable") as caught:
        run_task(operator(resource="accounts", scope="family"), run)
    assert all(bank["name"] in str(caught.value) for bank in banks)
    assert run.xcom == {}


@pytest.mark.usefixtures("fast")
def test_a_portal_that_the_key_may_not_read_is_reported(banksync_sandbox: BankSyncSandbox) -> None:
    portal, name = banksync_sandbox.portals[0]
    banksync_sandbox.faults.add(Fault.status(403), path="/v1/enrichments", workspace_id=portal)
    run = run_task(operator(resource="enrichments", scope="family", on_unavailable="report"))
    assert portal not in {row["workspaceId"] for row in run.result}
    (entry,) = run.xcom["unavailable"]["unavailable"]
    assert (entry["workspace_id"], entry["portal"], entry["reason"]) == (portal, name, "forbidden")


@pytest.mark.usefixtures("fast")
def test_a_feed_that_was_deleted_meanwhile_is_reported(banksync_sandbox: BankSyncSandbox) -> None:
    feed = truth(banksync_sandbox, "/v1/feeds?scope=family")[0]
    expected = run_task(operator(resource="jobs", scope="family")).result
    banksync_sandbox.faults.add(Fault.status(404), path=f"/v1/feeds/{feed['id']}/jobs")
    run = run_task(operator(resource="jobs", scope="family", on_unavailable="report"))
    assert run.result == [job for job in expected if job["feedId"] != feed["id"]]
    (entry,) = run.xcom["unavailable"]["unavailable"]
    assert (entry["reason"], entry["message"].startswith(f"feed '{feed['name']}'")) == ("not_found", True)


@pytest.mark.usefixtures("fast")
def test_a_listing_is_reported_as_complete(banksync_sandbox: BankSyncSandbox) -> None:
    banksync_sandbox.faults.add(Fault.status(404), path="/v1/banks/*/accounts", times=2)
    banksync_sandbox.faults.add(Fault.status(403, body="html"), path="/v1/banks/*/accounts", times=2)
    run = run_task(operator(resource="accounts", scope="family", on_unavailable="report"))
    assert run.xcom["unavailable"] == {
        "unavailable": [],
        "unavailable_count": 0,
        "unavailable_reasons": {},
    }
    client = BankSyncHook().get_conn()
    assert run.result == client.run(list_resource("accounts", "family"))


@pytest.mark.usefixtures("fast")
def test_a_temporary_error_uses_the_retries_first(banksync_sandbox: BankSyncSandbox) -> None:
    bank = truth(banksync_sandbox, "/v1/banks?scope=family")[0]
    banksync_sandbox.faults.add(Fault.status(502), path=f"/v1/banks/{bank['id']}/accounts")
    task = operator(resource="accounts", scope="family", on_unavailable="report")
    with pytest.raises(AirflowException, match="1 of the accounts or banks could not be read") as caught:
        run_task(task, Run(try_number=1, max_tries=1))
    assert not isinstance(caught.value, AirflowFailException)
    run = run_task(task, Run(try_number=2, max_tries=1))
    assert run.xcom["unavailable"]["unavailable_reasons"] == {"failed": 1}


def test_on_unavailable_is_checked() -> None:
    with pytest.raises(BankSyncConfigError, match="on_unavailable"):
        operator(resource="banks", on_unavailable="ignore")
