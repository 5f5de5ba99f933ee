"""Watches the whole suite for an API key where none may be.

In a log (tracebacks included), in an error of ours, in what a trigger would store, and in all that Airflow keeps: its
database with XComs, rendered fields, serialized DAGs and trigger rows, and the files of its logs.
"""

from __future__ import annotations

import logging
import os
import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_banksync.exceptions import BankSyncError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: As long as a real key: none of the shorter stand-ins of the tests' own texts.
KEY = re.compile(r"bsk_[A-Za-z0-9]{40,}")
KEY_BYTES = re.compile(KEY.pattern.encode())
#: Ours, and the libraries that see what we send. The sandbox's own log is not one of them: it hands its keys out.
WATCHED = (
    "airflow_provider_banksync",
    "airflow.task",
    "urllib3",
    "requests",
    "aiohttp",
    "asyncio",
    "tenacity",
)


class Watch(logging.Handler):
    """Keeps what holds a key, as a formatter would write it, traceback included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.leaks: list[str] = []
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        text = self._formatter.format(record)
        # The sandbox's admin calls name a key in their path: only the process that started the sandbox calls them.
        if KEY.search(text) and "/_sandbox/keys/" not in text:
            self.leaks.append(KEY.sub("<a key>", text))


@pytest.fixture(autouse=True)
def no_key_in_any_log() -> Iterator[None]:
    """Fail a test during which a key got into a log at any level."""
    watch = Watch()
    loggers = [logging.getLogger(name) for name in WATCHED]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(watch)
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.removeHandler(watch)
            logger.setLevel(level)
    assert watch.leaks == []


class Errors:
    """Looks at our errors; a moment after they were made, because who makes one may have to hide something in it."""

    def __init__(self) -> None:
        self.leaks: list[str] = []
        self._fresh: deque[BankSyncError] = deque()

    def add(self, error: BankSyncError) -> None:
        self._fresh.append(error)
        if len(self._fresh) > 3:  # and not all: their tracebacks hold on to whole answers
            self._look(self._fresh.popleft())

    def finish(self) -> list[str]:
        while self._fresh:
            self._look(self._fresh.popleft())
        return self.leaks

    def _look(self, error: BankSyncError) -> None:
        text = f"{error} {error!r} {error.args!r} {vars(error)!r}"
        if KEY.search(text):
            self.leaks.append(KEY.sub("<a key>", text))


@pytest.fixture(autouse=True)
def no_key_in_any_error(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test during which one of our errors kept a key."""
    errors = Errors()
    make = BankSyncError.__init__

    def watched(self: BankSyncError, *args: Any, **details: Any) -> None:
        make(self, *args, **details)
        errors.add(self)

    monkeypatch.setattr(BankSyncError, "__init__", watched)
    yield
    assert errors.finish() == []


@pytest.fixture(autouse=True)
def no_key_in_any_trigger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test in which a task deferred to a trigger whose row would hold a key."""
    leaks: list[str] = []
    make = TaskDeferred.__init__

    def watched(self: TaskDeferred, *args: Any, **details: Any) -> None:
        make(self, *args, **details)
        row = repr(self.trigger.serialize()) if self.trigger else ""
        if KEY.search(row):
            leaks.append(KEY.sub("<a key>", row))

    monkeypatch.setattr(TaskDeferred, "__init__", watched)
    yield
    assert leaks == []


@pytest.fixture(scope="session", autouse=True)
def no_key_in_what_airflow_keeps() -> Iterator[None]:
    """Fail the suite if at its end a key is in the database of its Airflow, or in a file of its logs."""
    yield
    home = Path(os.environ["AIRFLOW_HOME"])
    files = [path for path in home.rglob("*") if path.is_file()]
    leaks = [path.relative_to(home) for path in files if KEY_BYTES.search(path.read_bytes())]
    assert leaks == []


def files_with(secret: str) -> list[str]:
    """Return the files of Airflow's home that hold a secret: XComs, rendered fields, serialized DAGs, triggers, logs.

    The database is SQLite, which writes text as it is.
    """
    home = Path(os.environ["AIRFLOW_HOME"])
    files = [path for path in home.rglob("*") if path.is_file()]
    return [str(path.relative_to(home)) for path in files if secret.encode() in path.read_bytes()]
