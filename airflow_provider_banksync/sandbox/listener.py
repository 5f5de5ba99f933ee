"""uvicorn in a thread of its own, on this machine only, started and stopped within bounded time."""

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
from airflow_provider_banksync.sandbox.wire import TRANSPORT

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.app import SandboxApp

HOST = "127.0.0.1"
_LAST_CHANCE = 1.0
"""Real seconds that a request under way has to be done when its sandbox stops."""
_THREAD = "banksync-sandbox"
PATIENCE = 60.0
"""Real seconds that starting, and stopping, may take."""


class Listener:
    """Serves an application on a port of 127.0.0.1; port 0 finds a free one."""

    def __init__(self, app: SandboxApp, port: int) -> None:
        # Listening begins here, in the caller's thread: a port that is taken is the caller's error at once.
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        self._server = _Server(app)
        self._failure: BaseException | None = None
        for name in ("uvicorn.error", "uvicorn.asgi", "asyncio"):
            logging.getLogger(name).addFilter(_QUIET)  # the same one again changes nothing
        self._thread = threading.Thread(target=self._run, name=f"{_THREAD}-{self.port}", daemon=True)

    def start(self) -> None:
        """Serve; return once requests are answered."""
        self._thread.start()
        up = self._server.ready.wait(PATIENCE)
        if self._failure is not None or not up:
            self._socket.close()
            raise SandboxError("the sandbox's server did not start") from self._failure

    def stop(self) -> None:
        """Stop serving; return once the thread is gone. Connections that are still open are closed."""
        self._server.stop()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise SandboxError(f"the sandbox's server did not stop within {PATIENCE:g} s")

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as failure:  # noqa: BLE001 - uvicorn exits by SystemExit; the starting thread re-raises
            self._failure = failure
        finally:
            self._server.ready.set()


class _Protocol(HttpToolsProtocol):
    """HTTP that lets the application at its connection, so that it can break it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection on."""
        super().connection_made(transport)  # type: ignore[arg-type] # uvicorn narrows what asyncio gives
        self.app_state = {**self.app_state, TRANSPORT: transport}
        # Not by uvicorn's setting, which would silence every other server of this process, too.
        self.access_log = False


class _Quiet(logging.Filter):
    """Keeps what uvicorn and asyncio tell about a sandbox out of the caller's log, below warnings.

    Only about a sandbox: other servers of the same process, Airflow's for instance, log as they did.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let through what is serious or is not ours."""
        return record.levelno >= logging.WARNING or not (record.threadName or "").startswith(_THREAD)


_QUIET = _Quiet()


class _Server(uvicorn.Server):
    """uvicorn that says when it is up and that can be woken to stop, instead of being polled for both."""

    def __init__(self, app: SandboxApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                date_header=False,  # the sandbox has a clock of its own
                server_header=False,
                proxy_headers=False,  # who is calling is who is connected, and not whom a header names
                timeout_keep_alive=60,
            )
        )
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._wire = app.wire

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell the thread that waits."""
        self._wire.open()
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        """Serve until told to stop."""
        await self._stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and leave no connection open.

        In place of uvicorn's own, which takes a tenth of a second however little there is to wait for: in a suite of
        hundreds of sandboxes that is most of the time. When its server closes, asyncio drops a connection that it has
        accepted and not yet handed on. So first nobody new is let in, then who is being served has a moment to be
        done, and last whoever is left is cut off.
        """
        self._wire.close()
        for listening in sockets or []:
            with contextlib.suppress(NotImplementedError):  # Windows' event loop accepts in another way
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
            await asyncio.wait(list(self.server_state.tasks), timeout=_LAST_CHANCE)
        for task in self.server_state.tasks:
            task.cancel()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def stop(self) -> None:
        """Stop serving. Called from another thread; harmless when it has stopped already."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopped.set)


def _listen(port: int) -> socket.socket:
    # The protocol is named, or asyncio leaves Nagle's algorithm on and every answer takes 40 ms.
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
