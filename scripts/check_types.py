"""Check the package's types against the newest Airflow (the environment this runs in) and the oldest.

The two differ where it matters: a name that only one of them has, an argument that only one of them takes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from matrix import environment_for
from setup_venv import prepare
from toolbox import Lock, attempt, find_python, say, script, seconds, stop

NEWEST, OLDEST = "3.3", "2.11"

#: For the type checker, common.compat.sdk is airflow.sdk on every Airflow, which 2.11 has not got: there, the bases of
#: our operators are unknown to it. All else is as strict as on the newest.
ALLOWED = {OLDEST: ["--allow-subclassing-any"]}


def main() -> None:
    """Check both, and only then say what was wrong."""
    bad = [
        name
        for name, python in ((NEWEST, Path(sys.executable)), (OLDEST, oldest()))
        if not check(name, python)
    ]
    if bad:
        raise stop("mypy is not content on Airflow " + " and ".join(bad))


def check(name: str, python: Path) -> bool:
    """Run mypy in one environment; the configuration is pyproject.toml's."""
    start = time.monotonic()
    done = attempt(
        [python, "-m", "mypy", "--strict", "--cache-dir", f".mypy_cache/{name}", *ALLOWED.get(name, [])]
    )
    say(f"Airflow {name}: {done.stdout.strip()} ({seconds(start)})")
    return done.returncode == 0


def oldest() -> Path:
    """Return the Python of an environment with the oldest Airflow, one of those that `make matrix` uses."""
    for version in Lock.read(OLDEST).pythons:
        if interpreter := find_python(version):
            venv = environment_for(OLDEST, version)
            prepare(venv, interpreter, version)
            return venv.python
    raise stop(f"no Python for Airflow {OLDEST} was found, so the types cannot be checked there.")


if __name__ == "__main__":
    script(main)
