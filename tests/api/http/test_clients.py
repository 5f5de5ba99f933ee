"""Both clients over real sockets: what they send, how they read answers, and what they retry."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import endpoints, retry_policy
from airflow_provider_banksync.api.config import USER_AGENT, ClientConfig
from airflow_provider_banksync.api.http.client import Client
from tests.support.scripted_server import FAILED, KEY, RESET, SILENCE, ScriptedServer, ok, reply

if TYPE_CHECKING:
    from tests.support.client_driver import ClientDriver


def test_what_goes_over_the_wire(driver: ClientDriver, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [ok({"id": "j1"}, 201)]
    call = endpoints.trigger_sync("f/1?#é", "2026-01-01", "2026-01-31", workspace_id="portal-1")
    assert driver.run(config, call) == {"id": "j1"}
    (seen,) = server.seen
    assert (seen.method, seen.target) == ("POST", "/v1/feeds/f%2F1%3F%23%C3%A9/sync")
    assert json.loads(seen.body) == {"startDate": "2026-01-01", "endDate": "2026-01-31"}
    assert seen.headers["user-agent"] == USER_AGENT.lower()
    assert seen.headers["x-api-key"] == KEY.lower()
    assert seen.headers["x-workspace-id"] == "portal-1"
    assert seen.headers["content-type"] == "application/json"


def test_queries_and_the_internal_surface(driver: ClientDriver, server: ScriptedServer) -> None:
    server.script = [ok([])]
    config = ClientConfig(secret=KEY, base_url=f"{server.url}/base", internal=True)
    assert driver.run(config, endpoints.list_jobs("f", "failed", 5)) == []
    assert server.seen[0].target == "/base/api/feeds/f/jobs?limit=5&status=failed"


def test_an_incremental_sync_has_no_body(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    server.script = [ok({"id": "j1"}, 201)]
    driver.run(config, endpoints.trigger_sync("f"))
    assert server.seen[0].body == b""
    assert "content-type" not in server.seen[0].headers


def test_a_gzip_body_is_unpacked(driver: ClientDriver, server: ScriptedServer, config: ClientConfig) -> None:
    body = gzip.compress(b'{"success": true, "data": [{"id": "1", "amount": 12.50}]}')
    server.script = [reply(200, body, Content_Encoding="gzip")]
    assert str(driver.run(config, endpoints.list_feeds())[0]["amount"]) == "12.50"


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
def test_a_read_is_retried_until_it_succeeds(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, fault: Any
) -> None:
    server.script = [fault, fault, ok([{"id": "1"}])]
    assert driver.run(config, endpoints.list_feeds()) == [{"id": "1"}]
    assert len(server.seen) == 3
    assert len(driver.sleeps) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 301])
def test_errors_that_a_retry_cannot_fix_are_tried_once(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, status: int
) -> None:
    server.script = [reply(status, FAILED, Location="http://127.0.0.1:1/elsewhere")]
    with pytest.raises(x.BankSyncError):
        driver.run(config, endpoints.list_feeds())
    assert len(server.seen) == 1
    assert driver.sleeps == []


def test_the_tries_are_bounded(driver: ClientDriver, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [reply(500, FAILED)] * 9
    with pytest.raises(x.BankSyncServerError):
        driver.run(config, endpoints.list_feeds())
    assert len(server.seen) == config.max_retries + 1


def test_retry_after_is_honored(driver: ClientDriver, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [reply(429, FAILED, Retry_After="7"), ok([])]
    driver.run(config, endpoints.list_feeds())
    assert 7 <= driver.sleeps[0] <= 8


def test_time_in_the_queue_does_not_count_as_backoff(server: ScriptedServer, mocker: Any) -> None:
    """What counts against a request is what it waited between its own tries."""
    mocker.patch.object(retry_policy, "MAX_TOTAL_BACKOFF", 1.5)
    config = ClientConfig(secret=KEY, base_url=server.url, rate_limit=1, rate_window=2.0)
    server.script = [ok([]), reply(502, FAILED), ok([])]
    with Client(config) as client:
        client.send(endpoints.list_feeds())
        assert client.send(endpoints.list_feeds()).value == []


def test_no_more_tries_than_there_is_time_for(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, mocker: Any
) -> None:
    mocker.patch.object(retry_policy, "MAX_TOTAL_BACKOFF", 2.5)
    server.script = [reply(502, FAILED)] * 9
    with pytest.raises(x.BankSyncServerError):
        driver.run(replace(config, max_retries=50), endpoints.list_feeds())
    assert sum(driver.sleeps) <= 2.5
    assert len(server.seen) < 9


def test_no_server_at_the_address(driver: ClientDriver, config: ClientConfig) -> None:
    gone = ScriptedServer()
    url = gone.url
    gone.close()
    with pytest.raises(x.BankSyncConnectionError) as caught:
        driver.run(ClientConfig(secret=KEY, base_url=url, max_retries=1), endpoints.trigger_sync("f"))
    assert not caught.value.ambiguous
    assert "a sandbox must run" in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(driver.sleeps) == 1


def test_a_host_that_does_not_answer(driver: ClientDriver, config: ClientConfig) -> None:
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
            driver.run(busy, endpoints.trigger_sync("f"))
    assert not caught.value.ambiguous
    assert len(driver.sleeps) == 3


# --- a sync is never started twice ---


def test_a_body_that_is_too_large_is_not_read_on(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_banksync.api.responses.MAX_BODY_BYTES", 2**20)
    bomb = gzip.compress(b'{"success": true, "data": "' + b"x" * 2**25 + b'"}')
    assert len(bomb) < 2**16
    server.script = [reply(200, bomb, Content_Encoding="gzip")]
    with pytest.raises(x.BankSyncResponseError, match="larger than 1 MiB"):
        driver.run(config, endpoints.list_feeds())
    assert len(server.seen) == 1


def test_an_endless_body_is_an_error(driver: ClientDriver, config: ClientConfig) -> None:
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
        driver.run(slow, endpoints.list_feeds())
    listener.close()


def test_a_broken_gzip_body(driver: ClientDriver, server: ScriptedServer, config: ClientConfig) -> None:
    server.script = [reply(200, b"not gzip at all", Content_Encoding="gzip"), ok([])]
    assert driver.run(config, endpoints.list_feeds()) == []


def test_credentials_of_the_machine_stay_out(
    driver: ClientDriver,
    server: ScriptedServer,
    config: ClientConfig,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    server.script = [ok([])]
    driver.run(config, endpoints.list_feeds())
    assert "authorization" not in server.seen[0].headers
    from dataclasses import replace

    server.script = [ok([])]
    driver.run(replace(config, bearer=True, secret="token"), endpoints.list_feeds())
    assert server.seen[1].headers["authorization"] == "bearer token"


def test_cookies_are_not_kept(driver: ClientDriver, server: ScriptedServer, config: ClientConfig) -> None:
    from dataclasses import replace

    server.script = [reply(500, FAILED, Set_Cookie="session=1; Path=/"), ok([])]
    # By name: aiohttp itself keeps no cookies of an address.
    by_name = replace(config, base_url=server.url.replace("127.0.0.1", "localhost"))
    driver.run(by_name, endpoints.list_feeds())
    assert "cookie" not in server.seen[1].headers


def test_a_proxy_of_the_environment_is_used(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    server.script = [ok([{"id": "by proxy"}])]
    elsewhere = replace(config, base_url="http://banksync.invalid")
    assert driver.run(elsewhere, endpoints.list_feeds()) == [{"id": "by proxy"}]
    assert server.seen[0].target == "http://banksync.invalid/v1/feeds"


def test_clients_of_one_loop_share_their_connections(server: ScriptedServer, config: ClientConfig) -> None:
    import asyncio
    from dataclasses import replace

    from airflow_provider_banksync.api.http import async_client

    async def main() -> None:
        async with async_client.AsyncClient(config) as one:
            async with async_client.AsyncClient(replace(config, secret="bsk_other")) as other:
                assert one._current_session() is other._current_session()
            assert not one._current_session().session.closed
            session = one._current_session().session
            async with async_client.AsyncClient(replace(config, timeout=9.0)) as apart:
                assert apart._current_session().session is not session
        assert session.closed
        assert not async_client._sessions

    asyncio.run(main())
    asyncio.run(main())
