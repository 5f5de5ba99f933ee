"""A stand-in for Airbyte's API with jobs that end and a count of requests. Prints its URL when it is ready."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """A server that answers after a delay. ``/end`` ends all jobs."""

    daemon_threads = True
    request_queue_size = 1000

    def __init__(self, latency: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.latency = latency
        self.requests = 0
        self.ended = False
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Serves GET /jobs/ID like Airbyte, and the calls that the benchmark needs."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        """Answer a request."""
        if self.path.startswith("/jobs/"):
            with self.server.lock:
                self.server.requests += 1
            time.sleep(self.server.latency)
            self._answer(
                {
                    "jobId": int(self.path.rsplit("/", 1)[1]),
                    "status": "succeeded" if self.server.ended else "running",
                    "jobType": "sync",
                    "connectionId": "a-connection",
                    "startTime": "2026-01-01T00:00:00Z",
                }
            )
        elif self.path == "/end":
            self.server.ended = True
            self._answer({})
        else:
            self._answer({"requests": self.server.requests})

    def _answer(self, value: dict[str, object]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    server = Server(float(sys.argv[1]))
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
