"""A mail server that keeps what it receives."""

from __future__ import annotations

import email
import email.policy
import threading
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from email.message import EmailMessage

    from typing_extensions import Self


class _Handler(StreamRequestHandler):
    server: SmtpServer

    def handle(self) -> None:
        """Talk as much SMTP as `smtplib` needs."""
        self.wfile.write(b"220 mail\r\n")
        while line := self.rfile.readline():
            command = line[:4].upper()
            if command == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                body = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(email.message_from_bytes(body, policy=email.policy.default))
            self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")
            if command == b"QUIT":
                return


class SmtpServer(ThreadingTCPServer):
    """Serves on a free port of this machine, while it is a context."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mails: list[EmailMessage] = []

    @property
    def connection(self) -> dict[str, object]:
        """The Airflow connection to it."""
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"}
        return {"conn_type": "smtp", "host": "127.0.0.1", "port": self.server_address[1], "extra": extra}

    def texts(self) -> list[str]:
        """Return the text of each mail."""
        bodies = (mail.get_body(("html",)) for mail in self.mails)
        return [body.get_content() if body is not None else "" for body in bodies]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        super().__exit__(*error)
