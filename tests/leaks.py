"""Watches the whole suite for an API key where none may be: in a log (tracebacks included), in Airflow's home."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

#: As long as a real key: none of the shorter stand-ins of the tests' own texts.
KEY = re.compile(r"bsk_[A-Za-z0-9]{40,}")
#: Ours, and the libraries that see what we send. The sandbox's own word is none of them: it hands its keys out.
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
        # The sandbox's admin calls name a key in their path: they are for whoever made it, on this machine.
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


def files_with(secret: str) -> list[str]:
    """Return the files of Airflow's home that hold a secret: XComs, rendered fields, serialized DAGs, triggers, logs.

    The database is SQLite, which writes text as it is.
    """
    home = Path(os.environ["AIRFLOW_HOME"])
    files = [path for path in home.rglob("*") if path.is_file()]
    return [str(path.relative_to(home)) for path in files if secret.encode() in path.read_bytes()]
