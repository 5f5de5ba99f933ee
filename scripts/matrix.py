"""Run the tests on every supported Airflow: imports, example DAGs, and all behaviour that does not take minutes.

    matrix.py               every pair below
    matrix.py 3.0 lowest    these lines only

A Python that this machine has not got is named in the table. If a line would not run at all for want of one, another
Python that the line supports takes its place; if there is none, that is a failure.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from setup_venv import prepare
from toolbox import ROOT, VERBOSE, Lock, Venv, environment, find_python, say, script, seconds, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

#: Airflow line, Python. Both ends of every range meet; `lowest` is Airflow 2.11.0 with all our lower bounds, and `make
#: test` runs 3.3 on the Python that it finds.
PAIRS = (
    ("lowest", "3.10"),
    ("3.3", "3.13"),
    ("2.11", "3.12"),
    ("3.0", "3.12"),
    ("3.1", "3.12"),
    ("3.2", "3.13"),
    ("3.3", "3.10"),
)

#: The demo is for the newest Airflow, where `make test` runs it; what schemathesis makes up is the same everywhere, and
#: takes minutes. The API core, the sandbox and its contract, and the formats of files, know nothing of Airflow
#: (tests/api/test_pure.py): theirs run at the lowest bounds on the first Python, with the newest on the last, and in
#: `make test`.
WHOLE = PAIRS[:2]
LEFT_OUT = ("tests/demo", "tests/contract/test_schemathesis.py")
LEFT_OUT_MOSTLY = (
    "tests/api",
    "tests/contract",
    "tests/sandbox",
    "tests/export/test_formats.py",
    "tests/export/test_formats_csv.py",
    "tests/export/test_formats_parquet.py",
    "tests/export/test_readers.py",
    "tests/export/test_reconciliation.py",
)
#: Every ending of a sync in a real Airflow takes minutes: on 2.11.0, on 3.0 and, in `make test`, on the newest.
ENDINGS = "tests/dags/test_matrix.py"
ENDINGS_ON = ("lowest", "3.0")
#: The Airflow of `make test` on another Python: what a real Airflow does with DAGs is not done again.
AGAIN = ("3.3", "3.10")
REAL_RUNS = tuple(
    f"tests/dags/test_{name}.py" for name in ("examples", "export", "feeds_as_code", "rescheduled")
)

#: So many pairs run side by side, and so many tests of each: they wait for clocks and sockets more than they compute.
LANES = 3
WORKERS = 2

#: pytest says so when it collected nothing.
NO_TESTS = 5


@dataclass
class Result:
    """One row of the table."""

    line: str
    python: str
    outcome: str
    detail: str = ""

    def __str__(self) -> str:
        """One row, aligned."""
        return f"  {self.line:8} Python {self.python:6} {self.outcome:8} {self.detail}"


def main() -> None:
    """Run the pairs and say how each went."""
    asked = sys.argv[1:]
    if unknown := set(asked) - {line for line, _ in PAIRS}:
        raise stop(f"not in the matrix: {', '.join(sorted(unknown))}")
    results = list(run_all([pair for pair in PAIRS if not asked or pair[0] in asked]))
    say("\nMatrix (Airflow line, Python):")
    for result in results:
        say(str(result))
    if missing := [r for r in results if r.outcome == "NOT RUN"]:
        say(f"\n{len(missing)} of {len(results)} did not run: the interpreter is not on this machine.")
    if bad := [f"{r.line} on Python {r.python}" for r in results if r.outcome == "failed"]:
        raise stop("failed: " + ", ".join(bad))


def run_all(pairs: list[tuple[str, str]]) -> Iterator[Result]:
    """Run each pair that can be run here, a few side by side, and account for the others."""
    runnable = {line for line, python in pairs if find_python(python)}
    with ThreadPoolExecutor(LANES) as lanes:
        waiting: list[Future[Result]] = []
        for line, python in pairs:
            if interpreter := find_python(python):
                waiting.append(lanes.submit(run_pair, line, python, interpreter))
                continue
            say(f"\n=== Airflow {line} on Python {python}: NOT RUN, no Python {python} on this machine")
            yield Result(line, python, "NOT RUN", f"no Python {python} found")
            if line not in runnable:
                runnable.add(line)
                waiting.append(lanes.submit(run_elsewhere, line, python))
        for result in waiting:
            yield result.result()


def run_elsewhere(line: str, python: str) -> Result:
    """Run a line on any Python that it supports and this machine has."""
    for version in Lock.read(line).pythons:
        if interpreter := find_python(version):
            return run_pair(line, version, interpreter)
    return Result(line, python, "failed", "nor any other Python that it supports")


def environment_for(line: str, python: str) -> Venv:
    """Return the environment of one pair, not yet made."""
    return Venv(ROOT / f".venv-{line}-py{python}", Lock.read(line), fast=True)


def run_pair(line: str, python: str, interpreter: Path) -> Result:
    """Make the environment if need be, and run the tests in it."""
    venv = environment_for(line, python)
    name = f"Airflow {venv.lock.airflow}{' (lowest)' if line == 'lowest' else ''} on Python {python}"
    say(f"=== {name}: begins")
    start = time.monotonic()
    try:
        prepare(venv, interpreter, python)
    except SystemExit as stopped:
        say(str(stopped))
        return Result(line, python, "failed", "the environment could not be made")
    left_out = LEFT_OUT if (line, python) in WHOLE else (*LEFT_OUT, *LEFT_OUT_MOSTLY)
    if line not in ENDINGS_ON:
        left_out += (ENDINGS,)
    if (line, python) == AGAIN:
        left_out += REAL_RUNS
    status, summary = run_tests(venv, left_out)
    say(f"=== {name}: {summary}")
    detail = f"{summary} ({seconds(start)} in all)"
    if status == NO_TESTS:
        detail = "no tests were collected"
    return Result(line, python, "failed" if status else "passed", detail)


def run_tests(venv: Venv, left_out: tuple[str, ...]) -> tuple[int, str]:
    """Run pytest; its output is shown if it fails. Return its status and its closing line."""
    home = tempfile.mkdtemp(prefix="banksync-matrix-")
    try:
        process = subprocess.Popen(
            [
                str(venv.python),
                "-m",
                "pytest",
                "-n",
                str(WORKERS),
                "--dist",
                "loadfile",  # what a file sets up once is set up once
                "-m",
                "not slow",
                "--tb=short",
                "--color=no",
                "-p",
                "no:cacheprovider",
                *(f"--ignore={folder}" for folder in left_out),
            ],
            cwd=ROOT,
            # Nothing of the user's own Airflow is read or written, whatever a test forgets.
            env=environment(AIRFLOW_HOME=home, COLUMNS="120"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        lines = []
        for text in process.stdout or ():
            lines.append(text)
            if VERBOSE:
                sys.stdout.write(text)
        status = process.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if status and not VERBOSE:
        say("".join(lines).rstrip())
    summary = next((line.strip(" =\n") for line in reversed(lines) if line.strip()), "no output")
    return status, summary


if __name__ == "__main__":
    script(main)
