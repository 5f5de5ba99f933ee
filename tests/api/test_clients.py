"""Both clients over real sockets: what they send, what they make of what comes back, what they send again."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import conversations, endpoints, retry
from airflow_provider_banksync.api.client import Client
from airflow_provider_banksync.api.config import USER_AGENT, ClientConfig
from tests.api.conftest import KEY, RESET, SILENCE, Face, ScriptedServer, ok, reply

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED = {"success": False, "error": "no"}


def test_what_goes_over_the_wire(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [ok({"id": "j1"}, 201)]
    call = endpoints.trigger_sync("f/1?#é", "2026-01-01", "2026-01-31", workspace_id="portal-1")
    assert face.run(config, call) == {"id": "j1"}
    (seen,) = server.seen
    assert (seen.method, seen.target) == ("POST", "/v1/feeds/f%2F1%3F%23%C3%A9/sync")
    assert json.loads(seen.body) == {"startDate": "2026-01-01", "endDate": "2026-01-31"}
    assert seen.headers["user-agent"] == USER_AGENT.lower()
    assert seen.headers["x-api-key"] == KEY.lower()
    assert seen.headers["x-workspace-id"] == "portal-1"
    assert seen.headers["content-type"] == "application/json"


def test_queries_and_the_internal_surface(face: Face, server: ScriptedServer) -> None:
    server.script = [ok([])]
    config = ClientConfig(secret=KEY, base_url=f"{server.url}/base", internal=True)
    assert face.run(config, endpoints.list_jobs("f", "failed", 5)) == []
    assert server.seen[0].target == "/base/api/feeds/f/jobs?limit=5&status=failed"


def test_an_incremental_sync_has_no_body(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [ok({"id": "j1"}, 201)]
    face.run(config, endpoints.trigger_sync("f"))
    assert server.seen[0].body == b""
    assert "content-type" not in server.seen[0].headers


def test_a_gzip_body_is_unpacked(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    body = gzip.compress(b'{"success": true, "data": [{"id": "1", "amount": 12.50}]}')
    server.script = [reply(200, body, Content_Encoding="gzip")]
    assert str(face.run(config, endpoints.list_feeds())[0]["amount"]) == "12.50"


@pytest.mark.parametrize(
    "fault",
    [
        reply(500, FAILED),
        reply(502, b"<html>bad gateway</html>", Content_Type="text/html"),
        reply(503, FAILED, Retry_After="0"),
        reply(504, b""),
        reply(520, b"error"),
        reply(429, FAILED, Retry_After="2"),
        reply(200, FAILED),
        reply(200, b'{"success": true, "da'),
        reply(200, b'{"success": true}', Content_Length="900"),
        RESET,
        SILENCE,
    ],
    ids=["500", "502", "503", "504", "520", "429", "false", "cut", "short", "reset", "silence"],
)
def test_a_read_is_tried_again_until_it_works(
    face: Face, server: ScriptedServer, config: ClientConfig, fault: Any
) -> None:
    server.script = [fault, fault, ok([{"id": "1"}])]
    assert face.run(config, endpoints.list_feeds()) == [{"id": "1"}]
    assert len(server.seen) == 3
    assert len(face.waits) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 301])
def test_what_another_try_cannot_cure_is_tried_once(
    face: Face, server: ScriptedServer, config: ClientConfig, status: int
) -> None:
    server.script = [reply(status, FAILED, Location="http://127.0.0.1:1/elsewhere")]
    with pytest.raises(x.BankSyncError):
        face.run(config, endpoints.list_feeds())
    assert len(server.seen) == 1
    assert face.waits == []


def test_the_tries_are_bounded(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [reply(500, FAILED)] * 9
    with pytest.raises(x.BankSyncServerError):
        face.run(config, endpoints.list_feeds())
    assert len(server.seen) == config.max_retries + 1


def test_retry_after_is_heeded(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [reply(429, FAILED, Retry_After="7"), ok([])]
    face.run(config, endpoints.list_feeds())
    assert 7 <= face.waits[0] <= 8


def test_time_in_the_queue_is_no_reason_to_give_up(server: ScriptedServer, mocker: Any) -> None:
    """What counts against a request is what it waited between its own tries."""
    mocker.patch.object(retry, "LONGEST_TOTAL", 1.5)
    config = ClientConfig(secret=KEY, base_url=server.url, rate_limit=1, rate_window=2.0)
    server.script = [ok([]), reply(502, FAILED), ok([])]
    with Client(config) as client:
        client.send(endpoints.list_feeds())
        assert client.send(endpoints.list_feeds()).value == []


def test_no_more_tries_than_there_is_time_for(
    face: Face, server: ScriptedServer, config: ClientConfig, mocker: Any
) -> None:
    mocker.patch.object(retry, "LONGEST_TOTAL", 2.5)
    server.script = [reply(502, FAILED)] * 9
    with pytest.raises(x.BankSyncServerError):
        face.run(replace(config, max_retries=50), endpoints.list_feeds())
    assert sum(face.waits) <= 2.5
    assert len(server.seen) < 9


def test_a_look_at_a_job_does_not_wait_for_the_budget_beyond_the_deadline(
    server: ScriptedServer, mocker: Any
) -> None:
    mocker.patch.object(conversations, "LAST_LOOK", 0.5)
    config = ClientConfig(secret=KEY, base_url=server.url, rate_limit=2, rate_window=60.0)
    server.script = [ok(job(0)), ok(job(0))]
    began = time.monotonic()
    waiting = replace(polling(time.monotonic, began + 1.0), interval=0.2)
    with (
        Client(config) as client,
        pytest.raises(x.BankSyncJobTimeoutError, match="budget of the key is spent") as caught,
    ):
        client.run(conversations.wait_for_job("f", "ours", waiting))
    assert time.monotonic() - began < 30
    assert caught.value.job["status"] == "queued"


def test_nobody_there(face: Face, config: ClientConfig) -> None:
    gone = ScriptedServer()
    url = gone.url
    gone.close()
    with pytest.raises(x.BankSyncConnectionError) as caught:
        face.run(ClientConfig(secret=KEY, base_url=url, max_retries=1), endpoints.trigger_sync("f"))
    assert not caught.value.ambiguous
    assert "is it running" in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(face.waits) == 1


def test_nobody_answers_the_call(face: Face, config: ClientConfig) -> None:
    """A connection that is not accepted carried no request."""
    import socket
    from contextlib import ExitStack, closing
    from dataclasses import replace

    with ExitStack() as open_ones:
        listener = open_ones.enter_context(closing(socket.socket()))
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):  # fill the queue of those who wait to be accepted
            waiting = open_ones.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        busy = replace(config, base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2)
        with pytest.raises(x.BankSyncConnectionError, match="could not connect") as caught:
            face.run(busy, endpoints.trigger_sync("f"))
    assert not caught.value.ambiguous
    assert len(face.waits) == 3


# --- a sync is never started twice ---


def jobs_at(server: ScriptedServer, *jobs: dict[str, Any], skew: float = 0.0) -> Callable[[Any], bytes]:
    """Answer a listing of jobs as of now, by a server whose clock may be wrong."""

    def answer(_: Any) -> bytes:
        from email.utils import formatdate

        return ok(list(jobs), Date=formatdate(time.time() + skew, usegmt=True))

    return answer


def arrival(skew: float = 0.0) -> float:
    """When a request that is about to be sent arrives, by a server whose clock may be wrong; not too early, however
    slow this machine is."""
    return time.time() + skew + 5


def job(born: float, **fields: Any) -> dict[str, Any]:
    from datetime import datetime, timezone

    created = datetime.fromtimestamp(born, timezone.utc).isoformat().replace("+00:00", "Z")
    return {"id": "ours", "feedId": "f", "status": "queued", "type": "manual", "createdAt": created, **fields}


@pytest.mark.parametrize("skew", [0.0, 3600.0, -3600.0])
@pytest.mark.parametrize("fault", [RESET, SILENCE, reply(502, b""), reply(201, b'{"succ')])
def test_a_sync_whose_answer_was_lost_is_found_again(
    face: Face, server: ScriptedServer, config: ClientConfig, fault: Any, skew: float
) -> None:
    now = arrival(skew)
    older = job(now - 60, id="older")
    server.script = [fault, jobs_at(server, job(now), older, skew=skew)]
    found = face.run(config, conversations.trigger_sync("f"))
    assert found["id"] == "ours"
    assert [seen.method for seen in server.seen] == ["POST", "GET"]


@pytest.mark.parametrize("skew", [0.0, 3600.0, -3600.0])
def test_a_sync_that_never_arrived_is_sent_again(
    face: Face, server: ScriptedServer, config: ClientConfig, skew: float
) -> None:
    now = arrival(skew)
    strangers = [
        job(now - 60, id="older"),
        job(now, id="scheduled", type="scheduled"),
        job(now, id="other days", startDate="2020-01-01"),
        job(now, id="no days"),
    ]
    server.script = [RESET, jobs_at(server, *strangers, skew=skew), ok(job(now), 201)]
    conversation = conversations.trigger_sync("f", "2026-01-01")
    assert face.run(config, conversation)["id"] == "ours"
    assert [seen.method for seen in server.seen] == ["POST", "GET", "POST"]


def test_a_sync_with_days_is_not_ours_when_we_asked_for_none(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    other = job(arrival(), id="january", startDate="2026-01-01", endDate="2026-01-31")
    server.script = [RESET, jobs_at(server, other), reply(409, FAILED), jobs_at(server, other)]
    with pytest.raises(x.BankSyncConflictError):
        face.run(config, conversations.trigger_sync("f"))


def test_days_of_ours_are_found_again(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    ours = job(arrival(), startDate="2026-01-01T00:00:00.000Z", endDate="2026-01-31")
    server.script = [RESET, jobs_at(server, ours)]
    assert face.run(config, conversations.trigger_sync("f", "2026-01-01", "2026-01-31"))["id"] == "ours"


@pytest.mark.parametrize("look", [reply(403, FAILED), reply(500, FAILED)], ids=["403", "500"])
def test_a_look_that_fails_does_not_hide_that_the_outcome_is_unknown(
    face: Face, server: ScriptedServer, config: ClientConfig, look: bytes
) -> None:
    server.script = [RESET, *[look] * 9]
    with pytest.raises(x.BankSyncConnectionError) as caught:
        face.run(config, conversations.trigger_sync("f"))
    assert (caught.value.method, caught.value.ambiguous, caught.value.permanent) == ("POST", True, False)
    assert isinstance(caught.value.__cause__, x.BankSyncError)


def test_a_job_from_before_our_request_left_the_queue_is_not_ours(
    server: ScriptedServer,
) -> None:
    """The request waits for the budget while somebody else's sync begins and ends."""
    config = ClientConfig(secret=KEY, base_url=server.url, rate_limit=2, rate_window=3.0)
    strangers: list[dict[str, Any]] = []

    def look(seen: Any) -> bytes:
        return jobs_at(server, *strangers)(seen)

    server.script = [ok([]), ok([]), RESET, look, ok(job(time.time()), 201)]
    with Client(config) as client:
        client.send(endpoints.list_feeds())
        client.send(endpoints.list_feeds())
        strangers.append(job(time.time() + 0.3, id="stranger", status="completed"))
        assert client.run(conversations.trigger_sync("f"))["id"] == "ours"
    assert [seen.method for seen in server.seen][2:] == ["POST", "GET", "POST"]


def test_a_second_request_that_meets_our_own_job_finds_it(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    late = jobs_at(server, job(arrival()))
    server.script = [RESET, jobs_at(server), reply(409, FAILED), late]
    assert face.run(config, conversations.trigger_sync("f"))["id"] == "ours"
    assert [seen.method for seen in server.seen] == ["POST", "GET", "POST", "GET"]


def test_a_conflict_at_once_is_somebody_elses_job(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [reply(409, FAILED)]
    with pytest.raises(x.BankSyncConflictError):
        face.run(config, conversations.trigger_sync("f"))
    assert len(server.seen) == 1


def test_an_outcome_that_stays_unknown_is_an_error_in_bounded_tries(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [RESET, jobs_at(server)] * conversations.WRITE_ATTEMPTS
    with pytest.raises(x.BankSyncConnectionError):
        face.run(config, conversations.trigger_sync("f"))
    assert [seen.method for seen in server.seen].count("POST") == conversations.WRITE_ATTEMPTS


# --- waiting for a job ---


def polling(clock: Callable[[], float], deadline: float) -> conversations.Polling:
    return conversations.Polling(interval=5, longest=20, deadline=deadline, clock=clock, rng=lambda: 0.5)


def test_the_intervals_grow_to_the_longest() -> None:
    intervals = polling(lambda: 0.0, 1.0).intervals()
    assert [round(next(intervals), 2) for _ in range(6)] == [5.0, 7.5, 11.25, 16.88, 20.0, 20.0]


def test_waiting_outlives_an_outage_and_a_status_that_is_new(
    face: Face, server: ScriptedServer, config: ClientConfig, caplog: pytest.LogCaptureFixture
) -> None:
    outage = [reply(502, b"")] * 8
    strange = ok(job(0, status="paused"))
    server.script = [ok(job(0)), *outage, strange, strange, ok(job(0, status="completed"))]
    seen: list[str] = []
    conversation = conversations.wait_for_job(
        "f", "ours", polling(lambda: 0.0, 1e9), on_progress=lambda job: seen.append(job["status"])
    )
    assert face.run(config, conversation)["status"] == "completed"
    assert seen == ["queued", "paused", "paused", "completed"]
    assert sum("new to us" in record.getMessage() for record in caplog.records) == 1


def test_a_status_that_is_new_ends_the_wait_once_the_job_says_that_it_is_over(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok(job(0, status="archived", completedAt="2026-01-01T00:00:00Z"))]
    done = face.run(config, conversations.wait_for_job("f", "ours", polling(lambda: 0.0, 1e9)))
    assert done["status"] == "archived"


def test_it_looks_once_more_when_the_time_is_up(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok(job(0, status="completed"))]
    assert (
        face.run(config, conversations.wait_for_job("f", "ours", polling(lambda: 9.0, 1.0)))["id"] == "ours"
    )


def test_a_wait_that_is_over_tells_the_jobs_last_state(
    face: Face, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok(job(0, status="in_progress"))]
    with pytest.raises(x.BankSyncJobTimeoutError) as caught:
        face.run(config, conversations.wait_for_job("f", "ours", polling(lambda: 9.0, 1.0)))
    assert caught.value.job["status"] == "in_progress"


@pytest.mark.parametrize(("status", "kind"), [(401, x.BankSyncAuthError), (404, x.BankSyncNotFoundError)])
def test_a_permanent_error_ends_the_wait(
    face: Face, server: ScriptedServer, config: ClientConfig, status: int, kind: type[Exception]
) -> None:
    server.script = [ok(job(0)), reply(status, FAILED)]
    with pytest.raises(kind):
        face.run(config, conversations.wait_for_job("f", "ours", polling(lambda: 0.0, 1e9)))
    assert len(server.seen) == 2


# --- bodies without an end, and who is asked about the key ---


def test_a_body_that_is_too_large_is_not_read_on(
    face: Face, server: ScriptedServer, config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_banksync.api.errors.LARGEST_BODY", 2**20)
    bomb = gzip.compress(b'{"success": true, "data": "' + b"x" * 2**25 + b'"}')
    assert len(bomb) < 2**16
    server.script = [reply(200, bomb, Content_Encoding="gzip")]
    with pytest.raises(x.BankSyncResponseError, match="larger than 1 MiB"):
        face.run(config, endpoints.list_feeds())
    assert len(server.seen) == 1


def test_a_body_that_drips_is_given_up(face: Face, config: ClientConfig) -> None:
    import socket
    import threading
    from dataclasses import replace

    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
            )
            for _ in range(6_000):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return
                threading.Event().wait(0.01)

    threading.Thread(target=drip, daemon=True).start()
    slow = replace(
        config, base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.5, max_retries=0
    )
    with pytest.raises(x.BankSyncConnectionError, match="not complete"):
        face.run(slow, endpoints.list_feeds())
    listener.close()


def test_a_broken_gzip_body(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [reply(200, b"not gzip at all", Content_Encoding="gzip"), ok([])]
    assert face.run(config, endpoints.list_feeds()) == []


def test_credentials_of_the_machine_stay_out(
    face: Face, server: ScriptedServer, config: ClientConfig, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    server.script = [ok([])]
    face.run(config, endpoints.list_feeds())
    assert "authorization" not in server.seen[0].headers
    from dataclasses import replace

    server.script = [ok([])]
    face.run(replace(config, bearer=True, secret="token"), endpoints.list_feeds())
    assert server.seen[1].headers["authorization"] == "bearer token"


def test_cookies_are_not_kept(face: Face, server: ScriptedServer, config: ClientConfig) -> None:
    from dataclasses import replace

    server.script = [reply(500, FAILED, Set_Cookie="session=1; Path=/"), ok([])]
    # By name: aiohttp itself keeps no cookies of an address.
    by_name = replace(config, base_url=server.url.replace("127.0.0.1", "localhost"))
    face.run(by_name, endpoints.list_feeds())
    assert "cookie" not in server.seen[1].headers


def test_a_proxy_of_the_environment_is_used(
    face: Face, server: ScriptedServer, config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    server.script = [ok([{"id": "by proxy"}])]
    elsewhere = replace(config, base_url="http://banksync.invalid")
    assert face.run(elsewhere, endpoints.list_feeds()) == [{"id": "by proxy"}]
    assert server.seen[0].target == "http://banksync.invalid/v1/feeds"


def test_clients_of_one_loop_share_their_connections(server: ScriptedServer, config: ClientConfig) -> None:
    import asyncio
    from dataclasses import replace

    from airflow_provider_banksync.api import aio

    async def main() -> None:
        async with aio.AsyncClient(config) as one:
            async with aio.AsyncClient(replace(config, secret="bsk_other")) as other:
                assert one._open() is other._open()
            assert not one._open().session.closed
            session = one._open().session
            async with aio.AsyncClient(replace(config, timeout=9.0)) as apart:
                assert apart._open().session is not session
        assert session.closed
        assert not aio._shared

    asyncio.run(main())
    asyncio.run(main())
