"""What reaches the terminal, and what a terminal is spared."""

from __future__ import annotations

import io

import pytest

from demo.console import Console, colour_wanted
from tests.demo.conftest import Terminal


def test_no_control_characters_without_a_terminal() -> None:
    stream = io.StringIO()
    console = Console(stream, every=0)
    console.status("syncs", "1 of 3")
    console.milestone("syncs", console.paint("done", "green"))
    assert "\033" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_a_terminal_sees_one_status_at_a_time() -> None:
    console = Console(Terminal())
    console.status("syncs", "1 of 3")
    console.status("syncs", "2 of 3")
    console.milestone("syncs", "done")
    text = console.stream.getvalue()  # type: ignore[attr-defined]
    assert text.count("\r\033[2K") == 2
    assert text.count("\n") == 1


def test_a_status_never_takes_a_second_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(Terminal())
    console.status("syncs", "x" * 200)
    assert len(console.stream.getvalue()) < 50  # type: ignore[attr-defined]


def test_a_pipe_gets_a_status_only_now_and_then_and_only_when_it_changed() -> None:
    stream = io.StringIO()
    console = Console(stream, every=3600)
    for count in range(5):
        console.status("syncs", f"{count} of 5")
    assert len(stream.getvalue().splitlines()) == 1

    stream = io.StringIO()
    console = Console(stream, every=0)
    for text in ("a", "a", "b"):
        console.status("syncs", text)
    assert len(stream.getvalue().splitlines()) == 2


@pytest.mark.parametrize(
    ("stream", "environ", "wanted"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
    ids=["terminal", "no-color", "no-color-empty", "dumb", "pipe"],
)
def test_colour_is_for_terminals_that_want_it(
    stream: io.StringIO, environ: dict[str, str], wanted: bool
) -> None:
    assert colour_wanted(stream, environ) is wanted


def test_a_terminal_of_few_letters_is_no_reason_to_fall_over() -> None:
    raw = io.BytesIO()
    console = Console(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    console.line("Café Zoë 🥐")
    assert raw.getvalue() == b"Caf? Zo? ?\n"
