"""The family as the sandbox serves it. The demo compares the run and its files with it.

This module uses plain requests instead of the package, so that it cannot repeat a mistake of the package.
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
    """Parse JSON and keep every digit of a number, so that 1.10 differs from 1.1, and 1 from 1.0."""
    return json.loads(text, parse_float=lambda digits: ("number", digits))


def is_broken(bank: Row) -> bool:
    """Return whether the bank needs a new sign-in."""
    return bool(bank.get("connectionStatus", {}).get("status") != "connected")


@dataclass(frozen=True)
class Feed:
    """A feed, with the ids of the broken banks that it reads."""

    id: str
    name: str
    workspace_id: str
    broken_banks: frozenset[str]


@dataclass
class Family:
    """The firm and its clients by workspace id, with the rows that the sandbox serves for each of them."""

    names: dict[str, str]
    firm_id: str
    rows: dict[str, dict[str, list[Row]]] = field(default_factory=dict)

    @property
    def clients(self) -> dict[str, str]:
        """The names of the clients, without the firm."""
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
        """Return the number of rows of a resource in the whole family."""
        return sum(len(rows) for rows in self.rows[resource].values())


class BankSync:
    """A client of the sandbox."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update({"X-API-Key": api_key, "User-Agent": "banksync-demo"})

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def family(self) -> Family:
        """Read all rows that the DAG exports."""
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
        """Return the newest job of a feed, or None."""
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
