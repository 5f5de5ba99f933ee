"""One call of the API, and how its query and its body are parsed.

Everything that the contract does not have raises ApiError with the status 400.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.errors import ApiError
from airflow_provider_banksync.sandbox.exact_json import decode, encode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from airflow_provider_banksync.sandbox.rules.auth import Caller
    from airflow_provider_banksync.sandbox.world.model import Row, Workspace

# Stricter than date.fromisoformat, which also parses 20260301 and 2026-W09-7.
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True)
class ApiCall:
    """One authorized request with everything that it carries."""

    caller: Caller
    ids: tuple[str, ...]
    """The parameters of the path, in its order."""
    query: Mapping[str, str]
    body: Row

    @property
    def workspace(self) -> Workspace:
        """The workspace that the request is for."""
        return self.caller.workspace

    @property
    def family(self) -> bool:
        """Whether the scope is the whole family."""
        scope = self.query.get("scope", "self")
        if scope not in {"self", "family"}:
            raise ApiError(400, "scope must be self or family")
        return scope == "family"


class Envelope(dict[str, object]):
    """The members of a success envelope, for an operation that returns more than ``data``."""


def parse_query(pairs: Iterable[tuple[str, str]], known: Collection[str]) -> dict[str, str]:
    """Parse the query parameters: each one known, each one at most once."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise ApiError(400, f"Unknown query parameter: {name!a}")
        if name in found:
            raise ApiError(400, f"Query parameter given twice: {name}")
        found[name] = value
    return found


def parse_object(body: bytes, content_type: str | None) -> dict[str, object]:
    """Parse a JSON body that is an object."""
    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(400, "Content-Type must be application/json")
    try:
        fields = decode(body)
        encode(fields)  # half of a surrogate pair can be decoded, and never be sent again
    except (ValueError, RecursionError):
        raise ApiError(400, "Request body is not valid JSON") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "Request body must be a JSON object")
    return fields


def check_fields(fields: Collection[str], known: Collection[str], required: Collection[str]) -> None:
    """Check that each field is known, and that no required one is missing."""
    for name in sorted(set(fields) - set(known)):
        raise ApiError(400, f"Unknown field: {name!a}")
    for name in sorted(set(required) - set(fields)):
        raise ApiError(400, f"{name} is required")


def parse_text(fields: Mapping[str, object], name: str) -> str | None:
    """Parse a string. Returns None if the field is missing."""
    value = fields.get(name)
    if name in fields and not isinstance(value, str):
        raise ApiError(400, f"{name} must be a string")
    return value if isinstance(value, str) else None


def parse_choice(fields: Mapping[str, object], name: str, choices: Collection[str]) -> str:
    """Parse a string that is one of the choices."""
    value = parse_text(fields, name)
    if value is None or value not in choices:
        raise ApiError(400, f"{name} must be one of {', '.join(choices)}")
    return value


def parse_day(fields: Mapping[str, object], name: str) -> date | None:
    """Parse a day written YYYY-MM-DD. Returns None if the field is missing."""
    if name not in fields:
        return None
    value = fields[name]
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ApiError(400, f"{name} is not a day of the calendar: {value}") from None
    raise ApiError(400, f"{name} must be a date written YYYY-MM-DD")
