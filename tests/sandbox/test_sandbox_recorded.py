"""The answers of all GET endpoints of two seeds, compared with recorded digests."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.support.paths import ROOT
from tests.support.recorded import compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.sandbox.conftest import Client

RECORDED = Path(__file__).with_name("recorded_answers.json")
SEEDS: dict[str, dict[str, Any]] = {
    "seed 7": {"seed": 7, "portals": 2, "page_size": 20, "banks": "documented"},
    "seed 7, production": {"seed": 7, "portals": 2, "page_size": 20},
    "seed 11, drift": {
        "seed": 11,
        "portals": 3,
        "page_size": 50,
        "broken_banks": 1,
        "drift": True,
        "failure_share": 0.3,
        "row_error_share": 0.3,
        "rows_per_sync": 2,
        "transactions_per_day": 3,
        "banks": "documented",
    },
    "seed 11, restless": {"seed": 11, "portals": 3, "broken_banks": 1, "banks": "restless"},
}
DAYS = {"from": "2026-02-10", "to": "2026-03-04"}
SYNC = {"startDate": "2026-02-01", "endDate": "2026-02-28"}


class Reader:
    """Reads from a sandbox, and keeps a digest of all answers of each endpoint."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._digests: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        self.rows: list[dict[str, Any]] = []

    def get(self, endpoint: str, *ids: str, workspace: str | None = None, **query: Any) -> Any:
        """Return the answer of an endpoint, such as ``/v1/banks/{}``, for these ids."""
        response = self._client.get(endpoint.format(*ids), workspace=workspace, params=query)
        # The sentence of an error is for people, and may change.
        body = response.content if response.status_code == 200 else b""
        answer = f"{response.status_code} {response.headers['Content-Type']} ".encode() + body
        self._digests.setdefault(endpoint, hashlib.sha256()).update(answer)
        self._counts[endpoint] = self._counts.get(endpoint, 0) + 1
        return response.json()

    def all(self, endpoint: str, *ids: str, **query: Any) -> list[dict[str, Any]]:
        """Return the rows of an endpoint that never fails."""
        rows: list[dict[str, Any]] = self.get(endpoint, *ids, **query)["data"]
        return rows

    def pages(self, endpoint: str, *ids: str, workspace: str, **query: Any) -> None:
        """Read all pages of a window."""
        while True:
            answer = self.get(endpoint, *ids, workspace=workspace, **query)
            self.rows += answer.get("data") or []
            if not answer.get("meta", {}).get("hasMore"):
                return
            query = {"cursor": answer["meta"]["cursor"]}

    def found(self) -> dict[str, str]:
        """Return the number and the digest of the answers of each endpoint."""
        return {
            endpoint: f"{self._counts[endpoint]} answers, SHA-256 {digest.hexdigest()}"
            for endpoint, digest in sorted(self._digests.items())
        }


def read(sandbox: BankSyncSandbox, client: Client) -> Reader:
    """Start a sync of every feed; then read what each GET endpoint has."""
    for feed in client.data("/v1/feeds", params={"scope": "family"}):
        client.post(f"/v1/feeds/{feed['id']}/sync", workspace=feed["workspaceId"], json=SYNC)
        sandbox.clock.advance(11)
    reader = Reader(client)
    reader.get("/v1/whoami")
    for workspace in reader.all("/v1/workspaces"):
        home = workspace["id"]
        for bank in reader.all("/v1/banks", workspace=home):
            read_bank(reader, bank["id"], home)
        for feed in reader.all("/v1/feeds", workspace=home):
            reader.get("/v1/feeds/{}", feed["id"], workspace=home)
            for job in reader.all("/v1/feeds/{}/jobs", feed["id"], workspace=home, limit=5):
                reader.get("/v1/feeds/{}/jobs/{}", feed["id"], job["id"], workspace=home)
        for enrichment in reader.all("/v1/enrichments", workspace=home):
            reader.get("/v1/enrichments/{}", enrichment["id"], workspace=home)
        reader.get("/v1/integrations", workspace=home)
    for listing in ("/v1/banks", "/v1/feeds", "/v1/integrations", "/api/jobs"):
        reader.get(listing, scope="family")
    return reader


def read_bank(reader: Reader, bank: str, home: str) -> None:
    """Read a bank, its accounts, and what they hold."""
    reader.get("/v1/banks/{}", bank, workspace=home)
    for account in reader.all("/v1/banks/{}/accounts", bank, workspace=home):
        path = "/v1/banks/{}/accounts/{}"
        reader.get(path, bank, account["id"], workspace=home)
        for part in ("balances", "holdings", "trades", "loan"):
            reader.get(f"{path}/{part}", bank, account["id"], workspace=home)
        reader.pages(f"{path}/transactions", bank, account["id"], workspace=home, **DAYS)


def test_two_seeds_give_the_answers_on_record(
    fresh: Callable[..., BankSyncSandbox], client_of: Callable[..., Client]
) -> None:
    found = {}
    for name, settings in SEEDS.items():
        sandbox = fresh(**settings)
        reader = read(sandbox, client_of(sandbox))
        found[name] = reader.found()
        assert {row["pending"] for row in reader.rows} == {True, False}
    compare(RECORDED, json.dumps(found, indent=1) + "\n", __file__)


def test_every_endpoint_that_can_be_read_is_on_record() -> None:
    contract = ROOT / "tests" / "support" / "contract.yaml"
    paths = yaml.safe_load(contract.read_text(encoding="utf-8"))["paths"]
    readable = {re.sub(r"{\w+}", "{}", path) for path, operations in paths.items() if "get" in operations}
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert list(recorded) == list(SEEDS)
    assert all(set(endpoints) == readable for endpoints in recorded.values())
