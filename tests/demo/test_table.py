"""Tables of names in any script."""

from __future__ import annotations

import pytest

from demo.table import fit, pad, plural, size, table, width


@pytest.mark.parametrize(
    ("text", "columns"),
    [("Bakery", 6), ("さくら", 6), ("Zoë", 3), ("Zoe\u0308", 3), ("🥐", 2), ("شركة", 4), ("", 0)],
    ids=["latin", "japanese", "composed", "combining", "emoji", "arabic", "empty"],
)
def test_width_is_what_a_terminal_shows(text: str, columns: int) -> None:
    assert width(text) == columns
    assert width(pad(text, 10)) == 10
    assert width(pad(text, 10, right=True)) == 10


@pytest.mark.parametrize("name", ["Northgate Bookkeeping Partners", "さくら商店さくら商店", "Short"])
def test_fit_keeps_to_its_columns(name: str) -> None:
    assert width(fit(name, 12)) <= 12
    assert fit(name, 12) == name or fit(name, 12).endswith("...")


def test_columns_are_straight() -> None:
    lines = table(("NAME", "ROWS", "ID"), [["さくら", "1", "a"], ["Bakery Ltd", "1000", "b"]], align="lrl")
    assert [width(line[: line.rindex(" ")]) for line in lines] == [17, 17, 17]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (84_512, "84.5 kB"), (2_500_000, "2.5 MB")],
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("count", "word", "text"), [(1, "feed", "1 feed"), (2, "feed", "2 feeds"), (1200, "file", "1,200 files")]
)
def test_plural(count: int, word: str, text: str) -> None:
    assert plural(count, word) == text
