"""A server that answers requests from a script, byte for byte."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

KEY = "bsk_" + "c" * 44
RESET = "reset"
SILENCE = "silence"
FAILED = {"success": False, "error": "no"}

Answer = bytes | str | Callable[["Seen"], bytes]


@dataclass
class Seen:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def reply(status: int, body: Any, **headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {"Content-Type": "application/json", "Content-Length": str(len(raw)), "Connection": "close"}
    names |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in names.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + raw


def ok(data: Any, status: int = 200, **headers: str) -> bytes:
    return reply(status, {"success": True, "data": data}, **headers)


@dataclass
class ScriptedServer:
    """Answers the n-th request with the n-th entry of its script, and remembers what was asked."""

    script: list[Answer] = field(default_factory=list, repr=False)
    seen: list[Seen] = field(default_factory=list, repr=False)
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._open.set()
        self._socket.shutdown(
            socket.SHUT_RDWR
        )  # close() alone would leave accept() waiting, and the port open
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            if self.tls:
                try:
                    connection = self.tls.wrap_socket(connection, server_side=True)
                except OSError:  # the client did not like our certificate
                    return
            with connection:
                self._play(connection)

    def _play(self, connection: socket.socket) -> None:
        head, _, rest = b"", b"", b""
        while b"\r\n\r\n" not in head:
            chunk = connection.recv(65536)
            if not chunk:
                return
            head += chunk
        head, _, rest = head.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        while len(rest) < int(headers.get("content-length", "0")):
            rest += connection.recv(65536)
        seen = Seen(method, target, headers, rest)
        self.seen.append(seen)
        answer = (
            self.script.pop(0) if self.script else reply(500, {"success": False, "error": "script is over"})
        )
        if callable(answer):
            answer = answer(seen)
        if answer == SILENCE:
            self._open.wait(5)
        elif answer == RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with suppress(OSError):  # the client may hang up as soon as it has seen enough
                connection.sendall(answer)  # type: ignore[arg-type]  # bytes by now
