"""Tests of all Markdown files: one paragraph is one line, and links to files and headings resolve."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = (".", "docs", ".github", "tests", "demo", "benchmarks", "example_dags")
FILES = sorted(
    {
        path
        for folder in FOLDERS
        for path in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
        if ".pytest_cache" not in path.parts
    }
)
#: Lines that end a paragraph or begin another block: headings, tables, list items, quotes, HTML, rules, references.
BLOCK = re.compile(r"\s*(#|\||[-*+] |\d+\. |>|<|---|\[[^\]]+\]: )")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^\s*```")


def prose(path: Path) -> list[str]:
    """Return the lines of a file, with empty lines in place of code blocks and front matter."""
    lines = path.read_text(encoding="utf-8").splitlines()
    inside = bool(lines) and lines[0] == "---"
    end = "---" if inside else "```"
    kept = [""] if inside else []
    for line in lines[len(kept) :]:
        if inside:
            inside = not line.strip().startswith(end)
            kept.append("")
        elif FENCE.match(line):
            inside, end = True, "```"
            kept.append("")
        else:
            kept.append(line)
    return kept


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a file."""
    found: set[str] = set()
    for line in prose(path):
        if heading := re.match(r"#+ (.*)", line):
            text = re.sub(r"[^\w\- ]", "", heading[1].strip().lower()).replace(" ", "-")
            copies = (f"{text}-{number}" if number else text for number in range(100))
            found.add(next(name for name in copies if name not in found))
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_paragraph_is_one_line(path: Path) -> None:
    lines = prose(path)
    wrapped = [
        line
        for before, line in itertools.pairwise(lines)
        if before.strip() and line.strip() and not BLOCK.match(line) and not re.match(r"\s*(#|\||<)", before)
    ]
    assert wrapped == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_link_resolves(path: Path) -> None:
    targets = [
        target
        for line in prose(path)
        for target in LINK.findall(re.sub(r"`[^`]*`", "", line))
        if not re.match(r"[a-z]+:", target)
    ]
    broken = []
    for target in targets:
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


def test_the_main_pages_are_found() -> None:
    assert {"README.md", "CHANGELOG.md", "docs/sync.md", "docs/export.md"} <= set(map(name, FILES))
