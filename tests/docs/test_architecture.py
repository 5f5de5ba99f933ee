"""Tests of ARCHITECTURE.md: its tree and the package have the same files, and the names in its tables exist."""

from __future__ import annotations

import importlib
import re

from tests.conftest import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGE = "airflow_provider_banksync"
#: Not source code, or without content.
LEFT_OUT = {"py.typed"}


def tree() -> set[str]:
    """Return the paths of the files in the tree, relative to the repository."""
    (block,) = re.findall(rf"```text\n({PACKAGE}/\n.*?)```", PAGE, re.DOTALL)
    folders: list[str] = []
    files = set()
    for line in block.splitlines():
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders = folders[:depth]
        if name.endswith("/"):
            folders.append(name)
        else:
            files.add("".join([*folders, name]))
    return files


def test_every_path_in_the_tree_exists() -> None:
    assert sorted(path for path in tree() if not (ROOT / path).is_file()) == []


def test_every_file_of_the_package_is_in_the_tree() -> None:
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.name not in LEFT_OUT
    }
    small = {path for path in files if path.endswith("__init__.py") and path not in tree()}
    assert sorted(files - tree() - small) == []


def find(path: str, name: str) -> object | None:
    """Return what a file of the package calls by this name, such as ``Client.send``."""
    found: object | None = importlib.import_module(f"{PACKAGE}.{path.removesuffix('.py').replace('/', '.')}")
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def test_every_name_in_the_tables_exists() -> None:
    places = re.findall(r"\| `([\w/]+\.py)` \| `(\w[\w.]*)` \|", PAGE)
    calls = re.findall(r"^\| \d+ \| `(\w[\w.]*)` \| `([\w/]+\.py)` \|", PAGE, re.MULTILINE)
    named = [*places, *((path, name) for name, path in calls)]
    assert len(places) > 5
    assert len(calls) > 10
    assert [(path, name) for path, name in named if find(path, name) is None] == []
