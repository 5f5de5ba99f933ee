"""Refusing what makes no sense in one line that names it, before anything starts."""

from __future__ import annotations

import re
from datetime import datetime

from airflow_provider_banksync.sandbox.errors import SandboxError

_ONE_LINE = re.compile(r"([\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?)?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def check_whole(name: str, value: object, low: int, high: int) -> int:
    """Take a whole number of a range; ``True`` is none, and neither is 2.0."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SandboxError(f"{name} must be a whole number, not {value!r}")
    check_number(name, value, low, high)
    return value


def check_number(name: str, value: object, low: float, high: float) -> float:
    """Take a number of a range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SandboxError(f"{name} must be a number, not {value!r}")
    # Written so that NaN fails too.
    if not low <= value <= high:
        raise SandboxError(f"{name} must be between {low:.15g} and {high:.15g}, not {value}")
    return value


def check_flag(name: str, value: object) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise SandboxError(f"{name} must be True or False, not {value!r}")
    return value


def check_text(name: str, value: object) -> str:
    """Take a string that can be sent."""
    if not isinstance(value, str):
        raise SandboxError(f"{name} must be a string, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SandboxError(f"{name} holds half a character, which cannot be sent: {value!a}") from None
    return value


def check_moment(name: str, value: object) -> datetime:
    """Take a time with its time zone."""
    if not isinstance(value, datetime):
        raise SandboxError(f"{name} must be a datetime, not {value!r}")
    if value.tzinfo is None:
        raise SandboxError(
            f"{name} must carry a time zone, e.g. datetime(2026, 3, 1, tzinfo=timezone.utc), not {value}"
        )
    return value


def check_header(name: str, value: object) -> str:
    """Take the value of a header: one line of ASCII."""
    if not _ONE_LINE.fullmatch(check_text(name, value)):
        raise SandboxError(f"{name} must be one line of ASCII, as headers are, not {value!a}")
    return str(value)


def check_header_name(name: str, value: object) -> str:
    """Take the name of a header."""
    if not _HEADER_NAME.fullmatch(check_text(name, value)):
        raise SandboxError(f"{name} holds {value!a}, which is no name of a header")
    return str(value)
