"""Reading what a request carries. Whatever the contract does not know is refused with 400."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.encoding import decode
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


def read_body(body: bytes, content_type: str, known: Collection[str]) -> dict[str, object]:
    """Take a JSON body apart: an object of known fields. No body is an empty one."""
    if not body:
        return {}
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise BadRequestError("Content-Type must be application/json")
    try:
        fields = decode(body)
    except (ValueError, RecursionError):
        raise BadRequestError("Request body is not valid JSON") from None
    if not isinstance(fields, dict):
        raise BadRequestError("Request body must be a JSON object")
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise BadRequestError(f"Unknown field: {unknown[0]!a}")
    return fields


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
