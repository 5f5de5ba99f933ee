"""Reading what a request carries. Whatever the contract does not know is refused with 400."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.encoding import decode, encode
from airflow_provider_banksync.sandbox.errors import BadRequestError
from airflow_provider_banksync.sandbox.jobs import STATUSES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

# Stricter than date.fromisoformat, which also reads 20260301 and 2026-W09-7.
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"[0-9]{1,9}")


def read_query(pairs: Iterable[tuple[str, str]], known: Collection[str]) -> dict[str, str]:
    """Take the query parameters apart: each known, each at most once."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise BadRequestError(f"Unknown query parameter: {name!a}")
        if name in found:
            raise BadRequestError(f"Query parameter given twice: {name}")
        found[name] = value
    return found


def read_object(body: bytes, content_type: str) -> dict[str, object]:
    """Take a JSON body that is an object."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise BadRequestError("Content-Type must be application/json")
    try:
        fields = decode(body)
        encode(fields)  # half a surrogate pair can be read, and never be sent again
    except (ValueError, RecursionError):
        raise BadRequestError("Request body is not valid JSON") from None
    if not isinstance(fields, dict):
        raise BadRequestError("Request body must be a JSON object")
    return fields


def read_body(
    body: bytes, content_type: str, known: Collection[str], required: Collection[str]
) -> dict[str, object]:
    """Take a JSON body apart: an object of known fields. Where none is required, no body is an empty one."""
    fields = read_object(body, content_type) if body else {}
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise BadRequestError(f"Unknown field: {unknown[0]!a}")
    missing = sorted(set(required) - set(fields))
    if missing:
        raise BadRequestError(f"{missing[0]} is required")
    return fields


def read_text(fields: Mapping[str, object], name: str) -> str | None:
    """Read a string; None where it is not given."""
    value = fields.get(name)
    if name in fields and not isinstance(value, str):
        raise BadRequestError(f"{name} must be a string")
    return value if isinstance(value, str) else None


def read_texts(fields: Mapping[str, object], name: str) -> None:
    """Check a list of strings, where it is given."""
    value = fields.get(name, [])
    if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise BadRequestError(f"{name} must be a list of strings")


def read_choice(fields: Mapping[str, object], name: str, choices: Collection[str]) -> str:
    """Read a string that is one of these."""
    value = read_text(fields, name)
    if value is None or value not in choices:
        raise BadRequestError(f"{name} must be one of {', '.join(choices)}")
    return value


def read_family(query: Mapping[str, str]) -> bool:
    """Say whether the whole family is meant."""
    scope = query.get("scope", "self")
    if scope not in {"self", "family"}:
        raise BadRequestError("scope must be self or family")
    return scope == "family"


def read_day(fields: Mapping[str, object], name: str) -> date | None:
    """Read a day written YYYY-MM-DD; None where it is not given."""
    if name not in fields:
        return None
    value = fields[name]
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise BadRequestError(f"{name} is not a day of the calendar: {value}") from None
    raise BadRequestError(f"{name} must be a date written YYYY-MM-DD")


def read_limit(query: Mapping[str, str]) -> int | None:
    """Read how many rows are wanted; None where it is not said."""
    text = query.get("limit")
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or int(text) == 0:
        raise BadRequestError("limit must be a whole number above 0")
    return int(text)


def read_status(query: Mapping[str, str]) -> str | None:
    """Read which jobs are wanted; None for all."""
    status = query.get("status")
    if status is not None and status not in STATUSES:
        raise BadRequestError(f"status must be one of {', '.join(STATUSES)}")
    return status
