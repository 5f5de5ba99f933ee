"""Airflow loads its file systems, and what comes with them, before the first test."""

from __future__ import annotations

import tempfile
import warnings

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath


@pytest.fixture(scope="session", autouse=True)
def _file_systems() -> None:
    """The warnings of Airflow's providers are theirs; as errors, they would keep it from finding any file system."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ObjectStoragePath(f"file://{tempfile.gettempdir()}").exists()
