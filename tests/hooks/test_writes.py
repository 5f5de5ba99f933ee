"""Every write of the hook against the sandbox, with a fault at each of its points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.sandbox import Fault
from tests.support.sandbox_data import family_feed, truth

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = [
    pytest.mark.banksync_sandbox(portals=2, row_error_share=0),
    pytest.mark.usefixtures("quick_searches"),
]


def new_feed(sandbox: BankSyncSandbox, name: str = "New feed 🥐") -> dict[str, Any]:
    """A body that the API accepts: what another feed has, under a name of its own."""
    old = next(feed for feed in truth(sandbox, "/v1/feeds") if feed["dataType"] == "balances")
    names = ("source", "dataType", "sourceConfig", "destinationConfig", "dataTypeOptions", "fieldMappings")
    return {"name": name, **{field: old[field] for field in names if field in old}}


def rule(name: str = "A rule") -> dict[str, Any]:
    conditions = {
        "logic": "and",
        "conditions": [{"field": "description", "operator": "contains", "value": "rent"}],
    }
    action = {"field": "category", "value": "Rent"}
    return {
        "name": name,
        "type": "rule",
        "dataType": "transactions",
        "allFeeds": True,
        "ruleConfig": {"rules": [{"conditions": conditions, "action": action}]},
    }


def test_a_feed_from_birth_to_end(banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook()
    created = hook.create_feed(new_feed(banksync_sandbox))
    assert created["name"] == "New feed 🥐"
    assert hook.get_feed(created["id"]) == created
    assert hook.find_feed("New feed 🥐")["id"] == created["id"]
    changed = hook.update_feed(created["id"], {"name": "Renamed"})
    assert (changed["id"], changed["name"]) == (created["id"], "Renamed")
    assert hook.trigger_learn(created["id"]) == {"triggered": True}
    hook.delete_feed(created["id"])
    with pytest.raises(x.BankSyncNotFoundError):
        hook.get_feed(created["id"])
    with pytest.raises(x.BankSyncNotFoundError):
        hook.delete_feed(created["id"])


def test_a_feed_that_is_not_valid_shows_the_vendors_lists(banksync_sandbox: BankSyncSandbox) -> None:
    body = {**new_feed(banksync_sandbox), "sourceConfig": {"type": "sync", "accounts": []}}
    with pytest.raises(x.BankSyncValidationError) as caught:
        BankSyncHook().create_feed(body)
    assert caught.value.errors
    assert caught.value.errors[0] in str(caught.value)


def test_an_enrichment_from_birth_to_end(banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook()
    created = hook.create_enrichment(rule())
    assert hook.get_enrichment(created["id"]) == created
    assert created in hook.list_enrichments()
    assert hook.update_enrichment(created["id"], {"enabled": False})["enabled"] is False
    hook.delete_enrichment(created["id"])
    with pytest.raises(x.BankSyncNotFoundError):
        hook.get_enrichment(created["id"])


def test_a_preview_changes_nothing(banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook()
    feed = next(feed for feed in hook.list_feeds() if feed["dataType"] == "transactions")
    hook.create_enrichment(rule())
    shown = hook.preview_enrichment(feed["id"], [{"description": "rent for May", "category": "Other"}])
    assert shown["summary"]["totalRecords"] == 1
    assert shown["records"][0]["enriched"]["category"] == "Rent"
    for records in ([], [{}] * 51, None):
        with pytest.raises(x.BankSyncConfigError, match="1 to 50"):
            hook.preview_enrichment(feed["id"], records)  # type: ignore[arg-type]


def test_banks_and_integrations(banksync_sandbox: BankSyncSandbox) -> None:
    portal, _ = banksync_sandbox.portals[0]
    hook = BankSyncHook(workspace_id=portal)
    bank = hook.list_banks()[0]
    hook.delete_bank(bank["id"])
    assert bank["id"] not in {row["id"] for row in hook.list_banks()}
    integration = hook.list_integrations()[0]
    hook.delete_integration(integration["id"])
    assert integration["id"] not in {row["id"] for row in hook.list_integrations()}
    link = hook.create_bank_link("plaid", country_codes=["GB"])
    assert {"linkToken", "authUrl", "expiresAt", "provider", "instructions"} <= set(link)


@pytest.mark.parametrize("body", [None, {}, [], {"name": object()}])
def test_a_body_that_is_none_is_refused_before_any_request(
    banksync_sandbox: BankSyncSandbox, body: Any
) -> None:
    hook = BankSyncHook()
    for write in (
        hook.create_feed,
        hook.create_enrichment,
        lambda body: hook.update_feed("f", body),
        lambda body: hook.update_enrichment("e", body),
    ):
        with pytest.raises(x.BankSyncConfigError, match="body"):
            write(body)
    assert banksync_sandbox.requests == []


FAULTS = pytest.mark.parametrize(
    ("fault", "when"),
    [
        (Fault.reset(), "before"),
        (Fault.reset(), "after"),
        (Fault.status(502), "before"),
        (Fault.status(502), "after"),
        (Fault.truncated(), "after"),
    ],
    ids=["reset-before", "reset-after", "502-before", "502-after", "cut-answer"],
)


@FAULTS
def test_one_sync_whatever_happens_to_its_request(
    banksync_sandbox: BankSyncSandbox, fault: Fault, when: str
) -> None:
    feed = family_feed(banksync_sandbox)
    banksync_sandbox.faults.add(fault, method="POST", path="/v1/feeds/*/sync", nth=1, when=when)
    job = BankSyncHook(workspace_id=feed["workspaceId"]).trigger_sync(feed["id"])
    assert [made["id"] for made in banksync_sandbox.jobs] == [job["id"]]


@FAULTS
def test_one_feed_whatever_happens_to_its_request(
    banksync_sandbox: BankSyncSandbox, fault: Fault, when: str
) -> None:
    hook = BankSyncHook()
    body = new_feed(banksync_sandbox, "Once")
    banksync_sandbox.faults.add(fault, method="POST", path="/v1/feeds", nth=1, when=when)
    created = hook.create_feed(body)
    assert [row["id"] for row in hook.list_feeds() if row["name"] == "Once"] == [created["id"]]


@FAULTS
def test_a_delete_and_a_cancel_whatever_happens_to_their_requests(
    banksync_sandbox: BankSyncSandbox, fault: Fault, when: str
) -> None:
    hook = BankSyncHook()
    feed = hook.create_feed(new_feed(banksync_sandbox))
    job = hook.trigger_sync(feed["id"])
    banksync_sandbox.faults.add(fault, method="DELETE", path="/v1/feeds/*/jobs/*", nth=1, when=when)
    assert hook.cancel_job(feed["id"], job["id"])["status"] == "cancelled"
    banksync_sandbox.faults.add(fault, method="DELETE", path="/v1/feeds/*", nth=1, when=when)
    hook.delete_feed(feed["id"])
    assert feed["id"] not in {row["id"] for row in hook.list_feeds()}
