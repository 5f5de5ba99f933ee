"""Airflow's file systems, and an S3 server."""

from __future__ import annotations

import itertools
import warnings
from typing import TYPE_CHECKING

import pytest

from tests.support.object_stores import CONNECTION, S3, Store, load_file_systems
from tests.support.sql_databases import database, postgres  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKETS = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _file_systems() -> None:
    load_file_systems()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    for needed in ("moto", "flask_cors", "s3fs", "airflow.providers.amazon"):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = S3()
    yield server
    server.stop()


@pytest.fixture
def bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", s3.connection())
    return f"bucket-{next(BUCKETS)}"


@pytest.fixture
def on_s3(s3: S3, bucket: str) -> Store:
    return s3.store(bucket)
