"""Checks of arguments. Each returns the value, or raises SandboxError with one line that names the argument."""

from __future__ import annotations

import re
from datetime import datetime

from airflow_provider_banksync.sandbox.errors import SandboxError

_ONE_LINE = re.compile(r"([\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?)?")


def check_whole(name: str, value: object, low: int, high: int) -> int:
    """Check a whole number in a range. ``True`` and 2.0 are not whole numbers."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SandboxError(f"{name} must be a whole number, not {value!r}")
    check_number(name, value, low, high)
    return value


def check_number(name: str, value: object, low: float, high: float) -> float:
    """Check a number in a range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SandboxError(f"{name} must be a number, not {value!r}")
    # In this form, NaN fails too.
    if not low <= value <= high:
        raise SandboxError(f"{name} must be between {low:.15g} and {high:.15g}, not {value}")
    return value


def check_flag(name: str, value: object) -> bool:
    """Check a boolean."""
    if not isinstance(value, bool):
        raise SandboxError(f"{name} must be True or False, not {value!r}")
    return value


def check_text(name: str, value: object) -> str:
    """Check a string that UTF-8 can encode."""
    if not isinstance(value, str):
        raise SandboxError(f"{name} must be a string, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SandboxError(f"{name} holds half a surrogate pair, which cannot be sent: {value!a}") from None
    return value


def check_moment(name: str, value: object) -> datetime:
    """Check a time with a time zone."""
    if not isinstance(value, datetime):
        raise SandboxError(f"{name} must be a datetime, not {value!r}")
    if value.tzinfo is None:
        raise SandboxError(
            f"{name} must carry a time zone, e.g. datetime(2026, 3, 1, tzinfo=timezone.utc), not {value}"
        )
    return value


def check_header(name: str, value: object) -> str:
    """Check the value of a header: one line of ASCII."""
    if not _ONE_LINE.fullmatch(text := check_text(name, value)):
        raise SandboxError(f"{name} must be one line of ASCII, as headers are, not {value!a}")
    return text
