"""Bring one virtual environment to what a lock file says, with this package installed for editing.

    setup_venv.py .venv --airflow 3.3

Run by any Python 3.10 to 3.13; the environment gets the Python that runs this script. Done already: says nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from toolbox import PACKAGE, ROOT, Lock, Venv, say, script, seconds, stop


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("venv", type=Path)
    parser.add_argument("--airflow", required=True, help="an Airflow line, 3.3 or 2.11")
    parser.add_argument("--fast", action="store_true", help="with uv instead of pip, if it can be had")
    given = parser.parse_args()
    # Inside the very environment, a newer Python would not be made from it but from the one beneath.
    interpreter = Path(getattr(sys, "_base_executable", sys.executable))
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    prepare(Venv(ROOT / given.venv, Lock.read(given.airflow), fast=given.fast), interpreter, version)


def prepare(venv: Venv, interpreter: Path, version: str) -> None:
    """Do what is missing, one line a step."""
    lock = venv.lock
    if version not in lock.pythons:
        raise stop(
            f"Airflow {lock.airflow} runs on Python {', '.join(lock.pythons)}, and {interpreter} is Python {version}."
            " Name another: make setup PYTHON=python3.11"
        )
    wanted, found = venv.wanted(version), venv.stamp()
    if found == wanted and venv.version() == version:
        return
    start = time.monotonic()
    if any(found.get(key) != wanted[key] for key in ("python", "lock")) or venv.version() != version:
        # On top of another lock, what this one no longer holds would be left behind; at the worst, a second Airflow.
        say(f"[1/3] Creating {venv.path.name} with Python {version} ({interpreter}) ...")
        venv.create(interpreter)
        say(
            f"[2/3] Installing Airflow {lock.airflow} and {lock.count() - 1} other packages"
            " (some 140 MB to download the first time: one to five minutes) ..."
        )
        venv.install("--no-deps", "-r", lock.path, what=lock.path.name)
    say(f"[3/3] Installing {PACKAGE}, for editing ...")
    # The lock holds the build backend too: nothing is fetched here.
    venv.install("--no-deps", "--no-build-isolation", "-e", ROOT, what=PACKAGE)
    venv.check()
    venv.finish(version)
    say(f"Ready: {venv.path.name}, Airflow {lock.airflow}, Python {version} ({seconds(start)}).")


if __name__ == "__main__":
    script(main)
