"""Writes whose answer is lost: sent once, and reported as done if they were done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import endpoints, jobs
from airflow_provider_banksync.api.flows import polling, syncs, writes
from tests.support.jobs import job
from tests.support.scripted_server import FAILED, RESET, SILENCE, ScriptedServer, ok, reply

if TYPE_CHECKING:
    from airflow_provider_banksync.api.config import ClientConfig
    from tests.support.client_driver import ClientDriver

LOST = pytest.mark.parametrize("lost", [RESET, SILENCE, reply(502, b"")], ids=["reset", "silence", "502"])
BODY = {"name": "New", "source": "sync", "dataType": "balances"}


def feed(feed_id: str = "new", **fields: Any) -> dict[str, Any]:
    return {**job(0), "id": feed_id, "name": "New", **fields}


def create() -> Any:
    return writes.create_resource(endpoints.create_feed(BODY), endpoints.list_feeds(), name="New")


def methods(server: ScriptedServer) -> list[str]:
    return [seen.method for seen in server.seen]


@LOST
def test_a_feed_that_was_created_is_found(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, lost: Any
) -> None:
    old, other = feed("old"), feed("other", name="Other")
    server.script = [ok([old]), lost, ok([old, other]), ok([old, other, feed()])]
    assert driver.run(config, create())["id"] == "new"
    assert methods(server) == ["GET", "POST", "GET", "GET"]


@LOST
def test_a_feed_that_was_not_created_is_asked_for_again(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, lost: Any
) -> None:
    old = ok([feed("old")])
    server.script = [old, lost, *[old] * 5, ok(feed(), 201)]
    assert driver.run(config, create())["id"] == "new"
    assert methods(server) == ["GET", "POST", *["GET"] * 5, "POST"]


@LOST
def test_a_feed_that_must_be_unique_is_created_once(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, lost: Any
) -> None:
    server.script = [ok([]), lost, ok([feed()]), ok([feed()])]
    assert driver.run(config, writes.create_unique_feed(BODY)) == (feed(), True)
    assert methods(server) == ["GET", "POST", "GET", "GET"]


@LOST
def test_a_delete_that_was_done_is_a_success(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, lost: Any
) -> None:
    server.script = [lost, reply(404, FAILED)]
    assert driver.run(config, writes.delete_resource(endpoints.delete_feed("f"))) is None
    assert methods(server) == ["DELETE", "DELETE"]


def test_a_delete_of_what_is_not_there(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [reply(404, FAILED)]
    with pytest.raises(x.BankSyncNotFoundError):
        driver.run(config, writes.delete_resource(endpoints.delete_feed("f")))


def test_a_delete_that_never_gets_through(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [reply(500, FAILED)] * 9
    with pytest.raises(x.BankSyncServerError):
        driver.run(config, writes.delete_resource(endpoints.delete_feed("f")))
    assert len(server.seen) == writes.MAX_WRITE_ATTEMPTS


@LOST
def test_a_cancel_that_was_done_is_a_success(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, lost: Any
) -> None:
    server.script = [lost, reply(409, FAILED), ok(job(0, status="cancelled"))]
    assert driver.run(config, syncs.cancel_job("f", "ours"))["status"] == "cancelled"
    assert methods(server) == ["DELETE", "DELETE", "GET"]


def test_a_cancel_that_came_too_late(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [RESET, reply(409, FAILED), ok(job(0, status="completed"))]
    with pytest.raises(x.BankSyncConflictError):
        driver.run(config, syncs.cancel_job("f", "ours"))
    server.script = [reply(409, FAILED)]
    with pytest.raises(x.BankSyncConflictError):
        driver.run(config, syncs.cancel_job("f", "ours"))


def test_a_cancel_whose_end_cannot_be_looked_up_is_the_conflict(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [RESET, reply(409, FAILED), reply(403, FAILED)]
    with pytest.raises(x.BankSyncConflictError, match=r"cancelled it; reading the job failed: .*403"):
        driver.run(config, syncs.cancel_job("f", "ours"))


def test_a_look_after_a_sync_meets_any_status(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    for status in (["x"], {"a": 1}, None, 5, "done"):
        server.script = [ok([]), RESET, ok([job(0, status=status)])]
        assert driver.run(config, syncs.trigger_sync("f"))["id"] == "ours"
        server.script = [ok(job(0, status=status, completedAt="2026-01-01T00:00:00Z"))]
        policy = polling.PollPolicy(5, 20, 1e9, lambda: 0.0, lambda: 0.5)
        ended = driver.run(config, syncs.wait_for_job("f", "ours", policy))
        with pytest.raises(x.BankSyncJobFailedError, match="does not know this status"):
            jobs.raise_unless_succeeded(ended)


def test_what_a_job_says_is_fit_for_a_log() -> None:
    failed = {
        "id": "j",
        "feedId": "f",
        "status": "failed",
        "errorCategory": "<html>123456789012",
        "errors": [{"severity": "<b>high", "message": "IBAN GB29NWBK60161331926819"}, 5, None],
    }
    with pytest.raises(x.BankSyncJobFailedError) as caught:
        jobs.raise_unless_succeeded(failed)
    assert "(••••9012)" in str(caught.value)
    assert "[high] IBAN ••••6819" in str(caught.value)
    assert "<" not in str(caught.value)


# --- pages that lead nowhere ---


@pytest.mark.parametrize(
    "meta", [{"hasMore": True}, {"hasMore": True, "cursor": ""}, {"hasMore": True, "cursor": "c1"}]
)
def test_pages_never_stop_silently(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, meta: dict[str, Any]
) -> None:
    call = endpoints.list_transactions("b", "a", cursor="c1")
    server.script = [reply(200, {"success": True, "data": [], "meta": meta})]
    page = driver.run(config, call)
    with pytest.raises(x.BankSyncResponseError, match="not complete"):
        endpoints.next_page(page, call)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_pages_never_go_in_circles(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, length: int
) -> None:
    def answer(_: Any) -> bytes:
        cursor = f"c{len(server.seen) % length}"
        return reply(200, {"success": True, "data": [], "meta": {"hasMore": True, "cursor": cursor}})

    server.script = [answer] * 20

    def read_all() -> None:
        call: Any = endpoints.list_transactions("b", "a", "2026-01-01")
        way: set[int] = set()
        while call is not None:
            call = endpoints.next_page(driver.run(config, call), call, way)

    with pytest.raises(x.BankSyncResponseError, match="a cursor that it sent before"):
        read_all()
    assert len(server.seen) == length + 1


def test_a_cursor_goes_alone(driver: ClientDriver, server: ScriptedServer, config: ClientConfig) -> None:
    call = endpoints.list_transactions("b", "a", "2026-01-01", "2026-01-31", workspace_id="w")
    more = {"success": True, "data": [], "meta": {"hasMore": True, "cursor": "c/2 +"}}
    server.script = [reply(200, more), ok([])]
    page = driver.run(config, call)
    following = endpoints.next_page(page, call)
    assert following is not None
    last = driver.run(config, following)
    assert endpoints.next_page(last, following) is None
    assert [seen.target.partition("?")[2] for seen in server.seen] == [
        "from=2026-01-01&to=2026-01-31",
        "cursor=c%2F2+%2B" if driver.kind == "requests" else "cursor=c/2+%2B",
    ]
    assert server.seen[1].headers["x-workspace-id"] == "w"


def test_a_copy_that_a_replica_does_not_have_yet_is_deleted(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    ours = {"id": "ours", "name": BODY["name"], "createdAt": "2026-01-01T00:00:02Z"}
    older = {"id": "older", "name": BODY["name"], "createdAt": "2026-01-01T00:00:01Z"}
    missing = reply(404, FAILED)
    server.script = [ok([]), ok(ours), ok([older, ours]), missing, ok({})]
    assert driver.run(config, writes.create_unique_feed(BODY)) == (older, False)
    assert methods(server) == ["GET", "POST", "GET", "DELETE", "DELETE"]


def test_a_copy_that_somebody_else_deleted(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    ours = {"id": "ours", "name": BODY["name"], "createdAt": "2026-01-01T00:00:02Z"}
    older = {"id": "older", "name": BODY["name"], "createdAt": "2026-01-01T00:00:01Z"}
    server.script = [ok([]), ok(ours), ok([older, ours]), *[reply(404, FAILED)] * 20]
    assert driver.run(config, writes.create_unique_feed(BODY)) == (older, False)
    assert sum(driver.sleeps) == 60
