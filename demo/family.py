"""What the sandbox itself says about the family: the truth that the run and its files are held against.

Asked with plain requests and not through the package, so that a mistake of the package cannot hide itself here.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import requests

from demo.errors import DemoError

RESOURCES = ("banks", "feeds", "integrations", "accounts")
TIMEOUT = 30.0
TRIES = 5

Row = dict[str, Any]


def decode(text: str | bytes) -> Any:
    """Read JSON so that every digit of a number counts: 1.10 is not 1.1, and 1 is not 1.0."""
    return json.loads(text, parse_float=lambda digits: ("number", digits))


def is_broken(bank: Row) -> bool:
    """Say whether the bank's owner has to sign in again."""
    return bool(bank.get("connectionStatus", {}).get("status") != "connected")


@dataclass(frozen=True)
class Feed:
    """A feed, and the ids of the broken banks that it reads from."""

    id: str
    name: str
    workspace_id: str
    broken_banks: frozenset[str]


@dataclass
class Family:
    """The firm and its clients by workspace id, with the rows that the sandbox serves for each."""

    names: dict[str, str]
    firm_id: str
    rows: dict[str, dict[str, list[Row]]] = field(default_factory=dict)

    @property
    def clients(self) -> dict[str, str]:
        """The names without the firm's own."""
        return {key: name for key, name in self.names.items() if key != self.firm_id}

    @property
    def feeds(self) -> list[Feed]:
        """All feeds of the family, in the order of the listing."""
        broken = {row["id"] for rows in self.rows["banks"].values() for row in rows if is_broken(row)}
        found = []
        for workspace_id, rows in self.rows["feeds"].items():
            for row in rows:
                banks = {account["bankId"] for account in row["sourceConfig"]["accounts"]}
                found.append(Feed(row["id"], row["name"], workspace_id, frozenset(banks & broken)))
        return found

    def count(self, resource: str) -> int:
        """How many rows of a resource there are in the whole family."""
        return sum(len(rows) for rows in self.rows[resource].values())


class BankSync:
    """A few questions to the sandbox, over HTTP."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update({"X-API-Key": api_key, "User-Agent": "banksync-demo"})

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def family(self) -> Family:
        """Read everything that the DAG is to export."""
        own = self._get("/v1/whoami")
        family = Family({own["workspaceId"]: own["workspaceName"]}, own["workspaceId"])
        for resource in RESOURCES[:-1]:
            rows = family.rows[resource] = {}
            for row in self._get(f"/v1/{resource}?scope=family"):
                rows.setdefault(row["workspaceId"], []).append(row)
                if row["portal"]:
                    family.names[row["workspaceId"]] = row["portal"]["name"]
        family.rows["accounts"] = {
            workspace_id: [
                row for bank in banks for row in self._get(f"/v1/banks/{bank['id']}/accounts", workspace_id)
            ]
            for workspace_id, banks in family.rows["banks"].items()
        }
        return family

    def newest_job(self, feed: Feed) -> Row | None:
        """Read the newest job of a feed."""
        jobs = self._get(f"/v1/feeds/{feed.id}/jobs?limit=1", feed.workspace_id)
        return jobs[0] if jobs else None

    def _get(self, path: str, workspace_id: str | None = None) -> Any:
        headers = {"X-Workspace-Id": workspace_id} if workspace_id else {}
        for _ in range(TRIES):
            try:
                reply = self._session.get(f"{self.url}{path}", headers=headers, timeout=TIMEOUT)
            except requests.RequestException as error:
                raise DemoError(f"The sandbox did not answer GET {path}: {error}") from error
            if reply.status_code != requests.codes.too_many_requests:
                break
            time.sleep(float(reply.headers.get("Retry-After", "1")))
        if not reply.ok:
            raise DemoError(f"The sandbox answered {reply.status_code} to GET {path}: {reply.text[:300]}")
        return decode(reply.content)["data"]
