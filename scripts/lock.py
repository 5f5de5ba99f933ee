"""Resolve the lock files: one for each Airflow line, and one with every lower bound of pyproject.toml.

    lock.py               all of them: keep the pins that still fit, add and remove what pyproject.toml asks for
    lock.py 3.3 lowest    these
    lock.py --upgrade     move every pin to the newest version

Each file serves every Python of its line, with markers. No file names a package index.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]

#: Airflow line -> the newest patch release, its Pythons, and what is held back: Airflow releases have no upper bounds
#: for what broke them later, and Airflow's own constraint files are not on a package index. The Pythons are those of
#: the classifiers, because the metadata of 2.11 and 3.0 excludes `3.13` but not 3.13.1, where they install and fail.
LINES = {
    # 2.11.0 has a CloudPath of its own, which newer UPath refuses.
    "lowest": ("2.11.0", "3.10 3.11 3.12", ["universal-pathlib<0.3"]),
    "2.11": ("2.11.2", "3.10 3.11 3.12", ["universal-pathlib<0.3"]),
    # Its API server refuses its own tasks with a newer FastAPI.
    "3.0": ("3.0.6", "3.10 3.11 3.12", ["fastapi<0.118", "cadwyn<6", "universal-pathlib<0.3"]),
    # Its models use `noload`.
    "3.1": ("3.1.8", "3.10 3.11 3.12 3.13", ["sqlalchemy<2.1"]),
    # Its in-process execution API does not start with newer ones.
    "3.2": ("3.2.2", "3.10 3.11 3.12 3.13", ["fastapi<0.137", "cadwyn<8", "svcs<26", "sqlalchemy<2.1"]),
    "3.3": ("3.3.2", "3.10 3.11 3.12 3.13", []),
}

#: botocore refuses urllib3 2.2.0, so these do not fit the lower bounds.
NOT_AT_LOWEST = ("apache-airflow-providers-amazon", "flask", "moto")


def main() -> None:
    """Write the files that the command line names."""
    names = set(sys.argv[1:]) - {"--upgrade"} or set(LINES)
    if unknown := names - set(LINES):
        raise SystemExit(f"error: {', '.join(sorted(unknown))}: the lines are {', '.join(LINES)}")
    for name in filter(names.__contains__, LINES):
        airflow, pythons, held_back = LINES[name]
        path = ROOT / "requirements" / (f"{name}.txt" if name == "lowest" else f"airflow-{name}.txt")
        known = path.read_text(encoding="utf-8") if path.is_file() and "--upgrade" not in sys.argv else ""
        wanted = [*requirements(name), f"apache-airflow=={airflow}", *held_back]
        header = f"# airflow: {airflow}\n# python: {pythons}\n# Written by `make lock`. Install it with --no-deps.\n"
        pins = resolve(wanted, pythons.split(), known)
        path.write_text(header + pins, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {pins.count('==')} pins", flush=True)


def requirements(name: str) -> list[str]:
    """Return what the package and its developers need; for `lowest`, what it needs to run is at its lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = dict(project["optional-dependencies"])
    tools = [line for line in extras.pop("dev") if not line.startswith(project["name"])]
    runtime = project["dependencies"] + [
        line for extra in extras.values() for line in extra if not line.startswith(project["name"])
    ]
    if name != "lowest":
        return runtime + tools
    # A resolver that prefers the lowest version takes a higher one if it must. A pin fails instead.
    lowest = [line.replace(">=", "==", 1) for line in runtime]
    return lowest + [line for line in tools if not line.startswith(NOT_AT_LOWEST)]


def resolve(requirements: list[str], pythons: list[str], known: str) -> str:
    """Return the pins for these Pythons. uv keeps each pin of `known` that still fits."""
    span = f"python_version >= '{pythons[0]}' and python_version <= '{pythons[-1]}'"
    with tempfile.TemporaryDirectory() as folder:
        # A project of its own, because only a project can say for which Pythons it is resolved.
        Path(folder, "pyproject.toml").write_text(
            f'[project]\nname = "lock"\nversion = "0"\nrequires-python = ">={pythons[0]}"\n'
            f'dependencies = {requirements}\n[tool.uv]\nenvironments = ["{span}"]\n',
            encoding="utf-8",
        )
        out = Path(folder, "out.txt")
        out.write_text(known, encoding="utf-8")
        options = f"--universal --python-version {pythons[0]} --no-header --no-annotate --no-emit-index-url"
        command = (
            f"--directory {folder} pip compile -q pyproject.toml -o out.txt {options} --no-emit-find-links"
        )
        subprocess.run([ROOT / ".venv-tools" / "bin" / "uv", *command.split()], check=True)
        return re.sub(r"^#.*\n", "", out.read_text(encoding="utf-8"), flags=re.MULTILINE)


if __name__ == "__main__":
    main()
