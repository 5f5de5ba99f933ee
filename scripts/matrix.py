"""Run the tests on every supported Airflow, a few environments at a time.

    matrix.py               every pair below
    matrix.py 3.0 lowest    these lines only

The table at the end names each Python that this machine does not have. If a line cannot run at all for that reason, it
runs on another Python that it supports. If there is none, the line fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]

#: Airflow line and Python, the longest first. `lowest` is Airflow 2.11.0 with all lower bounds of pyproject.toml.
PAIRS = (
    ("lowest", "3.10"),
    ("3.0", "3.12"),
    ("3.3", "3.13"),
    ("3.1", "3.12"),
    ("3.2", "3.13"),
    ("2.11", "3.12"),
    ("3.3", "3.10"),
)

# Which tests run where. `make test` runs all of them on the newest Airflow. A pair runs those that can have another
# result there: a folder or file that no list names runs on every pair.

#: Text, tools, made-up requests, and the demo, which is for the newest Airflow: no version changes their result.
NOWHERE = (
    "tests/contract/test_schemathesis.py",
    "tests/demo",
    *(
        f"tests/docs/test_{name}.py"
        for name in (
            "architecture",
            "call_paths",
            "contributing",
            "hook_page",
            "markdown",
            "reference",
            "reliability",
            "words",
        )
    ),
    "tests/kill",
    "tests/packaging/test_locks.py",
    "tests/packaging/test_scripts.py",
    "tests/packaging/test_workflows.py",
)
#: These depend on Python and on libraries, but not on Airflow, which the import contracts forbid to api and export. So
#: they run at both ends: with the lowest versions of everything, and with the newest.
WITHOUT_AIRFLOW = ("tests/api", "tests/export", "tests/triggers/test_event_loop.py")
ENDS = (("lowest", "3.10"), ("3.3", "3.13"))
#: These depend on libraries only, and `make test` runs them with the newest. So they run with the lowest.
WITH_LIBRARIES = (
    "tests/contract",
    "tests/ledger",
    "tests/sandbox",
    "tests/operators/test_reconcile_sandbox.py",
    *(
        f"tests/transfers/test_{name}.py"
        for name in (
            "absent",
            "broken_banks",
            "changed_objects",
            "damaged_control_files",
            "delta_lake",
            "delta_lake_on_s3",
            "drift",
            "holding_proxy",
            "late_writes",
            "linked_again",
            "pages",
            "power_failure",
            "readers",
            "reconciliation",
            "sql",
            "workspace_files",
        )
    ),
)
#: A real Airflow runs DAGs, which takes minutes: once for each line. `make test` does so on 3.3, `lowest` on 2.11.
REAL_RUNS = (
    *(
        f"tests/dags/test_{name}.py"
        for name in ("broken_bank", "examples", "export", "feeds_as_code", "ledger", "rescheduled")
    ),
    "tests/docs/test_readme.py",
)
REAL_RUNS_ON = ("lowest", "3.0", "3.1", "3.2")
#: It lets a sync end in every way that there is. Airflow 3 does not differ from 3.0 there.
ENDINGS, ENDINGS_ON = "tests/dags/test_matrix.py", ("lowest", "3.0")

#: Pairs at a time, and tests of each at a time: they wait for clocks and sockets more than they compute.
LANES, WORKERS = 3, 2

NO_TESTS = 5  # pytest's exit status


class Result(NamedTuple):
    """One row of the table."""

    line: str
    python: str
    outcome: str
    detail: str


def main() -> None:
    """Run the pairs and print the table."""
    asked = sys.argv[1:]
    if unknown := set(asked) - {line for line, _ in PAIRS}:
        raise SystemExit(f"error: not in the matrix: {', '.join(sorted(unknown))}")
    planned = list(plan([pair for pair in PAIRS if not asked or pair[0] in asked]))
    with ThreadPoolExecutor(LANES) as lanes:
        results = list(lanes.map(lambda todo: todo if isinstance(todo, Result) else run_pair(*todo), planned))
    print("\nMatrix (Airflow line, Python):")
    for row in results:
        print(f"  {row.line:8} Python {row.python:6} {row.outcome:8} {row.detail}")
    if missing := sum(row.outcome == "NOT RUN" for row in results):
        print(f"\n{missing} of {len(results)} did not run: the interpreter is not on this machine.")
    if bad := [f"{row.line} on Python {row.python}" for row in results if row.outcome == "failed"]:
        raise SystemExit(f"error: failed: {', '.join(bad)}")


def plan(pairs: list[tuple[str, str]]) -> Iterator[tuple[str, str] | Result]:
    """Yield the pairs that can run here, and a row for each that cannot."""
    runs = {line for line, python in pairs if has_python(python)}
    for line, python in pairs:
        if has_python(python):
            yield line, python
            continue
        yield Result(line, python, "NOT RUN", f"no Python {python} found")
        if line not in runs:
            runs.add(line)
            other = next(filter(has_python, pythons_of(line)), None)
            yield (
                (line, other) if other else Result(line, python, "failed", "no other Python that it supports")
            )


@cache
def has_python(version: str) -> bool:
    """Tell whether this machine has that Python."""
    find = [".venv-tools/bin/uv", "python", "find", version]
    return subprocess.run(find, cwd=ROOT, capture_output=True, check=False).returncode == 0


def pythons_of(line: str) -> list[str]:
    """Return the Pythons that a line supports, from the header of its lock file."""
    (lock,) = (ROOT / "requirements").glob(f"*{line}.txt")
    header = re.search(r"^# python: (.+)$", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return header[1].split() if header else []


def left_out(line: str, python: str) -> list[str]:
    """Return the folders and files that a pair does not run."""
    return [
        *NOWHERE,
        *(() if (line, python) in ENDS else WITHOUT_AIRFLOW),
        *(() if line == "lowest" else WITH_LIBRARIES),
        *(() if line in REAL_RUNS_ON else REAL_RUNS),
        *(() if line in ENDINGS_ON else (ENDINGS,)),
    ]


def run_pair(line: str, python: str) -> Result:
    """Make the environment of a pair, run the tests in it, and show their output if they fail."""
    start = time.monotonic()
    venv = f".venv-{line}-py{python}"
    print(f"=== Airflow {line} on Python {python}: begins", flush=True)
    status, output = run("make", "setup", f"VENV={venv}", f"AIRFLOW={line}", f"PYTHON={python}")
    if status:
        print(output, flush=True)
        return Result(line, python, "failed", "the environment could not be made")
    options = f"-n {WORKERS} --dist loadfile --no-loadscope-reorder --tb=short --color=no -p no:cacheprovider".split()
    ignored = [f"--ignore={path}" for path in left_out(line, python)]
    status, output = run(f"{venv}/bin/python", "-m", "pytest", *options, "-m", "not slow", *ignored)
    # Programs that the tests run may print after pytest's closing line.
    closing = (re.findall(r"^=+ (.* in [0-9.]+s.*?) =+$", output, re.MULTILINE) or ["no closing line"])[-1]
    took = f"{(time.monotonic() - start) / 60:.1f} min"
    shown = output.rstrip() if status or os.environ.get("VERBOSE", "") not in ("", "0") else ""
    print(f"{shown}\n=== Airflow {line} on Python {python}: {closing}".strip(), flush=True)
    detail = "no tests were collected" if status == NO_TESTS else f"{closing} ({took} in all)"
    return Result(line, python, "failed" if status else "passed", detail)


def run(*command: str) -> tuple[int, str]:
    """Run a command quietly and return its exit status and its output."""
    with tempfile.TemporaryDirectory(prefix="banksync-matrix-", ignore_cleanup_errors=True) as home:
        # A test that forgets to choose a home of its own reads and writes nothing of the user's Airflow.
        env = {**os.environ, "AIRFLOW_HOME": home, "COLUMNS": "120"}
        env.pop("MAKEFLAGS", None)
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    return done.returncode, done.stdout


if __name__ == "__main__":
    main()
