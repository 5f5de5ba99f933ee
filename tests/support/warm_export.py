"""What a try of an export needs loaded: once, in the process from which all tries are forked."""

from __future__ import annotations

import tempfile

import pytest  # noqa: F401 - each try looks at the program that it is a part of
from airflow.providers.common.compat.sdk import ObjectStoragePath

import airflow_provider_banksync.export.formats.parquet
import airflow_provider_banksync.tasks.export_task  # noqa: F401

ObjectStoragePath(f"file://{tempfile.gettempdir()}").exists()
