"""Code and docs use the field's words: none of the private words that the project once had comes back."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Words that no text may use, in code, comments, docs or file names. Each had a meaning of its own here.
OLD_WORDS = (
    *("crew", "scouts?", "conversations?", "habits?", "habitual", "stretch(es)?", "shelf"),
    *("sightings?", "SyncMemory", "family_tracks", "take_up", "strike", "dice"),
    *("patience", "tickets?", "leftovers", "withdrawn?", "refuse_mixture", "budget_for"),
    *("RateBudget", "SharedBudget", "look_once", "JobWatch", "SyncWatch", "BankWatch"),
)
#: Turns of phrase that a reader must read twice.
OLD_PHRASES = (
    "whoever",
    "of whom",
    "what becomes of",
    "the one who",
    "nobody else",
    "who reads",
    "what there is not",
    "is told of",
    "as long as nobody",
    "in the place of",
    "of its own accord",
    "the same goes for",
    "is none of",
    "nor does",
    "for want of",
    "would be one too",
    "gone on with",
    "comes? round",
    "taken for",
    "be had",
    "sees? to it",
    "say so of",
)
#: English needs these words; as names of functions, classes, attributes or parameters they are private language.
OLD_NAMES = frozenset(
    {
        *(
            "aside",
            "told",
            "plain",
            "dense",
            "look",
            "looks",
            "watch",
            "watches",
            "hold",
            "held",
        ),
        *(
            "track",
            "tracks",
            "born",
            "birth",
            "strange",
            "former",
            "ours",
            "theirs",
            "how",
            "kept",
            "meaning",
        ),
        *(
            "movement",
            "movements",
            "settled",
            "settles",
            "grown",
            "sweep",
            "tidy",
            "joins",
            "recall",
        ),
    }
)
#: Where these names count. A test may name things as it likes.
CODE = ("airflow_provider_banksync/*.py", "benchmarks/*.py", "demo/*.py", "example_dags/*.py", "scripts/*.py")
ALLOWED_LINES = re.compile(
    r"BankSyncBudgetError"  # a public name
    r'|"habits"'  # a seed of random numbers: another text is another world
)


def tracked(*patterns: str) -> list[Path]:
    """Return the tracked files that match, without this one."""
    done = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [ROOT / name for name in done.stdout.splitlines()]
    return [file for file in files if file.is_file() and file != Path(__file__).resolve()]


def words_in(text: str) -> list[str]:
    found = []
    pattern = re.compile(rf"\b({'|'.join((*OLD_WORDS, *OLD_PHRASES))})\b", re.IGNORECASE)
    for number, line in enumerate(text.splitlines(), 1):
        if not ALLOWED_LINES.search(line):
            found += [f"{number}: {match[0]!r} in {line.strip()[:100]}" for match in pattern.finditer(line)]
    return found


def names_in(source: str) -> list[str]:
    """Return the old names that a module defines: functions, classes, parameters, attributes, variables."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.arg):
            names = [node.arg]
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names = [node.id if isinstance(node, ast.Name) else node.attr]
        found += [f"{node.lineno}: {name}" for name in names if name.strip("_") in OLD_NAMES]
    return found


@pytest.mark.parametrize("file", tracked("*.py", "*.md"), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_old_word(file: Path) -> None:
    assert words_in(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("file", tracked(*CODE), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_old_name(file: Path) -> None:
    assert names_in(file.read_text(encoding="utf-8")) == []


def test_an_old_word_is_found() -> None:
    assert words_in("The crew\nwaits for Whoever comes.") == [
        "1: 'crew' in The crew",
        "2: 'Whoever' in waits for Whoever comes.",
    ]
    assert names_in("def _told(kept): self.born = hold = 1") == ["1: _told", "1: kept", "1: born", "1: hold"]
