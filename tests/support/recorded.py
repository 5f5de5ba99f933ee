"""Comparison of what the code gives today with a file that was recorded earlier."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

#: Set it to record the files instead of comparing with them.
RECORD = "BANKSYNC_RECORD"
_ROOT = Path(__file__).parents[2]
_MOST_LINES = 60


def compare(recorded: Path, found: str, test: str) -> None:
    """Fail with a diff if a text differs from a recorded file; with `RECORD` set, write the file instead.

    :param test: path of the test module, for the command that records the file anew.
    """
    if os.environ.get(RECORD):
        recorded.write_text(found, encoding="utf-8")
        return
    known = recorded.read_text(encoding="utf-8")
    if known == found:
        return
    name = recorded.relative_to(_ROOT).as_posix()
    changes = list(
        difflib.unified_diff(known.splitlines(), found.splitlines(), "recorded", "found", n=1, lineterm="")
    )
    more = [f"... and {len(changes) - _MOST_LINES} more lines"] if len(changes) > _MOST_LINES else []
    command = f"{RECORD}=1 .venv/bin/python -m pytest {Path(test).relative_to(_ROOT).as_posix()}"
    pytest.fail(
        "\n".join(
            [
                f"The code no longer gives what {name} records. Users rely on it, so a change is a decision.",
                "If you do not want the change, correct the code. If you want it, record it, name it in the",
                f"CHANGELOG and commit the file: {command}",
                *changes[:_MOST_LINES],
                *more,
            ]
        ),
        pytrace=False,
    )
