"""Endless answers, headers of every size, answers that are not HTTP, and forked processes."""

from __future__ import annotations

import gc
import json
import os
import pickle
import socket
import threading
import time
import weakref
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.http.async_client import AsyncClient
from airflow_provider_banksync.api.http.client import Client
from tests.support.scripted_server import KEY, ScriptedServer, ok, reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.api.config import ClientConfig
    from tests.support.client_driver import ClientDriver

OK_BODY = b'{"success": true, "data": []}'
HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def dripping(first: bytes, drop: bytes) -> Iterator[str]:
    """Serve `first`, then a drop each 20 ms, for as long as somebody drinks; yields the URL."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                try:
                    connection.sendall(first)
                    for _ in range(600):
                        connection.sendall(drop)
                        time.sleep(0.1)  # of a hundred headers another error would be made
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (HEAD + b"X-Long: ", b"x"),
        (HEAD, b"X-One: x\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (HEAD + b"Content-Length: 9999\r\n\r\n", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;", b"x"),
    ],
    ids=["a header", "headers", "100 Continue", "a body", "chunks", "the size of a chunk"],
)
def test_an_endless_answer_is_an_error(
    driver: ClientDriver, config: ClientConfig, first: bytes, drop: bytes
) -> None:
    began = time.monotonic()
    with dripping(first, drop) as url:
        slow = replace(config, base_url=url, timeout=0.5, max_retries=0)
        with pytest.raises(x.BankSyncConnectionError, match="not complete"):
            driver.run(slow, endpoints.list_feeds())
    assert time.monotonic() - began < 30


def test_an_answer_that_is_slow_but_ends_is_taken(driver: ClientDriver, config: ClientConfig) -> None:
    body = OK_BODY.ljust(60)
    head = HEAD + b"Connection: close\r\nContent-Length: 60\r\n\r\n"
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                for start in range(0, len(head + body), 12):
                    connection.sendall((head + body)[start : start + 12])
                    time.sleep(0.1)

        threading.Thread(target=serve, daemon=True).start()
        slow = replace(config, base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=1.0)
        assert driver.run(slow, endpoints.list_feeds()) == []


@pytest.mark.parametrize("size", [100, 9_000, 60_000])
def test_a_header_of_any_size_is_read_alike(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, size: int
) -> None:
    server.script = [ok([], Content_Security_Policy="x" * size)]
    assert driver.run(config, endpoints.list_feeds()) == []


@pytest.mark.parametrize("size", [70_000, 500_000])
def test_a_header_beyond_that_is_our_error(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, size: int
) -> None:
    server.script = [ok([], X_Long="x" * size)]
    with pytest.raises(x.BankSyncConnectionError) as caught:
        driver.run(replace(config, max_retries=0), endpoints.list_feeds())
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "answer",
    [
        b'{"success": true, "data": [{"accountName": "Jane Doe"}]}\r\n\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Length: Jane Doe\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nJane Doe\r\n",
        b"HTTP/1.1 200 OK\r\nBad\x00Jane Doe: x\r\n\r\n",
        b"HTTP/1.1 Jane Doe\r\n\r\n",
    ],
)
def test_an_answer_that_is_not_http_is_not_quoted(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig, answer: bytes
) -> None:
    server.script = [answer]
    with pytest.raises(x.BankSyncError) as caught:
        driver.run(replace(config, max_retries=0), endpoints.list_feeds())
    assert "Jane" not in f"{caught.value} {caught.value!r}"
    assert caught.value.transient


def test_retry_after_twice_is_heeded(
    driver: ClientDriver, server: ScriptedServer, config: ClientConfig
) -> None:
    twice = reply(429, {"success": False, "error": "no"}, Retry_After="7\r\nRetry-After: 7")
    server.script = [twice, ok([])]
    driver.run(config, endpoints.list_feeds())
    assert 7 <= driver.sleeps[0] <= 8


# --- processes and loops ---


def test_a_forked_process_has_connections_of_its_own(config: ClientConfig) -> None:
    """Over one connection that both share, each reads what is meant for the other."""
    ports: list[int] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve(connection: socket.socket, port: int) -> None:
            with connection:
                while connection.recv(65536):
                    ports.append(port)
                    connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(OK_BODY) + OK_BODY)

        def accept() -> None:
            while True:
                try:
                    connection, (_, port) = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection, port), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(replace(config, base_url=url, timeout=300.0)) as client:
            client.send(endpoints.list_feeds())
            child = os.fork()
            if child == 0:
                try:
                    client.send(endpoints.list_feeds())
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            client.send(endpoints.list_feeds())
    assert len(ports) == 3
    assert ports[0] == ports[2] != ports[1]


def test_many_threads_share_one_client_in_peace(
    config: ClientConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from airflow_provider_banksync.api.rate_limit.limiter import RateLimiter

    limiter = RateLimiter(100_000)
    monkeypatch.setattr("airflow_provider_banksync.api.http.client.limiter_for", lambda _: limiter)
    together = threading.Barrier(20)

    def answer(_: Any) -> bytes:
        together.wait(300)
        return HEAD + b"Content-Length: %d\r\n\r\n" % len(OK_BODY) + OK_BODY

    server = ScriptedServer([answer] * 20)
    with (
        Client(replace(config, base_url=server.url, timeout=300.0)) as client,
        ThreadPoolExecutor(20) as pool,
    ):
        for future in [pool.submit(client.send, endpoints.list_feeds()) for _ in range(20)]:
            assert future.result().value == []
    server.close()
    assert "pool is full" not in caplog.text


def test_one_async_client_in_several_tasks(server: ScriptedServer, config: ClientConfig) -> None:
    import asyncio

    from airflow_provider_banksync.api.http import async_client

    server.script = [ok([])] * 3

    async def use(client: AsyncClient, seconds: float) -> None:
        async with client:
            await asyncio.sleep(seconds)
            assert (await client.send(endpoints.list_feeds())).value == []

    async def main() -> None:
        client = AsyncClient(config)
        await asyncio.gather(use(client, 0.0), use(client, 0.05), use(client, 0.1))
        assert not async_client._sessions
        with pytest.raises(x.BankSyncConfigError, match="async with"):
            await client.send(endpoints.list_feeds())

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:.*nclosed.*:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_was_closed_too_early_is_let_go(config: ClientConfig) -> None:
    import asyncio

    loop = asyncio.new_event_loop()
    loop.run_until_complete(AsyncClient(config).__aenter__())
    loop.close()
    gone = weakref.ref(loop)
    del loop

    async def later() -> None:
        async with AsyncClient(config):
            pass

    asyncio.run(later())
    gc.collect()
    assert gone() is None


def test_neither_client_nor_settings_can_be_pickled(config: ClientConfig) -> None:
    with Client(config) as client:
        for what in (config, client, AsyncClient(config)):
            with pytest.raises(TypeError, match="key"):
                pickle.dumps(what)
    assert KEY not in json.dumps(repr(config))
