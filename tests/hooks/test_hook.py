"""The hook against the sandbox, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.provider_info import CONN_FIELDS
from airflow_provider_banksync.triggers.job import BankSyncJobTrigger
from tests.support.listings import listed
from tests.support.sandbox_data import connect, family_feed, truth

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0, broken_banks=1)


def test_nothing_happens_before_a_method_is_called(
    banksync_sandbox: BankSyncSandbox, airflow_db: None
) -> None:
    hook = BankSyncHook("no_such_connection")
    assert banksync_sandbox.requests == []
    with pytest.raises(
        x.BankSyncConfigError, match="finds no connection 'no_such_connection' in this process"
    ):
        hook.list_feeds()
    works, words = hook.test_connection()
    assert not works
    assert "no_such_connection" in words


def test_listings_are_what_the_api_serves(banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook()
    for listing, path in (
        (hook.list_banks, "/v1/banks"),
        (hook.list_feeds, "/v1/feeds"),
        (hook.list_integrations, "/v1/integrations"),
    ):
        assert listing() == truth(banksync_sandbox, path)
        family = listing("family")
        assert family == truth(banksync_sandbox, f"{path}?scope=family")
        assert {row["workspaceId"] for row in family} > {banksync_sandbox.workspace_id}
    assert hook.list_enrichments() == truth(banksync_sandbox, "/v1/enrichments")
    assert hook.list_workspaces() == truth(banksync_sandbox, "/v1/workspaces")
    assert hook.whoami()["workspaceId"] == banksync_sandbox.workspace_id
    assert {(row["id"], row["name"]) for row in hook.list_portals()} == set(banksync_sandbox.portals)


def test_one_portal_is_addressed_with_the_parents_key(banksync_sandbox: BankSyncSandbox) -> None:
    portal, _ = banksync_sandbox.portals[0]
    expected = truth(banksync_sandbox, "/v1/banks", portal)
    assert BankSyncHook().list_banks(workspace_id=portal) == expected
    assert BankSyncHook(workspace_id=portal).list_banks() == expected
    bank = expected[0]
    accounts = truth(banksync_sandbox, f"/v1/banks/{bank['id']}/accounts", portal)
    hook = BankSyncHook(workspace_id=portal)
    assert hook.list_accounts(bank["id"]) == accounts
    assert hook.get_bank(bank["id"]) == bank
    assert hook.get_account(bank["id"], accounts[0]["id"]) == accounts[0]
    feed = hook.list_feeds()[0]
    assert hook.get_feed(feed["id"]) == feed
    with pytest.raises(x.BankSyncNotFoundError, match="workspace_id"):
        BankSyncHook().get_feed(feed["id"])


def test_a_deleted_portal_is_not_found(banksync_sandbox: BankSyncSandbox) -> None:
    deleted, _ = banksync_sandbox.deleted_portals[0]
    with pytest.raises(x.BankSyncNotFoundError):
        BankSyncHook(workspace_id=deleted).list_banks()


def test_combined_listings_name_the_workspace_of_each_row(banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook()
    banks = truth(banksync_sandbox, "/v1/banks?scope=family")
    expected = [
        {**account, "workspaceId": bank["workspaceId"], "portal": bank["portal"]}
        for bank in banks
        for account in truth(banksync_sandbox, f"/v1/banks/{bank['id']}/accounts", bank["workspaceId"])
    ]
    assert listed(hook, "accounts", "family") == expected
    own = truth(banksync_sandbox, "/v1/feeds")
    jobs = [job for feed in own for job in truth(banksync_sandbox, f"/v1/feeds/{feed['id']}/jobs")]
    assert listed(hook, "jobs", "self") == jobs
    family_jobs = listed(hook, "jobs", "family")
    assert {job["workspaceId"] for job in family_jobs} == {
        feed["workspaceId"] for feed in truth(banksync_sandbox, "/v1/feeds?scope=family")
    }
    for row in listed(hook, "enrichments", "family"):
        owner = row.pop("workspaceId")
        portal = row.pop("portal")
        assert row in truth(banksync_sandbox, "/v1/enrichments", owner)
        assert (portal or {}).get("id") == (None if owner == banksync_sandbox.workspace_id else owner)


@pytest.mark.parametrize("scope", ["", "all", "FAMILY", None])
def test_an_unknown_scope_is_refused_before_any_request(
    banksync_sandbox: BankSyncSandbox, scope: Any
) -> None:
    hook = BankSyncHook()
    for listing in (hook.list_banks, hook.list_feeds, hook.list_integrations):
        with pytest.raises(ValueError, match="'self' or 'family'"):
            listing(scope)
    assert banksync_sandbox.requests == []


@pytest.mark.parametrize("bad", ["", " ", ".", "..", None, 7])
def test_an_invalid_id_is_refused_before_any_request(banksync_sandbox: BankSyncSandbox, bad: Any) -> None:
    hook = BankSyncHook()
    for ask in (
        lambda: hook.get_feed(bad),
        lambda: hook.trigger_sync(bad),
        lambda: hook.get_job("f", bad),
        lambda: hook.get_account(bad, "a"),
        lambda: hook.get_account("b", bad),
    ):
        with pytest.raises(x.BankSyncConfigError, match="must be an id"):
            ask()
    assert banksync_sandbox.requests == []


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        (("2026-1-1", None), "from_date must be a day"),
        ((None, "tomorrow"), "to_date must be a day"),
        (("2026-02-01", "2026-01-01"), "is after"),
    ],
)
def test_bad_days_are_refused_before_any_request(
    banksync_sandbox: BankSyncSandbox, dates: tuple[Any, Any], words: str
) -> None:
    with pytest.raises(x.BankSyncConfigError, match=words):
        BankSyncHook().trigger_sync("f", *dates)
    assert banksync_sandbox.requests == []


def test_a_sync_from_start_to_end(banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)
    hook = BankSyncHook(workspace_id=feed["workspaceId"])
    job = hook.trigger_sync(feed["id"], "2026-01-01", "2026-01-31")
    assert (job["status"], job["startDate"], job["endDate"]) == ("queued", "2026-01-01", "2026-01-31")
    with pytest.raises(x.BankSyncConflictError):
        hook.trigger_sync(feed["id"])
    with pytest.raises(x.BankSyncJobTimeoutError):
        hook.wait_for_job(feed["id"], job["id"], timeout=0)
    banksync_sandbox.clock.advance(3600)
    done = hook.wait_for_job(feed["id"], job["id"], timeout=5)
    assert done["status"] == "completed"
    assert hook.get_job(feed["id"], job["id"]) == done
    assert hook.list_jobs(feed["id"], limit=1) == [done]
    assert done in hook.list_jobs(feed["id"], status="completed")
    with pytest.raises(x.BankSyncConflictError):
        hook.cancel_job(feed["id"], job["id"])


def test_a_cancelled_sync(banksync_sandbox: BankSyncSandbox) -> None:
    feed = family_feed(banksync_sandbox)
    hook = BankSyncHook(workspace_id=feed["workspaceId"])
    job = hook.trigger_sync(feed["id"])
    assert hook.cancel_job(feed["id"], job["id"])["status"] == "cancelled"
    assert hook.wait_for_job(feed["id"], job["id"])["status"] == "cancelled"


def test_find_feed(banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook()
    feeds = hook.list_feeds()
    names = [feed["name"] for feed in feeds]
    unique = next(feed for feed in feeds if names.count(feed["name"]) == 1)
    assert hook.find_feed(unique["name"]) == unique
    with pytest.raises(x.BankSyncNotFoundError) as caught:
        hook.find_feed("no such feed")
    assert repr(unique["name"]) in str(caught.value)


def test_a_name_that_two_feeds_have_is_not_guessed(banksync_sandbox: BankSyncSandbox, mocker: Any) -> None:
    # The sandbox gives every feed of a workspace a name of its own.
    hook = BankSyncHook()
    mocker.patch.object(
        hook, "list_feeds", return_value=[{"id": "f1", "name": "Same"}, {"id": "f2", "name": "Same"}]
    )
    with pytest.raises(x.BankSyncConfigError, match="f1, f2"):
        hook.find_feed("Same")


# --- who may do what ---


def test_a_session_token_works_too(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"auth": "bearer", "workspace_id": banksync_sandbox.workspace_id}
    hook = connect(monkeypatch, banksync_sandbox, password=banksync_sandbox.bearer_token, extra=extra)
    assert hook.list_feeds() == truth(banksync_sandbox, "/v1/feeds")


def test_a_wrong_key(banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "bsk_" + "x" * 44
    hook = connect(monkeypatch, banksync_sandbox, password=key)
    with pytest.raises(x.BankSyncAuthError, match=r"API key \(password\)") as caught:
        hook.list_feeds()
    assert key not in str(caught.value)
    works, words = hook.test_connection()
    assert not works
    assert "401" in words
    assert key not in words


def test_a_revoked_key(banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    key = banksync_sandbox.create_key()
    hook = connect(monkeypatch, banksync_sandbox, password=key)
    assert hook.test_connection()[0]
    banksync_sandbox.revoke_key(key)
    with pytest.raises(x.BankSyncAuthError):
        hook.list_feeds()


def test_a_key_that_lacks_a_scope(banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    key = banksync_sandbox.create_key(scopes=["feeds:read", "jobs:read"])
    hook = connect(monkeypatch, banksync_sandbox, password=key)
    with pytest.raises(x.BankSyncPermissionError, match="scope"):
        hook.list_banks()
    feed = hook.list_feeds()[0]
    with pytest.raises(x.BankSyncPermissionError):
        hook.trigger_sync(feed["id"])
    works, words = hook.test_connection()
    assert works
    assert "can read feeds. It has no scope to read banks, integrations, enrichments" in words


def test_a_key_without_any_read_scope(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = banksync_sandbox.create_key(scopes=["jobs:read"])
    works, words = connect(monkeypatch, banksync_sandbox, password=key).test_connection()
    assert not works
    assert "cannot read banks, feeds, integrations or enrichments" in words


def test_the_family_is_refused_to_a_portal_and_to_a_low_role(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal, _ = banksync_sandbox.portals[0]
    with pytest.raises(x.BankSyncScopeError, match="parent workspace") as caught:
        BankSyncHook(workspace_id=portal).list_feeds("family")
    assert caught.value.status == 400
    low = connect(monkeypatch, banksync_sandbox, password=banksync_sandbox.create_key(role="editor"))
    with pytest.raises(x.BankSyncScopeError, match="owner or admin") as caught:
        low.list_feeds("family")
    assert caught.value.status == 403


def test_a_working_connection(banksync_sandbox: BankSyncSandbox) -> None:
    works, words = BankSyncHook().test_connection()
    assert works
    assert banksync_sandbox.workspace_id in words


def test_a_sandbox_that_does_not_run(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = connect(monkeypatch, banksync_sandbox, extra={"max_retries": 0})
    banksync_sandbox.stop()
    with pytest.raises(x.BankSyncConnectionError, match="a sandbox must run"):
        hook.list_feeds()
    works, words = hook.test_connection()
    assert not works
    assert "a sandbox must run" in words


# --- the connection ---


def test_the_connection_is_read_without_blocking_the_loop(banksync_sandbox: BankSyncSandbox) -> None:
    from airflow_provider_banksync.api import endpoints

    portal, _ = banksync_sandbox.portals[0]

    async def main() -> Any:
        async with await BankSyncHook(workspace_id=portal).get_async_conn() as client:
            return (await client.send(endpoints.list_feeds())).value

    assert asyncio.run(main()) == truth(banksync_sandbox, "/v1/feeds", portal)


def test_a_connection_that_only_a_blocking_look_up_finds_is_used(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_nothing(conn_id: str) -> None:  # as in `airflow dags test` of Airflow 3.3
        raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")

    monkeypatch.setattr("airflow.providers.common.compat.connection.get_async_connection", find_nothing)
    client = asyncio.run(BankSyncHook().get_async_conn())
    assert client.config.secret == banksync_sandbox.api_key


def test_a_connection_that_the_triggerer_cannot_read(airflow_db: None) -> None:
    trigger = BankSyncJobTrigger(feed_id="fd", job_id="jb", deadline=0, banksync_conn_id="elsewhere")

    async def fire() -> Any:
        return await anext(trigger.run())

    message = asyncio.run(fire()).payload["error"]["message"]
    assert message.startswith(
        "Airflow finds no connection 'elsewhere' in this process. A deferred task reads"
    )
    assert "Give the triggerer the environment variables" in message
    assert message.endswith("Job jb of feed fd may still be running.")


def test_a_missing_key_names_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({"conn_type": "banksync"}))
    with pytest.raises(x.BankSyncConfigError, match=r"API key \(password\) is empty"):
        BankSyncHook("other").list_feeds()


@pytest.mark.parametrize(
    ("host", "verify", "warns"),
    [
        ("https://localhost:1", "false", True),
        ("https://localhost:1", "true", False),
        ("http://localhost:1", "false", False),
    ],
)
@pytest.mark.parametrize("blocking", [True, False])
def test_unchecked_certificates_are_warned_of(
    banksync_sandbox: BankSyncSandbox,
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[], str],
    host: str,
    verify: str,
    warns: bool,
    blocking: bool,
) -> None:
    hook = connect(monkeypatch, banksync_sandbox, host=host, extra={"verify": verify})
    if blocking:
        hook.get_config()
    else:
        asyncio.run(hook.get_async_conn())
    assert ("TLS certificates are not checked" in logged()) == warns


def test_the_client_is_kept_and_closed(banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook()
    client = hook.get_conn()
    assert hook.get_conn() is client
    hook.close()
    hook.close()
    assert hook.list_feeds()
    assert hook.get_conn() is not client


def test_both_forms_show_the_same_fields() -> None:
    behaviour = BankSyncHook.get_ui_field_behaviour()
    assert behaviour["hidden_fields"] == ["schema", "login"]
    assert set(behaviour["placeholders"]) <= {"password", "host", "port"} | set(CONN_FIELDS)
    pytest.importorskip("flask_appbuilder", reason="the form of Airflow 2; CI runs this on 2.11")
    assert set(BankSyncHook.get_connection_form_widgets()) == set(CONN_FIELDS)
