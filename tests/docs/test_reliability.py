"""docs/reliability.md: each promise names a test that shows it, and each named test exists."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def functions_in(path: str) -> frozenset[str]:
    """Return the names of the functions in a file."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def promises() -> list[str]:
    """Return the rows of the tables whose last column names tests."""
    rows: list[str] = []
    inside = False
    for line in PAGE.splitlines():
        if re.match(r"\|.*\| shown by \|$", line):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            rows.append(line)
    return rows


def test_every_named_test_exists() -> None:
    named = TEST.findall(PAGE)
    assert [f"{path}::{name}" for path, name in named if name not in functions_in(path)] == []
    assert len(named) > 30


def test_every_promise_names_a_test() -> None:
    assert [row for row in promises() if not TEST.search(row.rsplit("|", 2)[1])] == []
    assert len(promises()) > 20
