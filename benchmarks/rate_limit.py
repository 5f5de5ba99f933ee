"""Measure how much of a key's rate limit an export of 603 accounts uses, compared with a script that obeys 429s.

    make benchmark-rate-limit                       200 requests a minute: ten minutes
    make benchmark-rate-limit ARGS='--limit 100'    the provider's default: twice as long

Both export the transactions of the same accounts from the same sandbox. The script is what a user would write: requests
with urllib3's Retry, which honors `Retry-After`.
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
from airflow_provider_banksync.sandbox.http.rate_limit import RateLimit  # noqa: E402
from benchmarks.contenders import Task, contend  # noqa: E402

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.http.rate_limit import Traffic

WINDOW = 60.0
#: These clients and their parent have 603 accounts.
PORTALS = 163
NAMES = {"script": "plain script, one request after another", "operator": "BankSyncToObjectStorageOperator"}
LEAST = 0.95


@dataclass
class Use:
    """How one contender used the rate limit."""

    requests: int
    refused: int
    share: float
    """The used share of the rate limit: 1 if every window had as many requests as the key may send."""
    seconds: float

    @classmethod
    def of(cls, traffic: Traffic, limit: int) -> Use:
        """Calculate it from the requests that the sandbox received."""
        times = sorted(record.time for record in traffic.records if record.admitted)
        windows = [
            (later - earlier).total_seconds() for earlier, later in zip(times, times[limit:], strict=False)
        ]
        duration = (times[-1] - times[0]).total_seconds()
        return cls(traffic.requests, traffic.refused, WINDOW * len(windows) / sum(windows), duration)


def run_contender(name: str, limit: int, python: str) -> tuple[Use, int]:
    """Let one contender export from its own sandbox. Return its use of the rate limit and the number of rows."""
    with (
        tempfile.TemporaryDirectory(prefix="banksync-rate-limit-") as home,
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
    for name, title in NAMES.items():
        use, rows = found[name] = run_contender(name, options.limit, sys.executable)
        print(
            f"{title}\n"
            f"  rows written                       {rows:,}\n"
            f"  requests, of them answered 429     {use.requests:,}, {use.refused:,}\n"
            f"  used share of the rate limit       {use.share:.1%}\n"
            f"  seconds                            {use.seconds:.0f}",
            flush=True,
        )
    operator, script = found["operator"][0], found["script"][0]
    if found["operator"][1] != found["script"][1]:
        raise SystemExit("the contenders wrote different numbers of rows")
    print(f"the operator is faster by {script.seconds / operator.seconds:.2f}")
    verdict = "met" if operator.share >= LEAST and not operator.refused else "MISSED"
    print(
        f"goal, at least {LEAST:.0%} of the rate limit and no 429: {verdict} ({operator.share:.1%}, {operator.refused})"
    )


if __name__ == "__main__":
    main()
