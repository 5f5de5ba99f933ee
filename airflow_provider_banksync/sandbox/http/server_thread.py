"""uvicorn in a thread, on 127.0.0.1 only. It starts and stops in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import threading
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.http.wire import TRANSPORT, ResponseWriter

if TYPE_CHECKING:
    from starlette.types import ASGIApp


HOST = "127.0.0.1"
START_TIMEOUT = 60.0
"""Real seconds that a start or a stop may take."""
_SHUTDOWN_GRACE = 1.0
"""Real seconds that requests in flight have to finish when the sandbox stops."""
_THREAD = "banksync-sandbox"


class _Protocol(HttpToolsProtocol):
    """HTTP that passes its connection to the application, so that a fault can break it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # uvicorn narrows what asyncio gives
        self.app_state = {**self.app_state, TRANSPORT: transport}
        # uvicorn's setting would silence every other server of this process too.
        self.access_log = False


def _keep_record(record: logging.LogRecord) -> bool:
    """Drop what uvicorn and asyncio log below WARNING about a sandbox, and nothing about other servers."""
    return record.levelno >= logging.WARNING or not (record.threadName or "").startswith(_THREAD)


class ServerThread(uvicorn.Server):
    """Serves an application on a port of 127.0.0.1. Port 0 finds a free one.

    It signals its start and waits for a stop, where uvicorn polls for both.
    """

    def __init__(self, app: ASGIApp, writer: ResponseWriter, port: int) -> None:
        # The socket opens in the caller's thread, so that the caller sees at once that a port is in use.
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            date_header=False,  # the sandbox has a clock of its own
            server_header=False,
            proxy_headers=False,  # the admin calls need the real address of the client
            timeout_keep_alive=60,
        )
        super().__init__(config)
        for name in ("uvicorn.error", "uvicorn.asgi", "asyncio"):
            logging.getLogger(name).addFilter(_keep_record)  # adding it twice changes nothing
        self._writer = writer
        self._ready, self._stopped = threading.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run_in_thread, name=f"{_THREAD}-{self.port}", daemon=True
        )

    def start(self) -> None:
        """Serve. Returns once the server answers requests."""
        self._thread.start()
        started = self._ready.wait(START_TIMEOUT)
        if self._failure is not None or not started:
            self._socket.close()
            raise SandboxError("the sandbox's server did not start") from self._failure

    def stop(self) -> None:
        """Stop the server, close its connections, and wait until the thread has ended."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(START_TIMEOUT)
        if self._thread.is_alive():
            raise SandboxError(f"the sandbox's server did not stop within {START_TIMEOUT:g} s")

    def _run_in_thread(self) -> None:
        try:
            self.run(sockets=[self._socket])
        except BaseException as failure:  # noqa: BLE001 - uvicorn exits by SystemExit; the starting thread re-raises
            self._failure = failure
        finally:
            self._ready.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then wake the thread that waits."""
        self._writer.open()
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        self._ready.set()

    async def main_loop(self) -> None:
        """Serve until ``stop``."""
        await self._stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and leave no connection open.

        It replaces uvicorn's own, which always takes 0.1 s: with hundreds of sandboxes in a test suite that is most
        of the time. When a server closes, asyncio drops a connection that it has accepted and not handed on yet. So
        it first accepts no more connections, then gives the requests in flight a moment, and last aborts the rest.
        """
        self._writer.close()
        for listening in sockets or []:
            with contextlib.suppress(NotImplementedError):  # the event loop of Windows has no readers
                asyncio.get_running_loop().remove_reader(listening)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(list(self.server_state.tasks), timeout=_SHUTDOWN_GRACE)
        for task in self.server_state.tasks:
            task.cancel()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def _listen(port: int) -> socket.socket:
    # With the protocol named, asyncio turns Nagle's algorithm off. Otherwise every answer takes 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise SandboxError(
                f"port {port} on {HOST} is in use; choose another, or 0 for any free one"
            ) from error
        raise SandboxError(f"cannot listen on {HOST}:{port}: {error.strerror}") from error
    return listening
