"""The command line: what is wrong is said in a sentence, and the exit status is not 0."""

from __future__ import annotations

import importlib.util
import signal
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from demo import __main__ as command
from demo import run
from demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """The command sets handlers for signals; a test run keeps its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def not_installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def version(asked: str) -> str:
        if asked == name:
            raise metadata.PackageNotFoundError(asked)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    found = importlib.util.find_spec
    monkeypatch.setattr(run, "find_spec", lambda asked: None if asked == name else found(asked))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("apache-airflow-core", "The demo needs Airflow 3"),
        ("uvicorn", "The sandbox needs uvicorn. Run pip install uvicorn or `make setup`."),
    ],
)
def test_what_is_not_installed(name: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    not_installed(monkeypatch, name)
    with pytest.raises(DemoError, match=sentence):
        run.check_prerequisites()


def test_a_missing_dag(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    not_installed(monkeypatch, "nothing")
    monkeypatch.setattr(run, "DAGS_FOLDER", tmp_path)
    with pytest.raises(DemoError, match=r"banksync_family\.py, the DAG that the demo runs, is missing"):
        run.check_prerequisites()


def test_an_output_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    not_installed(monkeypatch, "nothing")
    (tmp_path / "file").touch()
    assert command.main(["--output", str(tmp_path / "file")]) == 1
    assert "The demo stopped: The demo cannot write below" in capsys.readouterr().out


def test_a_family_that_is_too_large(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    not_installed(monkeypatch, "nothing")
    assert command.main(["--portals", "1000000", "--output", str(tmp_path)]) == 1
    assert "The demo stopped: The sandbox cannot start: portals must be" in capsys.readouterr().out


@pytest.mark.parametrize("portals", ["0", "-1", "many", "1.5", ""])
def test_a_number_of_clients_that_is_none(portals: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.parse(["--portals", portals])
    assert caught.value.code == 2
    assert "is not a whole number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "verbose"), [("", False), ("0", False), ("1", True), ("yes", True)])
def test_verbose_by_environment(value: str, verbose: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setenv("VERBOSE", value)

    class Spy:
        def __init__(self, console: object, options: object) -> None:
            seen.append(console)

        def run(self) -> int:
            return 0

    monkeypatch.setattr(command, "Demo", Spy)
    assert command.main([]) == 0
    assert seen[0].verbose is verbose
