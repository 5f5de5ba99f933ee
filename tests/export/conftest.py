"""Airflow loads its file systems before the first test."""

from __future__ import annotations

import pytest

from tests.support.object_stores import load_file_systems


@pytest.fixture(scope="session", autouse=True)
def _file_systems() -> None:
    load_file_systems()
