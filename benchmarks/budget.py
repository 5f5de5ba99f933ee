"""Measure how much of a key's budget of requests an export of 603 accounts uses, beside a script that obeys 429s.

    make benchmark-budget                       200 requests a minute: ten minutes
    make benchmark-budget ARGS='--limit 100'    what the provider assumes of a key, twice as long

Both export the transactions of the same accounts from the same sandbox, whose key may send so many requests in any 60
seconds. The script is what a user would write: requests with urllib3's Retry, which waits as a 429 asks it to.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from airflow_provider_banksync.sandbox import BankSyncSandbox  # noqa: E402 - it is run as a script, too
from airflow_provider_banksync.sandbox.ratelimit import RateLimit  # noqa: E402
from benchmarks.contenders import Task, contend  # noqa: E402

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.ratelimit import Traffic

WINDOW = 60.0
#: These clients and their parent have 603 accounts.
PORTALS = 163
NAMES = {"script": "plain script, one request after another", "operator": "ours"}
LEAST = 0.95


@dataclass
class Use:
    """What became of the budget."""

    requests: int
    refused: int
    share: float
    """Of the budget: 1 where as many requests as the key may send in a window went out within a window, all along."""
    seconds: float

    @classmethod
    def of(cls, traffic: Traffic, limit: int) -> Use:
        """Work it out from what came in."""
        moments = sorted(record.time for record in traffic.records if record.admitted)
        windows = [
            (later - earlier).total_seconds()
            for earlier, later in zip(moments, moments[limit:], strict=False)
        ]
        lasted = (moments[-1] - moments[0]).total_seconds()
        return cls(traffic.requests, traffic.refused, WINDOW * len(windows) / sum(windows), lasted)


def play(name: str, limit: int, python: str) -> tuple[Use, int]:
    """Let one contender export from a sandbox of its own; give also how many accounts it wrote rows of."""
    with (
        tempfile.TemporaryDirectory(prefix="banksync-budget-") as home,
        BankSyncSandbox(
            portals=PORTALS,
            deleted_portals=0,
            page_size=1000,
            now=datetime(2026, 3, 4, 12, tzinfo=timezone.utc),
            rate_limit=RateLimit(limit, WINDOW),
        ) as sandbox,
    ):
        lake = Path(home, "lake")
        lake.mkdir()
        task = Task(sandbox.url, sandbox.api_key, "2026-01-01", "2026-01-25", "jsonl", str(lake), limit=limit)
        contend(name, task, python, home)
        rows = sum(len(path.read_bytes().splitlines()) for path in lake.rglob("*.jsonl"))
        return Use.of(sandbox.traffic(), limit), rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, default=200, metavar="N", help="requests a minute (200)")
    options = parser.parse_args()
    print(
        f"Python {platform.python_version()}, apache-airflow {version('apache-airflow')}, "
        f"aiohttp {version('aiohttp')}, requests {version('requests')}; {options.limit} requests a minute",
        flush=True,
    )
    found: dict[str, tuple[Use, int]] = {}
    for name, told in NAMES.items():
        use, rows = found[name] = play(name, options.limit, sys.executable)
        print(
            f"{told}\n"
            f"  rows written                       {rows:,}\n"
            f"  requests, of them answered 429     {use.requests:,}, {use.refused:,}\n"
            f"  share of the budget that was used  {use.share:.1%}\n"
            f"  seconds                            {use.seconds:.0f}",
            flush=True,
        )
    ours, script = found["operator"][0], found["script"][0]
    if found["operator"][1] != found["script"][1]:
        raise SystemExit("they did not write the same number of rows")
    print(f"ours is faster by {script.seconds / ours.seconds:.2f}")
    told = "met" if ours.share >= LEAST and not ours.refused else "MISSED"
    print(f"goal, at least {LEAST:.0%} of the budget and no 429: {told} ({ours.share:.1%}, {ours.refused})")


if __name__ == "__main__":
    main()
