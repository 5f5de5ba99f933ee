"""The hook's tests need Airflow's database only where Airflow looks a connection up in it."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _database(airflow_db: None) -> None:
    """Give Airflow an empty database of its own."""
