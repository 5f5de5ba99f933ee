"""Databases."""

from __future__ import annotations

from tests.support.sql_databases import database, postgres  # noqa: F401 - fixtures
