"""Pages of one account: each id once and in its last version, days of the window, and an end. In bounded memory."""

from __future__ import annotations

import tracemalloc
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_banksync.api import page_check, seen_ids
from airflow_provider_banksync.api.page_check import CountCheck, PageCheck
from airflow_provider_banksync.api.seen_ids import SeenIds
from airflow_provider_banksync.exceptions import BankSyncResponseError

Row = tuple[Any, ...]


def read(
    pages: list[list[Row]], check: PageCheck[Row], has_more: bool | None = False
) -> tuple[list[Row], set[int]]:
    """Return the checked rows, and the hashes that came again. A row is an id, a version and perhaps a day."""
    found: list[Row] = []
    with closing(check):
        for page in pages:
            days = [row[2] if len(row) > 2 else None for row in page]
            found += check.add(page, [row[0] for row in page], days, has_more)[0]
        return [*found, *check.finish()], set(check.repeated())


@pytest.mark.parametrize(
    ("pages", "rows", "duplicates"),
    [
        ([[("a", 1), ("b", 1)], [("c", 1)]], [("a", 1), ("b", 1), ("c", 1)], 0),
        ([[("a", 1), ("b", 1)], [("b", 2), ("c", 1)]], [("a", 1), ("b", 2), ("c", 1)], 1),
        ([[("a", 1), ("a", 2)], [("a", 3)]], [("a", 3)], 2),
        ([[("a", 1), ("b", 1), ("a", 2)]], [("b", 1), ("a", 2)], 1),
        ([[(None, 1), (None, 1)], [(None, 1)]], [(None, 1)] * 3, 0),
        ([[("a", 1), (None, 1), ("a", 2)], [("a", 3), (None, 2)]], [(None, 1), ("a", 3), (None, 2)], 2),
        ([[], []], [], 0),
    ],
)
def test_the_last_version_of_each_id_is_left(
    pages: list[list[Row]], rows: list[Row], duplicates: int
) -> None:
    check = PageCheck[Row]()
    assert read(pages, check) == (rows, set())
    assert check.duplicates == duplicates


def test_an_id_that_comes_again_far_apart_needs_another_read() -> None:
    pages: list[list[Row]] = [[("a", 1), ("b", 1)], [("c", 1)], [("a", 2), ("d", 1)], [("a", 3)]]
    _, again = read(pages, PageCheck())
    assert again == {hash("a")}
    second = PageCheck[Row](withheld=again)
    assert read(pages, second) == ([("b", 1), ("c", 1), ("d", 1), ("a", 3)], set())
    assert second.duplicates == 2


def test_two_ids_with_one_hash_are_two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_check, "hash", lambda _: 7, raising=False)
    pages: list[list[Row]] = [[("a", 1)], [("b", 1)], [("c", 1)]]
    _, again = read(pages, PageCheck())
    rows, more = read(pages, PageCheck(withheld=again))
    assert (sorted(rows), more) == ([("a", 1), ("b", 1), ("c", 1)], set())


def test_rows_outside_of_the_window_are_left_out_and_counted() -> None:
    pages: list[list[Row]] = [
        [("a", 1, "2026-02-28"), ("b", 1, "2026-03-01"), ("c", 1, "2026-03-02T23:59:59-05:00")],
        [("b", 2, "2026-03-03"), ("d", 1, None), ("e", 1, "soon"), ("f", 1, "2026-03-02")],
    ]
    check = PageCheck[Row](("2026-03-01", "2026-03-02"))
    rows, _ = read(pages, check)
    assert [row[0] for row in rows] == ["c", "d", "e", "f"]
    assert (check.duplicates, check.outside_window) == (1, 2)
    since = PageCheck[Row](("2026-03-01", None))
    assert [row[:2] for row in read(pages, since)[0]] == [("c", 1), ("b", 2), ("d", 1), ("e", 1), ("f", 1)]
    withheld = PageCheck[Row](("2026-03-01", "2026-03-02"), {hash("b")})
    assert [row[0] for row in read(pages, withheld)[0]] == ["c", "d", "e", "f"]
    assert (withheld.duplicates, withheld.outside_window) == (1, 2)


@pytest.mark.parametrize(
    "pages",
    [
        [[("a", 1)], [], [], []],
        [[("a", 1)], [("a", 1)], [("a", 2)], [("a", 3)]],
        [[("a", 1)], [("b", 1)], [("a", 1)], [("b", 1)], [("a", 1)]],
        [[(None, 1)]] * 4,
    ],
)
def test_three_pages_without_a_new_row_are_an_error(pages: list[list[Row]]) -> None:
    with pytest.raises(BankSyncResponseError, match="3 pages in a row brought no new row"):
        read(pages, PageCheck(), has_more=True)
    for withheld in ({hash("a")}, {hash("a"), hash("b")}):
        with pytest.raises(BankSyncResponseError, match="3 pages in a row brought no new row"):
            read(pages, PageCheck(withheld=withheld), has_more=True)


def test_pages_that_bring_something_now_and_then_are_read() -> None:
    pages: list[list[Row]] = [page for number in range(5) for page in ([(str(number), 1)], [], [])]
    assert len(read(pages, PageCheck(), has_more=True)[0]) == 5


def test_an_endless_circle_that_memory_does_not_hold_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_ids, "_IN_MEMORY", 1_000)
    check = PageCheck[Row]()
    circle: list[list[Row]] = [
        [(str(number), 1) for number in range(first, first + 100)] for first in range(0, 3_000, 100)
    ]
    with pytest.raises(BankSyncResponseError, match="again and again"):
        read(circle * 20, check, has_more=True)


def test_too_many_rows_that_come_again_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_check, "_MAX_REPEATED", 3)
    rows: list[Row] = [("a", 1), ("b", 1), ("c", 1), ("d", 1)]
    with pytest.raises(BankSyncResponseError, match="more than 3 rows again"):
        read([rows, [("e", 1)], rows], PageCheck())


def test_many_ids_take_little_memory_and_each_repeat_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_ids, "_IN_MEMORY", 1_000)
    tracemalloc.start()
    with closing(SeenIds()) as seen:
        for first in range(0, 40_000, 500):
            hashes = set(range(first, first + 500))
            seen.add(hashes, seen.known(hashes))
        seen.add({17, 39_999, -1}, seen.known({17, 39_999, -1}))
        assert seen.compare() == {17, 39_999}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000 * 16


@pytest.mark.parametrize(
    "pages",
    [
        [(2, 2), (1, 1)],
        [(2, None), (0, None)],
        [(2, 3), (1, 3)],
        [(3, 2)],
        [],
    ],
)
def test_pages_with_as_many_rows_as_they_say(pages: list[tuple[int, int | None]]) -> None:
    check = CountCheck()
    for rows, expected in pages:
        check.add(rows, expected)
    check.finish()


@pytest.mark.parametrize("pages", [[(1, 2)], [(1, 2), (2, 2)], [(2, 2), (0, 1)], [(2, 5), (1, 5)], [(0, 7)]])
def test_a_page_with_fewer_rows_than_it_says_is_refused(pages: list[tuple[int, int | None]]) -> None:
    check = CountCheck()
    for rows, expected in pages:
        check.add(rows, expected)
    with pytest.raises(BankSyncResponseError, match=r"a page is not complete: it has .* but its count is"):
        check.finish()
