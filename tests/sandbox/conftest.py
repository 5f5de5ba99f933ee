"""Sandboxes with a stopped clock, and clients that send real HTTP requests with their own User-Agent."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_banksync.sandbox import BankSyncSandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=timezone.utc)


class Client:
    """Requests to one sandbox with one key."""

    def __init__(self, sandbox: BankSyncSandbox, key: str | None) -> None:
        self.sandbox = sandbox
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["User-Agent"] = "sandbox-tests/1.0"
        if key is not None:
            self._session.headers["X-API-Key"] = key

    def send(
        self,
        method: str,
        path: str,
        *,
        workspace: str | None = None,
        headers: dict[str, str | None] | None = None,
        **more: Any,
    ) -> requests.Response:
        sent = dict(headers or {})
        if workspace is not None:
            sent["X-Workspace-Id"] = workspace
        return self._session.request(method, self.sandbox.url + path, headers=sent, timeout=300, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.send("GET", path, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return self.send("POST", path, **more)

    def delete(self, path: str, **more: Any) -> requests.Response:
        return self.send("DELETE", path, **more)

    def data(self, path: str, **more: Any) -> Any:
        """Return the data of a successful GET, with exact numbers."""
        response = self.get(path, **more)
        assert response.status_code == 200, response.text
        return response.json(parse_float=Decimal)["data"]

    def close(self) -> None:
        self._session.close()


def refusal(response: requests.Response) -> tuple[int, str]:
    """Return status and message of an error, and check its envelope."""
    body = response.json()
    assert set(body) == {"success", "error"}
    assert body["success"] is False
    assert response.headers["Content-Type"] == "application/json"
    assert "Date" in response.headers
    return response.status_code, body["error"]


@pytest.fixture(scope="module")
def family() -> Iterator[BankSyncSandbox]:
    """Start thirteen portals, two with a broken bank, with a clock that stands at noon. For tests that only read."""
    with BankSyncSandbox(portals=13, broken_banks=2, page_size=20, time_scale=0, now=NOON) as sandbox:
        yield sandbox


@pytest.fixture
def fresh() -> Iterator[Callable[..., BankSyncSandbox]]:
    """Start sandboxes for one test, with a stopped clock by default."""
    running: list[BankSyncSandbox] = []

    def start(**settings: Any) -> BankSyncSandbox:
        defaults: dict[str, Any] = {"portals": 3, "time_scale": 0, "now": NOON, "row_error_share": 0}
        sandbox = BankSyncSandbox(**{**defaults, **settings})
        sandbox.start()
        running.append(sandbox)
        return sandbox

    yield start
    for sandbox in running:
        sandbox.stop()


@pytest.fixture
def client_of() -> Iterator[Callable[..., Client]]:
    """Create clients: with the owner's key, another key, or none."""
    made: list[Client] = []

    def make(sandbox: BankSyncSandbox, key: str | None = "owner") -> Client:
        client = Client(sandbox, sandbox.api_key if key == "owner" else key)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def world(
    fresh: Callable[..., BankSyncSandbox], client_of: Callable[..., Client]
) -> tuple[BankSyncSandbox, Client, str]:
    """Return a sandbox, a client of its owner, and the path of a feed."""
    sandbox = fresh()
    client = client_of(sandbox)
    feed = f"/v1/feeds/{client.data('/v1/feeds')[0]['id']}"
    sandbox.clear_requests()
    return sandbox, client, feed


@pytest.fixture
def client(family: BankSyncSandbox, client_of: Callable[..., Client]) -> Client:
    """Return a client with the key of the family's owner."""
    return client_of(family)


@pytest.fixture
def refused() -> Callable[[requests.Response], tuple[int, str]]:
    """Return the function that parses an error."""
    return refusal
