"""Measure the speed of the sandbox, and whether a client's benchmark measures the client.

    python benchmarks/sandbox.py            five rounds, two or three minutes
    python benchmarks/sandbox.py --rounds 3 --rows 20000

Each round starts a sandbox with 1,000 portals and five million transactions as a separate process. It reads accounts
page by page, with requests and the standard library's JSON. The seconds depend on the machine. The ratio of the
client's processor time to the sandbox's depends on it much less.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [
    sys.executable,
    "-m",
    "airflow_provider_banksync.sandbox",
    "--portals",
    "1000",
    "--time-scale",
    "0",
]
WORLD = ["--now", "2026-03-04T12:00:00Z", "--transactions-per-day", "1.12"]


@dataclass
class Round:
    """The measurements of one round."""

    start: float
    pages: int
    rows: int
    wall: float
    client: float
    server: float

    @property
    def ratio(self) -> float:
        """The client's processor time divided by the sandbox's."""
        return self.client / self.server


class Reader:
    """A client that reads pages one after another."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers.update({"X-API-Key": key, "User-Agent": "sandbox-benchmark/1.0"})

    def accounts(self) -> Iterator[tuple[str, str]]:
        """Yield the workspace and the path of every account."""
        for bank in self._get("/v1/banks?scope=family", "")["data"]:
            home = bank["workspaceId"]
            for account in self._get(bank["links"]["accounts"], home)["data"]:
                yield home, account["links"]["transactions"]

    def pages(self, workspace: str, path: str) -> Iterator[int]:
        """Read an account from its first day. Yield the number of rows of each page."""
        query = "?from=2023-01-01"
        while True:
            page = self._get(path + query, workspace)
            yield page["meta"]["count"]
            if not page["meta"]["hasMore"]:
                return
            query = f"?cursor={page['meta']['cursor']}"

    def server_seconds(self) -> float:
        """Return the processor time that the sandbox has used."""
        return float(self._session.get(f"{self._url}/_sandbox", timeout=10).json()["processorSeconds"])

    def _get(self, path: str, workspace: str) -> dict[str, dict[str, str]]:
        headers = {"X-Workspace-Id": workspace} if workspace else {}
        response = self._session.get(self._url + path, headers=headers, timeout=60)
        response.raise_for_status()
        return response.json()


def run_round(size: int, wanted: int) -> Round:
    started_at = time.perf_counter()
    with subprocess.Popen(
        [*COMMAND, *WORLD, "--page-size", str(size)], stdout=subprocess.PIPE, text=True
    ) as process:
        url, key = read_welcome(process)
        start = time.perf_counter() - started_at
        try:
            reader = Reader(url, key)
            started_at, client_before, server_before = (
                time.perf_counter(),
                time.process_time(),
                reader.server_seconds(),
            )
            pages = rows = 0
            for workspace, path in reader.accounts():
                for count in reader.pages(workspace, path):
                    pages, rows = pages + 1, rows + count
                if rows >= wanted:
                    break
            wall, client = time.perf_counter() - started_at, time.process_time() - client_before
            server = reader.server_seconds() - server_before
        finally:
            process.terminate()
            process.communicate(timeout=20)
    return Round(start, pages, rows, wall, client, server)


def read_welcome(process: subprocess.Popen[str]) -> tuple[str, str]:
    found: dict[str, str] = {}
    for line in process.stdout or ():
        name, _, value = line.strip().partition("  ")
        found[name] = value.strip()
        if "Ctrl-C" in line:
            return found["URL"], found["API key"]
    raise SystemExit("the sandbox did not start")


def spread(values: list[float], form: str) -> str:
    """Format the median, the lowest and the highest value."""
    middle = statistics.median(values)
    return f"{middle:{form}} ({min(values):{form}} to {max(values):{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds for each size of page (5)")
    parser.add_argument(
        "--rows", type=int, default=500_000, metavar="N", help="rows to read in a round (500000)"
    )
    options = parser.parse_args()
    print(
        "1,000 portals, 5 million transactions, every row read for the first time; median (lowest to highest)\n"
    )
    for size in (100, 1_000):
        rounds = [run_round(size, options.rows) for _ in range(options.rounds)]
        print(f"pages of {size} rows")
        print(f"  started and answering after   {spread([each.start for each in rounds], '.2f')} s")
        print(f"  rows a second                 {spread([each.rows / each.wall for each in rounds], ',.0f')}")
        print(
            f"  pages a second                {spread([each.pages / each.wall for each in rounds], ',.0f')}"
        )
        print(
            f"  pages that a core can serve   {spread([each.pages / each.server for each in rounds], ',.0f')} a second"
        )
        print(
            f"  rows that a core can serve    {spread([each.rows / each.server for each in rounds], ',.0f')} a second"
        )
        print(f"  client : sandbox, processor   {spread([each.ratio for each in rounds], '.2f')}\n")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (
        1024 if sys.platform != "darwin" else 1024**2
    )
    print(f"peak memory of a sandbox: {peak:.0f} MB")


if __name__ == "__main__":
    main()
