"""Reads exported files, and what the API serves, by the libraries that everybody has and by none of our code."""

from __future__ import annotations

import csv
import gzip
import io
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import requests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

TEXTS = ("id", "accountId", "pendingTransactionId", "currency")
AMOUNTS = ("amount", "creditAmount", "debitAmount")


def read_back(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file: the columns of a transaction that tests look at, in the same types for all formats."""
    if path.suffix == ".parquet":
        return [_row(row) for row in pq.ParquetFile(path).read().to_pylist()]
    body = path.read_bytes()
    if path.suffix == ".gz":
        body = gzip.decompress(body)
    elif path.suffix == ".zst":
        body = pa.CompressedInputStream(pa.BufferReader(body), "zstd").read()
    if ".jsonl" in path.name:
        return [_row(json.loads(line, parse_float=Decimal)) for line in body.splitlines()]
    return [_row(row) for row in csv.DictReader(io.StringIO(body.decode(), newline=""))]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: row[name] or None for name in TEXTS}
    found["pending"] = {"true": True, "false": False}.get(row["pending"], row["pending"])
    for name in AMOUNTS:
        value = row[name]
        assert not isinstance(value, float)
        found[name] = None if value in (None, "") else Decimal(value)
    return found


def parts(folder: Path) -> list[Path]:
    """Return the files with rows below a folder."""
    return sorted(path for path in folder.rglob("part-*") if path.is_file())


def served(sandbox: BankSyncSandbox, **query: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give every transaction of the family: its workspace, its account, itself."""
    with requests.Session() as session:
        session.trust_env = False  # for each request, requests reads every variable of the environment twice
        session.headers.update({"X-API-Key": sandbox.api_key, "User-Agent": "tests/1"})

        def get(path: str, workspace_id: str, **more: str) -> dict[str, Any]:
            headers = {"X-Workspace-Id": workspace_id}
            answer = session.get(f"{sandbox.url}/v1/{path}", headers=headers, params=more, timeout=300)
            assert answer.status_code == 200, answer.text
            return dict(json.loads(answer.content, parse_float=Decimal))

        for bank in get("banks", sandbox.workspace_id, scope="family")["data"]:
            workspace = bank["workspaceId"]
            for account in get(f"banks/{bank['id']}/accounts", workspace)["data"]:
                more = query
                while more:
                    page = get(f"banks/{bank['id']}/accounts/{account['id']}/transactions", workspace, **more)
                    yield from ((workspace, account["id"], row) for row in page["data"])
                    more = {"cursor": page["meta"]["cursor"]} if page["meta"]["hasMore"] else {}
