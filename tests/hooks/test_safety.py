"""The hook refuses to guess, and shows nothing of the key."""

from __future__ import annotations

import asyncio
import json
import pickle
import secrets
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import redact

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from tests.support.listings import listed
from tests.support.sandbox_data import connect, truth

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

pytestmark = pytest.mark.banksync_sandbox(portals=3, time_scale=0)


# --- the workspace ---


@pytest.mark.parametrize("workspace_id", ["", " ", 0, False, [], "None", "a b"])
def test_only_none_means_the_connections_workspace(
    banksync_sandbox: BankSyncSandbox, workspace_id: Any
) -> None:
    with pytest.raises(x.BankSyncConfigError, match="workspace_id must be"):
        BankSyncHook(workspace_id=workspace_id)
    hook = BankSyncHook()
    for ask in (
        hook.list_banks,
        hook.list_portals,
        hook.list_family_jobs,
        lambda workspace_id: hook.delete_feed("f", workspace_id=workspace_id),
        lambda workspace_id: hook.trigger_sync("f", workspace_id=workspace_id),
        lambda workspace_id: hook.create_feed({"name": "x"}, workspace_id=workspace_id),
        lambda workspace_id: hook.wait_for_job("f", "j", workspace_id=workspace_id),
        lambda workspace_id: hook.list_transactions("b", "a", workspace_id=workspace_id),
    ):
        with pytest.raises(x.BankSyncConfigError, match="workspace_id must be"):
            ask(workspace_id=workspace_id)
    assert banksync_sandbox.requests == []


def test_a_session_token_may_get_its_workspace_from_the_hook(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, banksync_sandbox, password=banksync_sandbox.bearer_token, extra={"auth": "bearer"})
    hook = BankSyncHook("other", workspace_id=banksync_sandbox.workspace_id)
    assert hook.list_feeds() == truth(banksync_sandbox, "/v1/feeds")
    with pytest.raises(x.BankSyncConfigError, match="needs workspace_id"):
        BankSyncHook("other").list_feeds()


def portals_key(sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch) -> BankSyncHook:
    portal, _ = sandbox.portals[0]
    return connect(monkeypatch, sandbox, password=sandbox.create_key(workspace_id=portal))


def test_a_portal_is_no_portal_of_itself(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal, _ = banksync_sandbox.portals[0]
    by_its_key = portals_key(banksync_sandbox, monkeypatch)
    assert [row["id"] for row in by_its_key.list_workspaces()] == [portal]
    assert by_its_key.list_portals() == []
    assert BankSyncHook(workspace_id=portal).list_portals() == []
    assert BankSyncHook().list_portals(workspace_id=portal) == []
    own = BankSyncHook(workspace_id=banksync_sandbox.workspace_id)
    assert {row["id"] for row in own.list_portals()} == {portal for portal, _ in banksync_sandbox.portals}


@pytest.mark.parametrize("resource", ["banks", "accounts", "feeds", "jobs", "integrations", "enrichments"])
def test_the_family_of_a_portal_is_refused_alike(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch, resource: str
) -> None:
    portal, _ = banksync_sandbox.portals[0]
    for hook in (portals_key(banksync_sandbox, monkeypatch), BankSyncHook(workspace_id=portal)):
        with pytest.raises(x.BankSyncScopeError, match="parent workspace"):
            listed(hook, resource, "family")


def test_where_workspaces_are_not_listed_every_family_listing_tells_of_portals(
    banksync_sandbox: BankSyncSandbox, mocker: Any
) -> None:
    from airflow_provider_banksync.api import endpoints
    from airflow_provider_banksync.api.flows import listings
    from airflow_provider_banksync.api.messages import Reply

    def family(name: str) -> list[dict[str, Any]]:
        portal = {"id": f"of {name}", "name": name}
        return [{"id": "1", "workspaceId": portal["id"], "portal": portal}]

    walk = listings.list_portals()
    step = next(walk)
    assert step.call.request == endpoints.list_workspaces().request
    step = walk.throw(x.BankSyncNotFoundError("404"))
    names = []
    for path in ("/v1/banks", "/v1/feeds", "/v1/integrations"):
        assert step.call.request.path == path
        names.append(path)
        reply = Reply(family(path), None, 0.0)
        if path != "/v1/integrations":
            step = walk.send(reply)
    with pytest.raises(StopIteration) as stop:
        walk.send(reply)
    assert [row["name"] for row in stop.value.value] == names


# --- the key ---


def pasted(monkeypatch: pytest.MonkeyPatch) -> tuple[BankSyncHook, str]:
    key = f"bsk_{secrets.token_hex(22)}"
    assert redact(f"key {key}!") == f"key {key}!"
    monkeypatch.setenv("AIRFLOW_CONN_P", json.dumps({"conn_type": "banksync", "password": f"  {key}\n"}))
    return BankSyncHook("p"), key


def test_a_key_that_was_pasted_with_spaces_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    hook, key = pasted(monkeypatch)
    assert hook.get_conn().config.secret == key
    assert redact(f"key {key}!") == "key ***!"


def test_and_on_an_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    hook, key = pasted(monkeypatch)
    assert asyncio.run(hook.get_async_conn()).config.secret == key
    assert redact(f"key {key}!") == "key ***!"


def test_a_pickled_hook_holds_no_key(banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook(workspace_id=banksync_sandbox.portals[0][0])
    feeds = hook.list_feeds()
    frozen = pickle.dumps(hook)
    assert banksync_sandbox.api_key.encode() not in frozen
    assert pickle.loads(frozen).list_feeds() == feeds
    for holder in (hook.get_config(), hook.get_conn()):
        with pytest.raises(TypeError, match="holds a key"):
            pickle.dumps(holder)


# --- arguments, and messages ---


@pytest.mark.parametrize("bad", [None, "5", float("nan"), float("inf"), -1])
@pytest.mark.parametrize("name", ["timeout", "poll_interval", "max_poll_interval"])
def test_a_wait_takes_times_only(banksync_sandbox: BankSyncSandbox, name: str, bad: Any) -> None:
    with pytest.raises(x.BankSyncConfigError, match=f"{name} must be a number of seconds"):
        BankSyncHook().wait_for_job("f", "j", **{name: bad})
    assert banksync_sandbox.requests == []


def test_a_wait_takes_timedeltas(banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook()
    feed = hook.list_feeds()[0]
    job = hook.trigger_sync(feed["id"])
    began = time.monotonic()
    with pytest.raises(x.BankSyncJobTimeoutError, match=r"cancel it"):
        hook.wait_for_job(feed["id"], job["id"], timedelta(seconds=0.1), timedelta(seconds=0.05))
    assert 0.1 <= time.monotonic() - began < 60


@pytest.mark.parametrize("source", [None, "", 5])
def test_a_bank_link_names_its_source(banksync_sandbox: BankSyncSandbox, source: Any) -> None:
    with pytest.raises(x.BankSyncConfigError, match="source must be"):
        BankSyncHook().create_bank_link(source)


def test_a_feed_that_is_not_found_among_many(mocker: Any, banksync_sandbox: BankSyncSandbox) -> None:
    hook = BankSyncHook()
    many = [{"id": f"f{n}", "name": f"Feed {n:04} {'x' * 1000}"} for n in range(500)]
    mocker.patch.object(hook, "list_feeds", return_value=[*many, {"id": "odd", "name": None}])
    with pytest.raises(x.BankSyncNotFoundError) as caught:
        hook.find_feed("no such feed")
    words = str(caught.value)
    assert words.startswith("GET /v1/feeds: no feed has the name 'no such feed'")
    assert "and 481 more" in words
    assert "For a portal's feed, pass workspace_id" in words
    assert len(words) < 8000


def test_the_key_is_in_no_error_of_a_wrong_connection(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = banksync_sandbox.api_key
    for fields in (
        {"schema": key},
        {"host": f"https://{key}@h"},
        {"extra": {"timeout": key}},
        {"extra": {"auth": key}},
        {"extra": {"workspace_id": f"x {key}"}},
        {"extra": {"verify": key}},
    ):
        with pytest.raises(x.BankSyncConfigError) as caught:
            connect(monkeypatch, banksync_sandbox, **fields).list_feeds()
        assert key not in f"{caught.value} {caught.value!r}"


def test_airflow_masks_the_password_of_a_shared_rate_limit(
    banksync_sandbox: BankSyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = f"redis-{secrets.token_hex(8)}"
    extra = {"rate_limit_store": "redis://127.0.0.1:1/0", "rate_limit_store_password": password}
    assert redact(extra) == {**extra, "rate_limit_store_password": "***"}, "as the API of Airflow shows it"
    hook = connect(monkeypatch, banksync_sandbox, extra=extra)
    assert password not in repr(hook.get_config())
    assert password not in str(redact(f"a log line with {password}"))

    async def open_client() -> None:
        await hook.get_async_conn()

    asyncio.run(open_client())
    stored = pickle.dumps(hook)
    assert password.encode() not in stored
