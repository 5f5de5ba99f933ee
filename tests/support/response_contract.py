"""Checks each response of every sandbox of the test suite against the contract, in this process and its children.

Faults are exempt: they break the contract on purpose.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_banksync.sandbox.control.sandbox import CHECK_VARIABLE
from tests.support.contract import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = Path(tempfile.mkdtemp(prefix="banksync-contract-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
BREACHES = _FOLDER / "breaches.txt"
os.environ[VARIABLE] = str(BREACHES)
os.environ[CHECK_VARIABLE] = "tests.support.contract:check_response"


def take_breaches() -> list[str]:
    """Return the breaches so far, and delete them."""
    if not BREACHES.exists():
        return []
    lines = BREACHES.read_text(encoding="utf-8").splitlines()
    BREACHES.unlink()
    return lines


@pytest.fixture(autouse=True)
def sandbox_keeps_its_contract() -> Iterator[None]:
    """Fail a test during which a sandbox sent a response that the contract does not allow."""
    yield
    breaches = take_breaches()
    assert not breaches, "the sandbox broke its contract:\n" + "\n".join(breaches)
