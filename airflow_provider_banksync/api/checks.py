"""What an argument must be. Told before anything is sent, by the argument's name.

Light: what DAG files load uses some of it.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_banksync.exceptions import BankSyncConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

SCOPES = ("self", "family")
#: Thirty days: nobody waits longer for a sync.
LONGEST = 30 * 86400.0
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_FRACTION = re.compile(r"\.(\d+)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def check_workspace_id(workspace_id: object) -> str:
    """Return the workspace id unchanged, if it can stand in a header.

    :raises BankSyncConfigError: when it is empty or holds spaces, control or non-ASCII characters.
    """
    if not is_header_value(workspace_id) or workspace_id == "None":
        from airflow_provider_banksync.api.redaction import scrub

        raise BankSyncConfigError(
            f"workspace_id must be a BankSync workspace id, not {scrub(workspace_id)!r}.",
            hint="Copy it from the app's workspace settings, or from hook.list_portals(). If it is a template or an "
            "XCom, look at what that gave.",
        )
    return str(workspace_id)


def is_header_value(value: object) -> bool:
    """Tell whether a value can stand in a header: text, not empty, no spaces, nothing but ASCII."""
    return isinstance(value, str) and _HEADER_VALUE.fullmatch(value) is not None


def check_scope(scope: str) -> str:
    """Return the scope, if it is one.

    :raises BankSyncConfigError: (a ValueError) when it is neither ``self`` nor ``family``.
    """
    if scope not in SCOPES:
        raise BankSyncConfigError(f"scope must be 'self' or 'family', not {scope!r}.")
    return scope


def quoted_id(name: str, value: object) -> str:
    """Quote an id into one path segment; dots alone would climb out of it whatever the quoting."""
    if not isinstance(value, str) or not value.strip() or value.strip(".") == "" or not _is_unicode(value):
        raise BankSyncConfigError(f"{name} must be the id of one in BankSync, not {value!r}.")
    return quote(value, safe="")


def check_days(from_date: str | date | None, to_date: str | date | None) -> tuple[str | None, str | None]:
    """Return both days as the API writes them; an empty one is None.

    :raises BankSyncConfigError: one is no day, or they are in the wrong order.
    """
    first, last = _check_day("from_date", from_date), _check_day("to_date", to_date)
    if first and last and first > last:
        raise BankSyncConfigError(f"from_date {first} is after to_date {last}.")
    return first, last


def _check_day(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, date):  # a datetime is one, too
        return value.isoformat()[: len("YYYY-MM-DD")]
    try:
        if isinstance(value, str) and _DAY.fullmatch(value):
            return date.fromisoformat(value).isoformat()
    except ValueError:
        pass
    raise BankSyncConfigError(
        f"{name} must be a day of the calendar, YYYY-MM-DD, not {value!r}.",
        hint="A template gives one with the filter ds: {{ data_interval_start | ds }}.",
    )


def check_limit(limit: int | None) -> int | None:
    """Return the limit, if it is one.

    :raises BankSyncConfigError: when it is not a whole number of at least 1.
    """
    return None if limit is None else whole("limit", limit, least=1)


def whole(name: str, value: object, *, least: int) -> int:
    """Return an argument that is a whole number.

    :raises BankSyncConfigError: it is none, or less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BankSyncConfigError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    return value


def one_of(name: str, value: str, known: Iterable[str]) -> str:
    """Return an argument that is one of a few words.

    :raises BankSyncConfigError: it is none of them.
    """
    known = tuple(known)
    if value not in known:
        raise BankSyncConfigError(f"{name} must be one of {', '.join(known)}, not {value!r}.")
    return value


def check_cursor(cursor: str | None) -> str | None:
    """Return the cursor; an empty one is None.

    :raises BankSyncConfigError: when it is not text.
    """
    if cursor is None or cursor == "":
        return None
    if not isinstance(cursor, str) or not _is_unicode(cursor):
        raise BankSyncConfigError(f"cursor must be one that an earlier read gave, not {cursor!r}.")
    return cursor


def json_body(body: object) -> bytes:
    """Return the fields to write as JSON.

    :raises BankSyncConfigError: when they are none, or hold what JSON cannot.
    """
    from airflow_provider_banksync.api import codec

    if not isinstance(body, dict) or not body:
        raise BankSyncConfigError(f"body must be a dict with the fields to write, not {body!r}.")

    try:
        return codec.dumps(body)
    except RecursionError:
        raise BankSyncConfigError("body is nested too deeply, or holds itself.") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise BankSyncConfigError(f"body holds what JSON cannot: {error}.") from error


def seconds(name: str, value: float | timedelta, *, least: float = 0.0) -> float:
    """Return an argument that is a time, in seconds.

    :raises BankSyncConfigError: it is none, or out of range.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not least <= number <= LONGEST:
        raise BankSyncConfigError(
            f"{name} must be a number of seconds from {least:g} to {LONGEST:g}, not {value!r}."
        )
    return float(number)


def moment(name: str, value: object) -> float:
    """Return a moment in seconds since the epoch; one without an offset counts as UTC, a day as its first instant.

    :param value: a datetime, a date, or text: ``2026-01-31``, ``2026-01-31T05:00:00Z``, ``2026-01-31 05:00+02:00``.
    :raises BankSyncConfigError: it is none.
    """
    if isinstance(value, str):
        try:
            # Python 3.10 reads no Z, and only 3 or 6 digits of a second.
            text = _FRACTION.sub(lambda match: f".{match[1][:6]:0<6}", value.strip())
            value = datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in ("Z", "z") else text)
        except ValueError:
            pass
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise BankSyncConfigError(
            f"{name} must be a datetime, a date or ISO 8601 text, not {value!r}.",
            hint="If it is a template, look at what that gave in the rendered template.",
        )
    return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()


def _is_unicode(text: str) -> bool:
    """Tell whether text can be sent: half an emoji, as JavaScript cuts them, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
