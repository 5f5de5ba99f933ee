"""Resolve the lock files anew: one per Airflow line, and one where our declared lower bounds are taken at their word.

    lock.py              all of them
    lock.py 3.3 lowest   these

Each is universal: one file serves every Python of its line, with markers. No index is named in them.
Needs Python 3.11 or later (tomllib) and uv, which `make lock` fetches.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tomllib
from toolbox import PACKAGE, REQUIREMENTS, ROOT, run, say, script, seconds, stop, uv

#: Airflow line -> the newest patch release, and the Pythons it is released for. (Their metadata excludes `3.13` but
#: not 3.13.1, so that 2.11 and 3.0 would install there, and then fail: the list here is from their classifiers.)
LINES = {
    "2.11": ("2.11.2", ("3.10", "3.11", "3.12")),
    "3.0": ("3.0.6", ("3.10", "3.11", "3.12")),
    "3.1": ("3.1.8", ("3.10", "3.11", "3.12", "3.13")),
    "3.2": ("3.2.2", ("3.10", "3.11", "3.12", "3.13")),
    "3.3": ("3.3.2", ("3.10", "3.11", "3.12", "3.13")),
}
LOWEST = "lowest"

#: An Airflow release does not bound all that later broke it, and its own constraint files are not on a package index:
#: what is known to break a line is held back here.
HELD_BACK = {
    "2.11": ["universal-pathlib<0.3"],  # 2.11.0: a CloudPath of its own
    "3.0": ["fastapi<0.118", "cadwyn<6", "universal-pathlib<0.3"],  # its API refuses its own tasks; see 2.11
    "3.1": ["sqlalchemy<2.1"],  # the `noload` of its models
    "3.2": [
        "fastapi<0.137",
        "cadwyn<8",
        "svcs<26",
        "sqlalchemy<2.1",
    ],  # the in-process execution API does not come up
}

#: These do not go with a lower bound of ours (botocore refuses urllib3 2.2.0), so that line does without them.
NOT_AT_LOWEST = ("apache-airflow-providers-amazon", "flask", "moto")

HEADER = """\
# {title}
# airflow: {airflow}
# python: {pythons}
# Written by `make lock`; edit pyproject.toml or scripts/lock.py instead. Complete: install it with --no-deps.
"""


def main() -> None:
    """Write the files asked for."""
    program = uv()
    if program is None:
        raise stop("uv is needed to resolve for every Python at once, and cannot be had here.")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in sys.argv[1:] or [*LINES, LOWEST]:
        start = time.monotonic()
        if name == LOWEST:
            file, title = "lowest.txt", "Every dependency at the lower bound that pyproject.toml declares."
            dependencies = [*(at_lower_bound(line) for line in runtime(project)), *HELD_BACK["2.11"]]
            airflow, pythons = bound_of("apache-airflow", dependencies), LINES["2.11"][1]
        elif name in LINES:
            airflow, pythons = LINES[name]
            file, title = f"airflow-{name}.txt", f"Airflow {airflow}, what this package needs, and its tools."
            dependencies = [*runtime(project), f"apache-airflow=={airflow}", *HELD_BACK.get(name, [])]
        else:
            raise stop(f"{name} is none of: {', '.join([*LINES, LOWEST])}.")
        without = NOT_AT_LOWEST if name == LOWEST else ()
        pins = resolve(program, [*dependencies, *tools(project, without)], pythons)
        header = HEADER.format(title=title, airflow=airflow, pythons=" ".join(pythons))
        (REQUIREMENTS / file).write_text(header + pins, encoding="utf-8")
        say(f"requirements/{file}: {pins.count('==')} pins ({seconds(start)})")


def runtime(project: dict[str, Any]) -> list[str]:
    """Return what the package needs to run, with the extras that change what it can do."""
    extras = project["optional-dependencies"]
    return project["dependencies"] + [line for name in extras if name != "dev" for line in extras[name]]


def tools(project: dict[str, Any], without: tuple[str, ...]) -> list[str]:
    """Return what its developers need; the extra's reference to the package itself is left out."""
    left_out = (PACKAGE, *without)
    return [line for line in project["optional-dependencies"]["dev"] if not line.startswith(left_out)]


def at_lower_bound(requirement: str) -> str:
    """Pin a requirement to its bound: a resolver told to prefer the lowest would quietly settle for a higher one."""
    return requirement.replace(">=", "==", 1)


def bound_of(name: str, requirements: list[str]) -> str:
    """Return the version that a list of pins holds for a package."""
    for requirement in requirements:
        if found := re.match(rf"{re.escape(name)}==([0-9.]+)", requirement):
            return found[1]
    raise stop(f"{name} has no lower bound in pyproject.toml.")


def resolve(program: Path, requirements: list[str], pythons: tuple[str, ...]) -> str:
    """Return the pins for all those Pythons."""
    first, last = pythons[0], int(pythons[-1].split(".")[1])
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "pyproject.toml"
        project.write_text(
            f'[project]\nname = "{PACKAGE}"\nversion = "0"\nrequires-python = ">={first},<3.{last + 1}"\n'
            f"dependencies = {requirements}\n"
            f"[tool.uv]\nenvironments = [\"python_version >= '{first}' and python_version < '3.{last + 1}'\"]\n",
            encoding="utf-8",
        )
        out = Path(folder) / "out.txt"
        # --directory: uv reads its settings where it stands, not beside the file that it is given.
        command = f"--directory {folder} pip compile -q pyproject.toml -o {out} --universal --python-version {first}"
        quiet = "--no-header --no-annotate --no-emit-index-url --no-emit-find-links"
        run([program, *command.split(), *quiet.split()], "resolving")
        return out.read_text(encoding="utf-8")


if __name__ == "__main__":
    script(main)
