"""Measure an export of a million transactions to files, compared with dlt, a plain script, and the download alone.

    make benchmark-export                             three rounds, in environments of its own
    make benchmark-export ARGS='--rows 100000'        smaller
    make benchmark-export ARGS='--only-this --rows 10000000'  this provider alone: memory

Each contender reads the same 25 days of the same 402 accounts from the sandbox, a process of its own, and is a process
of its own; they take turns. After each, the rows are counted and their amounts added up, to the cent. What is measured
are ratios and memory; seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.contenders import Task, Took, contend  # noqa: E402 - it is run as a script, too

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNTS = 402
DAYS = ("2026-01-01", "2026-01-25")
_SANDBOX = [
    "airflow_provider_banksync.sandbox",
    "--portals=109",
    "--deleted-portals=0",
    "--page-size=1000",
    "--time-scale=0",
    "--now=2026-03-04T12:00:00Z",
]
NAMES = {
    "rest_api": "dlt's REST API source",
    "script": "plain script",
    "download": "download alone",
    "unchecked": "ours without checks of pages",
    "operator": "ours",
}
FORMATS = ("jsonl", "parquet")
#: Of the goals: how many times as fast as whom ours is to be.
GOALS = {
    ("jsonl", "rest_api"): 8.0,
    ("jsonl", "download"): 1 / 1.5,
    ("jsonl", "unchecked"): 0.9,
    ("parquet", "rest_api"): 4.0,
    ("parquet", "script"): 1.0,
}
MOST_MEMORY = 150.0


class Content(NamedTuple):
    """What there is, or what was written."""

    rows: int
    total: Decimal


@dataclass
class Series:
    """The measurements of one contender."""

    rounds: list[Took] = field(default_factory=list)

    def ratios(self, other: Series) -> list[float]:
        """Return how many times as fast this contender was, for each round."""
        return [slower.wall / faster.wall for faster, slower in zip(self.rounds, other.rounds, strict=True)]


@contextmanager
def sandbox(per_day: float) -> Iterator[tuple[str, str]]:
    """A sandbox with so many transactions a day in each account; gives its URL and key."""
    command = [sys.executable, "-m", *_SANDBOX, f"--transactions-per-day={per_day}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as server:
        found: dict[str, str] = {}
        try:
            for line in server.stdout or ():
                name, _, value = line.strip().partition("  ")
                found[name] = value.strip()
                if "Ctrl-C" in line:
                    break
            else:
                raise SystemExit("the sandbox did not start")
            yield found["URL"], found["API key"]
        finally:
            server.terminate()
            server.communicate(timeout=20)


# --- what is right ---


def there(task: Task) -> Content:
    """Read what is to be exported, the slow and sure way."""
    import requests

    session = requests.Session()
    session.headers.update({"X-API-Key": task.key, "User-Agent": "export-benchmark/1.0"})

    def get(path: str, home: str) -> Any:
        headers = {"X-Workspace-Id": home} if home else {}
        answer = session.get(task.url + path, headers=headers, timeout=60)
        answer.raise_for_status()
        return json.loads(answer.content, parse_float=Decimal)

    rows, total = 0, Decimal(0)
    for bank in get("/v1/banks?scope=family", "")["data"]:
        for account in get(bank["links"]["accounts"], bank["workspaceId"])["data"]:
            if task.accounts is not None and account["id"] not in task.accounts:
                continue
            path = f"{account['links']['transactions']}?from={task.first}&to={task.last}"
            while path:
                page = get(path, bank["workspaceId"])
                rows += len(page["data"])
                total += sum((row["amount"] for row in page["data"]), Decimal(0))
                path = page["links"].get("next")
    return Content(rows, total)


def written(task: Task) -> Content:
    """Read what a contender has written."""
    rows, total = 0, Decimal(0)
    for path in Path(task.folder).rglob(f"*.{task.file_format}"):
        if "_pipeline" in path.parts or "_dlt_" in str(path):
            continue
        for amounts in _amounts(path):
            rows += len(amounts)
            total += sum(amounts, Decimal(0))
    return Content(rows, total)


def _amounts(path: Path) -> Iterator[list[Decimal]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches(columns=["amount"]):
            # Of a float, the digits that it is written with.
            yield [Decimal(str(amount)) for amount in batch.column("amount").to_pylist()]
    else:
        import msgspec

        row = msgspec.defstruct("Row", [("amount", Decimal)])
        decoder = msgspec.json.Decoder(row)
        with path.open("rb") as file:
            for line in file:
                yield [decoder.decode(line).amount]  # type: ignore[attr-defined]


# --- a round ---


def play(name: str, task: Task, wanted: Content, python: str) -> Took:
    """Let one contender work, and see that it did."""
    with tempfile.TemporaryDirectory(prefix="banksync-export-") as home:
        task = replace(task, folder=str(Path(home, "lake")))
        Path(task.folder).mkdir()
        took = contend(name, task, python, home)
        if name != "download" and (found := written(task)) != wanted:
            raise SystemExit(f"{name} wrote {found} and not {wanted}")
        return took


# --- the benchmark ---


def spread(values: list[float], form: str = ",.1f") -> str:
    """Format the median, the lowest and the highest value."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def print_series(file_format: str, all_series: dict[str, Series], wanted: Content) -> None:
    """Print the measurements of one format."""
    operator = all_series["operator"]
    print(f"\n{file_format}: {wanted.rows:,} rows, {len(operator.rounds)} rounds; median (lowest to highest)")
    for name, series in all_series.items():
        walls = [wanted.rows / took.wall for took in series.rounds]
        processor = [took.processor / wanted.rows * 1e6 for took in series.rounds]
        peak = [took.peak for took in series.rounds]
        more = [took.peak - took.before for took in series.rounds]
        print(f"  {NAMES[name]}")
        print(f"    rows a second                      {spread(walls, ',.0f')}")
        print(f"    processor seconds, a million rows  {spread(processor)}")
        print(f"    peak memory, MB                    {spread(peak, ',.0f')}")
        print(f"      more than before the work        {spread(more, ',.0f')}")
        if name != "operator":
            print(f"    the operator is faster by                {spread(operator.ratios(series), ',.2f')}")
    for name, goal in ((name, goal) for (kind, name), goal in GOALS.items() if kind == file_format):
        if name in all_series:
            found = statistics.median(operator.ratios(all_series[name]))
            verdict = "met" if found >= goal else "MISSED"
            print(f"  goal, {goal:.2f} times as fast as {NAMES[name]}: {verdict} ({found:.2f})")
    most = max(took.peak - took.before for took in operator.rounds)
    verdict = "met" if most <= MOST_MEMORY else "MISSED"
    print(f"  goal, at most {MOST_MEMORY:.0f} MB more than an idle task process: {verdict} ({most:.0f})")


def an_account(url: str, key: str) -> str:
    """Return the id of one account."""
    import requests

    headers = {"X-API-Key": key, "User-Agent": "export-benchmark/1.0"}
    bank = requests.get(f"{url}/v1/banks?scope=family", headers=headers, timeout=60).json()["data"][0]
    headers["X-Workspace-Id"] = bank["workspaceId"]
    accounts = requests.get(url + bank["links"]["accounts"], headers=headers, timeout=60).json()["data"]
    return str(accounts[0]["id"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, default=1_000_000, metavar="N", help="number of transactions (about 1000000)"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds (3)")
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS, help="file formats (both)")
    parser.add_argument("--only-this", action="store_true", help="measure only this provider")
    parser.add_argument("--one-account", action="store_true", help="all rows in one account, not 402")
    parser.add_argument(
        "--compare-python",
        metavar="PYTHON",
        default=str(ROOT / ".venv-benchmark-dlt" / "bin" / "python"),
        help="the Python that has dlt and pandas (.venv-benchmark-dlt's)",
    )
    options = parser.parse_args()
    print(
        f"Python {platform.python_version()}, apache-airflow {version('apache-airflow')}, "
        f"aiohttp {version('aiohttp')}, pyarrow {version('pyarrow')}",
        flush=True,
    )
    pythons = {"operator": sys.executable}
    if not options.only_this:
        pythons = {
            name: sys.executable if name in ("operator", "unchecked") else options.compare_python
            for name in NAMES
        }
        code = (
            "from importlib.metadata import version as v\n"
            "print(', '.join(f'{n} {v(n)}' for n in ('dlt', 'pandas', 'pyarrow', 'requests')))"
        )
        print(
            "compared with:",
            subprocess.run(
                [options.compare_python, "-c", code], capture_output=True, text=True, check=True
            ).stdout,
        )
    accounts = 1 if options.one_account else ACCOUNTS
    # The sandbox has at most 10,000 transactions a day.
    days = DAYS if options.rows / accounts <= 250_000 else ("2023-06-01", "2026-02-01")
    span = (date.fromisoformat(days[1]) - date.fromisoformat(days[0])).days + 1
    with sandbox(round(options.rows / accounts / span, 3)) as (url, key):
        only = [an_account(url, key)] if options.one_account else None
        task = Task(url, key, *days, "", "", only)
        wanted = there(task)
        for file_format in options.formats:
            all_series = {name: Series() for name in pythons}
            for number in range(1, options.rounds + 1):
                for name, python in pythons.items():
                    took = play(name, replace(task, file_format=file_format), wanted, python)
                    all_series[name].rounds.append(took)
                    progress = f"{file_format}, round {number}, {NAMES[name]}: {took.wall:.1f} s"
                    print(progress, file=sys.stderr, flush=True)
            print_series(file_format, all_series, wanted)


if __name__ == "__main__":
    main()
