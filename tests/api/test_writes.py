"""Writes whose answer is lost: never done twice, and never taken for failed where they were done."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import conversations, endpoints, jobs
from tests.api.conftest import RESET, SILENCE, Face, ScriptedServer, ok, reply
from tests.api.test_clients import FAILED, arrival, job, jobs_at

if TYPE_CHECKING:
    from airflow_provider_banksync.api.config import ClientConfig

LOST = pytest.mark.parametrize("lost", [RESET, SILENCE, reply(502, b"")], ids=["reset", "silence", "502"])
BODY = {"name": "New", "source": "sync", "dataType": "balances"}


def feed(born: float, **fields: Any) -> dict[str, Any]:
    return {**job(born), "id": "new", "name": "New", **fields}


def create() -> Any:
    return conversations.create(endpoints.create_feed(BODY), endpoints.list_feeds(), name="New")


def methods(server: ScriptedServer) -> list[str]:
    return [seen.method for seen in server.seen]


@LOST
def test_a_feed_that_was_created_is_found(
    face: Face, server: ScriptedServer, config: ClientConfig, lost: Any
) -> None:
    now = arrival()
    old = feed(now - 3600, id="old")
    other = feed(now, id="other", name="Other")
    server.script = [lost, jobs_at(server, old, other, feed(now))]
    assert face.run(config, create())["id"] == "new"
    assert methods(server) == ["POST", "GET"]


@LOST
def test_a_feed_that_was_not_created_is_asked_for_again(
    face: Face, server: ScriptedServer, config: ClientConfig, lost: Any
) -> None:
    server.script = [lost, jobs_at(server, feed(time.time() - 3600, id="old")), ok(feed(0), 201)]
    assert face.run(config, create())["id"] == "new"
    assert methods(server) == ["POST", "GET", "POST"]


def test_without_the_servers_clock_nothing_is_sent_twice(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [RESET, ok([feed(0, id="old")])]
    with pytest.raises(x.BankSyncConnectionError):
        face.run(config, create())
    assert methods(server) == ["POST", "GET"]


@LOST
def test_a_delete_that_was_done_is_a_success(
    face: Face, server: ScriptedServer, config: ClientConfig, lost: Any
) -> None:
    server.script = [lost, reply(404, FAILED)]
    assert face.run(config, conversations.delete(endpoints.delete_feed("f"))) is None
    assert methods(server) == ["DELETE", "DELETE"]


def test_a_delete_of_what_is_not_there(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [reply(404, FAILED)]
    with pytest.raises(x.BankSyncNotFoundError):
        face.run(config, conversations.delete(endpoints.delete_feed("f")))


def test_a_delete_that_never_gets_through(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [reply(500, FAILED)] * 9
    with pytest.raises(x.BankSyncServerError):
        face.run(config, conversations.delete(endpoints.delete_feed("f")))
    assert len(server.seen) == conversations.WRITE_ATTEMPTS


@LOST
def test_a_cancel_that_was_done_is_a_success(
    face: Face, server: ScriptedServer, config: ClientConfig, lost: Any
) -> None:
    server.script = [lost, reply(409, FAILED), ok(job(0, status="cancelled"))]
    assert face.run(config, conversations.cancel_job("f", "ours"))["status"] == "cancelled"
    assert methods(server) == ["DELETE", "DELETE", "GET"]


def test_a_cancel_that_came_too_late(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [RESET, reply(409, FAILED), ok(job(0, status="completed"))]
    with pytest.raises(x.BankSyncConflictError):
        face.run(config, conversations.cancel_job("f", "ours"))
    server.script = [reply(409, FAILED)]
    with pytest.raises(x.BankSyncConflictError):
        face.run(config, conversations.cancel_job("f", "ours"))


def test_a_cancel_whose_end_cannot_be_looked_up_is_the_conflict(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [RESET, reply(409, FAILED), reply(403, FAILED)]
    with pytest.raises(x.BankSyncConflictError, match=r"cancelled it; a look at the job failed: .*403"):
        face.run(config, conversations.cancel_job("f", "ours"))


def test_a_look_after_a_sync_meets_any_status(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    for status in (["x"], {"a": 1}, None, 5, "done"):
        server.script = [RESET, jobs_at(server, job(arrival(), status=status))]
        assert face.run(config, conversations.trigger_sync("f"))["id"] == "ours"
        server.script = [ok(job(0, status=status, completedAt="2026-01-01T00:00:00Z"))]
        polling = conversations.Polling(5, 20, 1e9, lambda: 0.0, lambda: 0.5)
        ended = face.run(config, conversations.wait_for_job("f", "ours", polling))
        with pytest.raises(x.BankSyncJobFailedError, match="new to this version"):
            jobs.check_outcome(ended)


def test_what_a_job_says_is_fit_for_a_log() -> None:
    failed = {
        "id": "j",
        "feedId": "f",
        "status": "failed",
        "errorCategory": "<html>123456789012",
        "errors": [{"severity": "<b>high", "message": "IBAN GB29NWBK60161331926819"}, 5, None],
    }
    with pytest.raises(x.BankSyncJobFailedError) as caught:
        jobs.check_outcome(failed)
    assert "(••••9012)" in str(caught.value)
    assert "[high] IBAN ••••6819" in str(caught.value)
    assert "<" not in str(caught.value)


# --- pages that lead nowhere ---


@pytest.mark.parametrize(
    "meta", [{"hasMore": True}, {"hasMore": True, "cursor": ""}, {"hasMore": True, "cursor": "c1"}]
)
def test_pages_never_stop_silently(
    face: Face, server: ScriptedServer, config: ClientConfig, meta: dict[str, Any]
) -> None:
    call = endpoints.list_transactions("b", "a", cursor="c1")
    server.script = [reply(200, {"success": True, "data": [], "meta": meta})]
    page = face.run(config, call)
    with pytest.raises(x.BankSyncResponseError, match="not complete"):
        endpoints.next_page(page, call)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_pages_never_go_in_circles(
    face: Face, server: ScriptedServer, config: ClientConfig, length: int
) -> None:
    def answer(_: Any) -> bytes:
        cursor = f"c{len(server.seen) % length}"
        return reply(200, {"success": True, "data": [], "meta": {"hasMore": True, "cursor": cursor}})

    server.script = [answer] * 20

    def read_all() -> None:
        call: Any = endpoints.list_transactions("b", "a", "2026-01-01")
        way: set[int] = set()
        while call is not None:
            call = endpoints.next_page(face.run(config, call), call, way)

    with pytest.raises(x.BankSyncResponseError, match="a cursor that was there before"):
        read_all()
    assert len(server.seen) == length + 1


def test_a_cursor_goes_alone(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    call = endpoints.list_transactions("b", "a", "2026-01-01", "2026-01-31", workspace_id="w")
    more = {"success": True, "data": [], "meta": {"hasMore": True, "cursor": "c/2 +"}}
    server.script = [reply(200, more), ok([])]
    page = face.run(config, call)
    following = endpoints.next_page(page, call)
    assert following is not None
    last = face.run(config, following)
    assert endpoints.next_page(last, following) is None
    assert [seen.target.partition("?")[2] for seen in server.seen] == [
        "from=2026-01-01&to=2026-01-31",
        "cursor=c%2F2+%2B" if face.kind == "requests" else "cursor=c/2+%2B",
    ]
    assert server.seen[1].headers["x-workspace-id"] == "w"
