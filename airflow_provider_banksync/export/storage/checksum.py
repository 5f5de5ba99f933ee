"""A checksum inside a JSON object, so that one that was damaged, but is still JSON, is noticed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from airflow_provider_banksync.export.storage.folder import to_json

CHECKSUM = "checksum"


def checked_json(value: dict[str, Any]) -> bytes:
    """Return an object as indented JSON, with its checksum."""
    return to_json({**value, CHECKSUM: _compute(value)})


def has_valid_checksum(value: dict[str, Any]) -> bool:
    """Return whether a JSON object has a checksum, and is as it was written."""
    return value.get(CHECKSUM) == _compute(value)


def _compute(value: dict[str, Any]) -> str:
    """Return the SHA-256 of all other fields, as JSON with sorted keys and without spaces."""
    fields = {name: field for name, field in value.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
