"""Checks of arguments, before anything is sent.

Each function returns the checked value, or raises a `BankSyncConfigError` that names the argument. DAG files import
this module, so it loads little.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, get_args
from urllib.parse import quote

from airflow_provider_banksync.exceptions import BankSyncConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

_C = TypeVar("_C")
# The values that arguments choose from: for type checkers, and as tuples.
Scope = Literal["self", "family"]
Listing = Literal[
    "workspaces", "portals", "banks", "accounts", "feeds", "integrations", "enrichments", "jobs"
]
AccountData = Literal["transactions", "balances", "holdings", "trades", "loans"]
Resource = Literal[Listing, AccountData]
DataType = Literal[
    "transactions", "balances", "trades", "holdings", "loans", "receipts", "invoices", "documents"
]
Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]
IfRunning = Literal["attach", "wait", "skip", "fail"]
IfEnded = Literal["succeed", "skip", "fail"]
IfMissing = Literal["succeed", "skip", "fail"]
OnUnavailable = Literal["fail", "report"]
OnDrift = Literal["warn", "fail"]
FileFormat = Literal["jsonl", "csv", "parquet"]
Files = Literal["account", "workspace"]
Compression = Literal["gzip", "zstd"]
SCOPES: tuple[str, ...] = get_args(Scope)
RESOURCES: tuple[str, ...] = get_args(Listing)
#: Resources that are read one account at a time.
ACCOUNT_DATA: tuple[str, ...] = get_args(AccountData)
#: Account data whose rows have a day, so that a window selects rows.
WINDOWED = ("transactions", "trades")
#: These belong to the addressed workspace. They have no family listing.
WITHOUT_FAMILY_SCOPE = ("workspaces", "portals")
DATA_TYPES: tuple[str, ...] = get_args(DataType)
#: What to do if a job of the feed is queued or running already.
IF_RUNNING: tuple[IfRunning, ...] = get_args(IfRunning)
IF_ENDED: tuple[IfEnded, ...] = get_args(IfEnded)
IF_MISSING: tuple[IfMissing, ...] = get_args(IfMissing)
#: What to do about banks, accounts and feeds that cannot be read.
ON_UNAVAILABLE: tuple[OnUnavailable, ...] = get_args(OnUnavailable)
#: What to do if values do not fit their columns.
ON_DRIFT: tuple[OnDrift, ...] = get_args(OnDrift)
FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
FILES: tuple[Files, ...] = get_args(Files)
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)
SQLITE_SCHEME = "sqlite:///"
#: The longest time in seconds that an argument may be: thirty days.
MAX_DURATION = 30 * 86400.0
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_FRACTION = re.compile(r"\.(\d+)")
#: ``user:password@`` or ``?password=``.
_REDIS_PASSWORD = re.compile(r"//[^/@]*:.*@|[?&]password=", re.IGNORECASE)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def validate_workspace_id(workspace_id: object) -> str:
    """Return a workspace id that can be sent in a header."""
    if not is_header_value(workspace_id) or workspace_id == "None":
        from airflow_provider_banksync.api.redaction import redact

        raise BankSyncConfigError(
            f"workspace_id must be a BankSync workspace id, not {redact(workspace_id)!r}.",
            hint="Copy it from BankSync's workspace settings, or from hook.list_portals(). If it comes from a template "
            "or an XCom, check what that returned.",
        )
    return str(workspace_id)


def is_header_value(value: object) -> bool:
    """Tell whether a value is a text of visible ASCII characters."""
    return isinstance(value, str) and _HEADER_VALUE.fullmatch(value) is not None


def validate_scope(scope: str) -> str:
    """Return ``self`` or ``family``."""
    if scope not in SCOPES:
        raise BankSyncConfigError(f"scope must be 'self' or 'family', not {scope!r}.")
    return scope


def validate_resource(resource: str, scope: str) -> None:
    """Refuse a listing that does not exist.

    :raises BankSyncConfigError: `resource` or `scope` is unknown, or the resource does not have this scope.
    """
    validate_choice("resource", resource, RESOURCES)
    if validate_scope(scope) == "family" and resource in WITHOUT_FAMILY_SCOPE:
        raise BankSyncConfigError(
            f"resource {resource!r} has no scope='family'. Use scope='self': it lists all."
        )


def is_rendered_later(value: object) -> bool:
    """Tell whether an argument has no value yet: a template, or what a task upstream returns."""
    return not isinstance(value, (str, date)) or (isinstance(value, str) and "{" in value)


def validate_literals(known: Iterable[str], **arguments: object) -> None:
    """Check templated arguments while the DAG is parsed, if they are no templates."""
    for name, value in arguments.items():
        if not is_rendered_later(value):
            validate_choice(name, value, known)


def validate_literal_days(from_date: object, to_date: object) -> None:
    """Check the days of a window while the DAG is parsed, if they are no templates."""
    days = [None if is_rendered_later(day) else day for day in (from_date, to_date)]
    validate_days(*days)  # type: ignore[arg-type]  # texts and dates


def validate_literal_data_types(data_types: object) -> None:
    """Refuse a misspelt type of data while the DAG is parsed. BankSync may add types, so others are not refused."""
    for name in data_types if isinstance(data_types, (list, tuple, set, frozenset)) else ():
        if is_rendered_later(name) or name in DATA_TYPES:
            continue
        from difflib import get_close_matches

        if close := get_close_matches(name, DATA_TYPES, n=1, cutoff=0.75):
            raise BankSyncConfigError(
                f"data_types contains {name!r}, which is not a type. Did you mean {close[0]!r}?",
                hint=f"The types are {', '.join(DATA_TYPES)}.",
            )


def quote_id(name: str, value: object) -> str:
    """Quote an id as one path segment. Ids of dots alone would leave it, whatever the quoting."""
    if not isinstance(value, str) or not value.strip() or value.strip(".") == "" or not _is_unicode(value):
        raise BankSyncConfigError(f"{name} must be an id from BankSync, not {value!r}.")
    return quote(value, safe="")


def validate_days(from_date: str | date | None, to_date: str | date | None) -> tuple[str | None, str | None]:
    """Return both days as the API writes them. An empty one becomes None."""
    first, last = _validate_day("from_date", from_date), _validate_day("to_date", to_date)
    if first and last and first > last:
        raise BankSyncConfigError(f"from_date {first} is after to_date {last}.")
    return first, last


def _validate_day(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, date):  # also a datetime
        return value.isoformat()[: len("YYYY-MM-DD")]
    try:
        if isinstance(value, str) and _DAY.fullmatch(value):
            return date.fromisoformat(value).isoformat()
    except ValueError:
        pass
    raise BankSyncConfigError(
        f"{name} must be a day in the form YYYY-MM-DD, not {value!r}.",
        hint="In a template, use the filter ds: {{ data_interval_start | ds }}.",
    )


def validate_limit(limit: int | None) -> int | None:
    """Return a whole number of at least 1, or None."""
    return None if limit is None else validate_integer("limit", limit, least=1)


def validate_integer(name: str, value: object, *, least: int, most: int | None = None) -> int:
    """Return a whole number in a range."""
    in_range = isinstance(value, int) and least <= value and (most is None or value <= most)
    if not in_range or isinstance(value, bool):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise BankSyncConfigError(f"{name} must be a whole number {limits}, not {value!r}.")
    return int(value)  # type: ignore[call-overload,no-any-return]


def validate_choice(name: str, value: _C, known: Iterable[_C]) -> _C:
    """Return one of the known values."""
    known = tuple(known)
    if value not in known:
        raise BankSyncConfigError(f"{name} must be one of {', '.join(map(str, known))}, not {value!r}.")
    return value


def validate_flag(name: str, value: object) -> bool:
    """Return True or False. The text "False", perhaps from a template, is refused."""
    if not isinstance(value, bool):
        raise BankSyncConfigError(f"{name} must be True or False, not {value!r}.")
    return value


def validate_flags(**flags: object) -> None:
    """Check several flags, each with `validate_flag`."""
    for name, value in flags.items():
        validate_flag(name, value)


def validate_cursor(cursor: str | None) -> str | None:
    """Return the cursor. An empty one becomes None."""
    if cursor is None or cursor == "":
        return None
    if not isinstance(cursor, str) or not _is_unicode(cursor):
        raise BankSyncConfigError(f"cursor must be the cursor of an earlier read, not {cursor!r}.")
    return cursor


def encode_body(body: object) -> bytes:
    """Encode the fields to write as JSON."""
    from airflow_provider_banksync.api import codec

    if not isinstance(body, dict) or not body:
        raise BankSyncConfigError(f"body must be a dict with the fields to write, not {body!r}.")
    try:
        return codec.dumps(body)
    except RecursionError:
        raise BankSyncConfigError("body is nested too deeply, or contains itself.") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise BankSyncConfigError(f"body contains a value that JSON cannot represent: {error}.") from error


def validate_seconds(name: str, value: float | timedelta, *, least: float = 0.0) -> float:
    """Return a duration in seconds."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if (
        isinstance(number, bool)
        or not isinstance(number, (int, float))
        or not least <= number <= MAX_DURATION
    ):
        raise BankSyncConfigError(
            f"{name} must be a number of seconds from {least:g} to {MAX_DURATION:.0f} (30 days), not {value!r}."
        )
    return float(number)


def parse_datetime(name: str, value: object) -> float:
    """Return a time in epoch seconds. Without an offset it is UTC. A day means its first moment.

    :param value: a datetime, a date, or text: ``2026-01-31``, ``2026-01-31T05:00:00Z``, ``2026-01-31 05:00+02:00``.
    """
    if isinstance(value, str):
        try:
            # Python 3.10 reads no Z, and only fractions of 3 or 6 digits.
            text = _FRACTION.sub(lambda match: f".{match[1][:6]:0<6}", value.strip())
            value = datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in ("Z", "z") else text)
        except ValueError:
            pass
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise BankSyncConfigError(
            f"{name} must be a datetime, a date or ISO 8601 text, not {value!r}.",
            hint="If it is a template, check its value under Rendered Template in Airflow.",
        )
    return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()


def _is_unicode(text: str) -> bool:
    """Tell whether text can be encoded. A lone surrogate (half an emoji) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def validate_rate_limit_store(url: str | None) -> str | None:
    """Return the address of a store for the rate limit.

    :param url: ``sqlite:///<absolute path>``, ``redis://…`` or ``rediss://…``. None is this process's memory.
    """
    if url is None:
        return url
    if url.startswith(("redis://", "rediss://")):
        if _REDIS_PASSWORD.search(url):
            raise BankSyncConfigError(
                "rate_limit_store in the field Extra contains a password, which Airflow shows in its UI and API.",
                hint="Put the password into rate_limit_store_password, which Airflow masks.",
            )
        return url
    if url.startswith(SQLITE_SCHEME) and Path(url.removeprefix(SQLITE_SCHEME)).is_absolute():
        return url
    # The message does not repeat the address, which may contain a password.
    raise BankSyncConfigError(
        "rate_limit_store in the field Extra is not a valid address.",
        hint="Use sqlite:////var/lib/banksync/rate_limit.sqlite (an absolute path that all workers of the host can "
        "write), or redis://host:6379/0, or leave it empty.",
    )
