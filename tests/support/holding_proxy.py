"""An HTTP proxy that holds single requests back, as a network does: they arrive late, even if the client has given up.

::

    with HoldingProxy(s3.endpoint) as proxy:
        held = proxy.hold("PUT", "/part-")
        ...  # a client sends its PUT to proxy.url, and times out or dies
        held.wait_until_here()
        ...  # others write
        assert held.release() == 200  # only now does the server get it
"""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from types import TracebackType

Answer = tuple[int, list[tuple[str, str]], bytes]
LONGEST_WAIT = 60.0
"""Real seconds that a test waits for what must happen."""
_NOT_FORWARDED = {"connection", "transfer-encoding", "expect", "proxy-connection"}


@dataclass
class HeldRequest:
    """The first request that matches, held back until ``release`` or for some seconds.

    :param method: its method.
    :param pattern: a regular expression that is found in its path and query, decoded.
    :param seconds: how long it is held; None until ``release``.
    :param answer_only: whether the server gets the request at once, and only the answer is held back.
    """

    method: str
    pattern: str
    seconds: float | None = None
    answer_only: bool = False
    target: str | None = field(default=None, init=False)
    """Path and query, once it is here."""
    status: int | None = field(default=None, init=False)
    """What the server answered, or None if it never got the request."""
    _here: threading.Event = field(default_factory=threading.Event, init=False)
    _released: threading.Event = field(default_factory=threading.Event, init=False)
    _ended: threading.Event = field(default_factory=threading.Event, init=False)
    _dropped: bool = field(default=False, init=False)

    def wait_until_here(self) -> None:
        """Wait until the proxy has the whole request."""
        assert self._here.wait(LONGEST_WAIT), f"no {self.method} of {self.pattern} has come"

    def wait_until_answered(self) -> int | None:
        """Wait until the server has answered, and return the status."""
        assert self._ended.wait(LONGEST_WAIT), f"{self.method} {self.target} was not delivered"
        return self.status

    def release(self) -> int | None:
        """Deliver it now. Return the status of the server's answer."""
        self._released.set()
        return self.wait_until_answered()

    def drop(self) -> None:
        """Never deliver it."""
        self._dropped = True
        self._released.set()

    def arrive(self, target: str) -> None:
        """Called by the proxy, once it has the whole request."""
        self.target = target
        self._here.set()

    def wait_for_release(self) -> bool:
        """Called by the proxy. Wait, then return whether to continue."""
        self._released.wait(self.seconds)
        return not self._dropped

    def end(self, status: int | None) -> None:
        """Called by the proxy, when the server has answered or will never get the request."""
        if not self._ended.is_set():
            self.status = status
            self._ended.set()


class HoldingProxy:
    """Forwards requests to one server, except those that it is told to hold."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = parts.hostname or "", parts.port or 80
        self._rules: list[HeldRequest] = []
        self._all: list[HeldRequest] = []
        self._lock = threading.Lock()
        self.seen: list[tuple[str, str]] = []
        """Method, and path with query, of each request, in the order in which they came."""
        methods = {f"do_{each}": _Handler.forward for each in ("DELETE", "GET", "HEAD", "POST", "PUT")}
        handler = type("Handler", (_Handler,), {"proxy": self, **methods})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HoldingProxy:  # noqa: PYI034 - typing.Self begins with Python 3.11
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for held in self._all:
            held.drop()
        self._server.shutdown()
        self._server.server_close()

    def hold(
        self, method: str, pattern: str, seconds: float | None = None, *, answer_only: bool = False
    ) -> HeldRequest:
        """Hold back the next request that matches, and no other one. See ``HeldRequest``."""
        held = HeldRequest(method, pattern, seconds, answer_only)
        with self._lock:
            self._rules.append(held)
            self._all.append(held)
        return held

    def take(self, method: str, target: str) -> HeldRequest | None:
        """Return how to hold a request, or None. Called for each request."""
        with self._lock:
            self.seen.append((method, target))
            for held in self._rules:
                if held.method == method and re.search(held.pattern, unquote(target)):
                    self._rules.remove(held)
                    return held
        return None

    def send(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """Send a request to the server. Return status, headers and body of the answer."""
        connection = HTTPConnection(*self._upstream, timeout=LONGEST_WAIT)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: HoldingProxy

    def handle(self) -> None:
        # A client that is killed leaves its connection open or resets it.
        with suppress(OSError):
            super().handle()

    def forward(self) -> None:
        body = self._read_body()
        headers = [each for each in self.headers.items() if each[0].lower() not in _NOT_FORWARDED]
        headers = [each for each in headers if each[0].lower() != "content-length"]
        if body or self.command in {"PUT", "POST"}:
            headers.append(("Content-Length", str(len(body))))
        held = self.proxy.take(self.command, self.path)
        answer = self._deliver(headers, body, held)
        if held:
            held.end(None)
        if answer is None:
            self.close_connection = True
        else:
            self._answer(*answer)

    def _deliver(
        self, headers: list[tuple[str, str]], body: bytes, held: HeldRequest | None
    ) -> Answer | None:
        """Send a request to the server, now or later. Return None if there is no answer to pass on."""
        if held:
            held.arrive(self.path)
            if not held.answer_only and not held.wait_for_release():
                return None
        try:
            answer = self.proxy.send(self.command, self.path, headers, body)
        except (OSError, HTTPException):
            return None  # the server has broken off
        if held:
            held.end(answer[0])
            if held.answer_only and not held.wait_for_release():
                return None
        return answer

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return body

    def _answer(self, status: int, fields: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in fields:
            if name.lower() not in _NOT_FORWARDED | {"content-length"}:
                self.send_header(name, value)
        length = dict(fields).get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Log nothing."""
