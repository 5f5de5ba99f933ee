"""Requests from the connection, and responses onto it: intact, or damaged as a bad network would."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from airflow_provider_banksync.sandbox.exact_json import encode

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.types import Receive, Scope, Send

JSON = "application/json"
HTML = "text/html; charset=UTF-8"
TRANSPORT = "banksync_transport"
"""Where ``server_thread`` puts the connection, in the state of an ASGI scope."""
_MAX_PIECES = 20
"""In which a slow body is sent."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class HttpRequest:
    """One request. starlette's takes longer to look up its headers than the sandbox takes to read a page."""

    def __init__(self, scope: Scope, receive: Receive, time: datetime) -> None:
        self.time = time
        self.method: str = scope["method"]
        self.path = _decode_path(scope["raw_path"])
        self.client_host: str = scope["client"][0] if scope["client"] else ""
        self.admitted = False
        """Whether the rate limit let it through."""
        # The first of several headers of one name counts.
        self._headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        text = scope["query_string"].decode("latin-1")
        self.query = parse_qsl(text, keep_blank_values=True) if text else []
        self._scope, self._receive = scope, receive

    def header(self, name: bytes) -> str | None:
        """Return the value of a header (name in lower case), or None."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def duplicate_header(self, names: tuple[bytes, ...]) -> str | None:
        """Return the first of these headers that was sent twice, or None."""
        if len(self._headers) == len(self._scope["headers"]):
            return None
        sent = [name for name, _ in self._scope["headers"]]
        return next((name.decode() for name in names if sent.count(name) > 1), None)

    async def body(self) -> bytes:
        """Read the body. Raises starlette's ClientDisconnect if the client hangs up."""
        from starlette.requests import Request  # ``Fault`` needs this module, and works without the extra

        return await Request(self._scope, self._receive).body()


def _decode_path(raw: bytes) -> str:
    """Decode a path segment by segment: an encoded slash belongs to an id and does not end it."""
    path = raw.decode("latin-1")
    if "%" not in path:
        return path
    return "/".join(unquote(segment).replace("/", "%2F") for segment in path.split("/"))


@dataclass(frozen=True)
class SandboxResponse:
    """One response."""

    status: int
    """0 if nothing is sent."""
    body: bytes
    media_type: str | None = JSON
    headers: dict[str, str] = field(default_factory=dict)
    delivery: str = "whole"
    """How it is sent: "whole", "cut", "slow", "reset" or "silence"."""
    part: float = 1.0
    """The share of a cut body that is sent."""
    seconds: float = 0.0
    """How long a slow body takes."""
    date_offset: float | None = 0.0
    """The seconds that the Date header is ahead of the sandbox's clock; None leaves the header out."""


def error_body(message: str) -> bytes:
    """Encode the error envelope."""
    return encode({"success": False, "error": message})


class ResponseWriter:
    """Sends responses. ``close`` ends all waits, so that a sandbox that stops does not wait for its own faults."""

    def __init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Prepare for a start."""
        self._closed = asyncio.Event()

    def close(self) -> None:
        """End all waits. Called in the event loop of the server."""
        self._closed.set()

    async def pause(self, seconds: float) -> None:
        """Wait this long, or until the sandbox stops."""
        if seconds:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closed.wait(), seconds)

    async def send(
        self, response: SandboxResponse, now: datetime, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send a response as its ``delivery`` says: whole, slowly, in part or not at all."""
        transport: asyncio.Transport = scope["state"][TRANSPORT]
        if response.delivery == "reset":
            # Without lingering, closing sends RST and discards what is on its way.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
            await _wait_for_disconnect(receive)
            return
        if response.delivery == "silence":
            await self._stay_silent(transport, receive)
            return
        headers = _encode_headers(response, now)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if response.delivery == "cut":
            sent = response.body[: int(len(response.body) * response.part)]
            await send({"type": "http.response.body", "body": sent, "more_body": True})
            transport.close()
            await _wait_for_disconnect(receive)
        elif response.delivery == "slow":
            await self._send_slowly(response, send)
        else:
            await send({"type": "http.response.body", "body": response.body})

    async def _send_slowly(self, response: SandboxResponse, send: Send) -> None:
        size = -(-len(response.body) // _MAX_PIECES)
        starts = range(0, len(response.body), size or 1)
        for start in starts:
            # The pause comes before each piece: a client that has the last one has the whole body.
            await self.pause(response.seconds / len(starts))
            piece = response.body[start : start + size]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _stay_silent(self, transport: asyncio.Transport, receive: Receive) -> None:
        gone = asyncio.ensure_future(_wait_for_disconnect(receive))
        closed = asyncio.ensure_future(self._closed.wait())
        await asyncio.wait({gone, closed}, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        transport.abort()
        await gone


async def _wait_for_disconnect(receive: Receive) -> None:
    """Return once the connection is over. A return before that makes uvicorn log a missing response."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _encode_headers(response: SandboxResponse, now: datetime) -> list[tuple[bytes, bytes]]:
    # The sandbox's own time, because clients compare a job's createdAt with the Date header.
    fields = {}
    if response.date_offset is not None:
        moment = now + timedelta(seconds=response.date_offset)
        fields[b"date"] = _http_date(moment.replace(microsecond=0))
    if response.media_type is not None:
        fields[b"content-type"] = response.media_type.encode("ascii")
    if response.status != 304:
        fields[b"content-length"] = b"%d" % len(response.body)
    for name, text in response.headers.items():
        fields[name.lower().encode("ascii")] = text.encode("ascii")
    return list(fields.items())


@lru_cache(maxsize=16)
def _http_date(now: datetime) -> bytes:
    return format_datetime(now, usegmt=True).encode("ascii")
