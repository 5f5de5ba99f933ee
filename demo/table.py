"""Plain-text tables that stay aligned with names in any script."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = "  "


def width(text: str) -> int:
    """Return the number of terminal columns that ``text`` needs."""
    columns = 0
    for character in text:
        if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
            continue
        columns += 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
    return columns


def fit(text: str, columns: int) -> str:
    """Cut ``text`` to a number of columns. A cut text ends with an ellipsis."""
    if width(text) <= columns:
        return text
    shortened = ""
    for character in text:
        if width(shortened + character) > columns - 3:
            break
        shortened += character
    return f"{shortened}..."


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Pad ``text`` to a number of columns."""
    blank = " " * max(0, columns - width(text))
    return f"{blank}{text}" if right else f"{text}{blank}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, align: str) -> list[str]:
    """Return the lines of a table. ``align`` has a letter for each column, ``l`` or ``r``."""
    lines = []
    widths = [max(width(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        cells = zip(row, widths, align, strict=True)
        padded = [pad(cell, columns, right=letter == "r") for cell, columns, letter in cells]
        lines.append(GAP.join(padded).rstrip())
    return lines


def size(count: int) -> str:
    """Return a number of bytes with a unit."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def plural(count: int, word: str) -> str:
    """Return a number with its noun."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
