"""Getting an answer onto the wire: as it should be, or the way a broken network would."""

from __future__ import annotations

import asyncio
import socket
import struct
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.types import Receive, Scope, Send

    from airflow_provider_banksync.sandbox.answer import Answer

TRANSPORT = "banksync_transport"
"""Where the listener leaves the connection, in the state of an ASGI scope."""
_PIECES = 20
"""At most, in which a dripping body is sent."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Wire:
    """Sends answers. ``close`` ends all waiting, so that a sandbox that stops does not wait for its own faults."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()

    def open(self) -> None:
        """Begin anew, after a stop."""
        self._closed = asyncio.Event()

    def close(self) -> None:
        """End all waiting; called in the loop that serves."""
        self._closed.set()

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until the sandbox stops."""
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except asyncio.TimeoutError:
            return

    async def deliver(
        self, answer: Answer, now: datetime, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send an answer its way."""
        if answer.wire == "reset":
            await _reset(scope, receive)
        elif answer.wire == "silence":
            await self._say_nothing(scope, receive)
        else:
            await send(
                {"type": "http.response.start", "status": answer.status, "headers": _headers(answer, now)}
            )
            if answer.wire == "cut":
                await _cut(answer, scope, receive, send)
            elif answer.wire == "dripping":
                await self._drip(answer, send)
            else:
                await send({"type": "http.response.body", "body": answer.body})

    async def _drip(self, answer: Answer, send: Send) -> None:
        size = -(-len(answer.body) // _PIECES)
        starts = range(0, len(answer.body), size or 1)
        for start in starts:
            # Before each piece: who has the last one has the whole body, and waits no longer.
            await self.pause(answer.seconds / len(starts))
            piece = answer.body[start : start + size]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _say_nothing(self, scope: Scope, receive: Receive) -> None:
        gone = asyncio.ensure_future(_until_gone(receive))
        closed = asyncio.ensure_future(self._closed.wait())
        await asyncio.wait({gone, closed}, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        _transport(scope).abort()
        await gone


async def _cut(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    kept = int(len(answer.body) * answer.part)
    await send({"type": "http.response.body", "body": answer.body[:kept], "more_body": True})
    _transport(scope).close()
    await _until_gone(receive)


async def _reset(scope: Scope, receive: Receive) -> None:
    transport = _transport(scope)
    connection = transport.get_extra_info("socket")
    # No lingering: closing then sends RST, and whatever was on its way is lost.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
    await _until_gone(receive)


async def _until_gone(receive: Receive) -> None:
    """Return once the connection is over, or the server complains that it was not answered."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _transport(scope: Scope) -> asyncio.Transport:
    transport: asyncio.Transport = scope["state"][TRANSPORT]
    return transport


def _headers(answer: Answer, now: datetime) -> list[tuple[bytes, bytes]]:
    # The sandbox's own time: whoever compares a job's createdAt with the Date header must find one clock.
    fields = {b"date": _date(now.replace(microsecond=0))}
    if answer.media_type is not None:
        fields[b"content-type"] = answer.media_type.encode("ascii")
    if answer.status != 304:
        fields[b"content-length"] = b"%d" % len(answer.body)
    fields.update(
        {name.lower().encode("ascii"): text.encode("ascii") for name, text in answer.headers.items()}
    )
    return list(fields.items())


@lru_cache(maxsize=16)
def _date(now: datetime) -> bytes:
    return format_datetime(now, usegmt=True).encode("ascii")
