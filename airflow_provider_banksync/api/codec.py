"""JSON that keeps every digit; dates, timestamps and HTTP dates."""

from __future__ import annotations

import functools
import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import msgspec

#: A JSON escape: a surrogate pair, a lone surrogate (the group), or any other.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
#: Seconds. If a server sends the header twice, HTTP libraries join both with a comma.
_SECONDS = re.compile(r"\d+(\s*,.*)?", re.ASCII)
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
#: RFC 3339, in upper or lower case. The offset may be missing, or have no colon.
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):?(\d\d))?", re.ASCII
)
#: A longer text is neither a date nor a timestamp, and must not fill the caches.
_MAX_TIMESTAMP_LENGTH = 64
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC; offsets are subtracted before it is used
_MIN_MICROS = (datetime.min - _EPOCH) // timedelta(microseconds=1)  # noqa: DTZ901 - as above
_MAX_MICROS = (datetime.max - _EPOCH) // timedelta(microseconds=1)  # noqa: DTZ901 - as above


# DAG files import the hook, so msgspec is loaded at its first use.
@functools.cache
def decoder(kind: Any = Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder of JSON of a type. A number with a fraction or an exponent becomes a `Decimal`."""
    import msgspec

    return msgspec.json.Decoder(kind, float_hook=Decimal)


@functools.cache
def encoder() -> msgspec.json.Encoder:
    """Return the encoder that writes a `Decimal` as a number with all its digits."""
    import msgspec

    return msgspec.json.Encoder(decimal_format="number")


def loads(body: bytes | str) -> Any:
    """Decode JSON. A number with a fraction or an exponent becomes a `Decimal` with the digits that were sent.

    A lone surrogate (half an emoji, as JavaScript writes it when it cuts a text) becomes the replacement character.

    :raises ValueError: with the reason, if it is not JSON.
    """
    try:
        return _loads(body)
    except ValueError:
        raw = body.encode() if isinstance(body, str) else body
        whole = replace_lone_surrogates(raw)
        if whole == raw:
            raise
    return _loads(whole)


def replace_lone_surrogates(body: bytes) -> bytes:
    """Return JSON with the replacement character for every lone surrogate, which is not valid UTF-8."""
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], body)


def _loads(body: bytes | str) -> Any:
    import msgspec

    try:
        return decoder().decode(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, ArithmeticError) as error:
        raise ValueError(str(error)) from error


def dumps(value: Any) -> bytes:
    """Encode as JSON. A `Decimal` becomes a number with all its digits.

    :raises ValueError: a number is not finite, or a text holds a lone surrogate.
    """
    _check_finite(value)
    return encoder().encode(value)


def _check_finite(value: Any) -> None:
    """Refuse numbers that msgspec would write as ``null`` or as invalid JSON."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for entry in value:
            _check_finite(entry)
    finite = (
        value.is_finite() if isinstance(value, Decimal) else not isinstance(value, float) or isfinite(value)
    )
    if not finite:
        raise ValueError(f"the number {value}")


class Timestamp(NamedTuple):
    """A timestamp: microseconds since 1970 in UTC, the day as written, and whether nothing of the text is lost."""

    micros: int
    day: date
    exact: bool


def parse_date(value: object) -> date | None:
    """Return the date of a text such as ``2026-03-31``, or None."""
    return _parse_date(value) if type(value) is str and len(value) <= _MAX_TIMESTAMP_LENGTH else None


def parse_timestamp(value: object) -> Timestamp | None:
    """Return the timestamp of a text such as ``2026-03-31T08:15:30.250Z``, or None. Without an offset, it is UTC."""
    return _parse_timestamp(value) if type(value) is str and len(value) <= _MAX_TIMESTAMP_LENGTH else None


def epoch_seconds(value: object) -> float | None:
    """Return the seconds since 1970 of a timestamp, or None."""
    timestamp = parse_timestamp(value)
    return None if timestamp is None else timestamp.micros / 1_000_000


@functools.lru_cache(maxsize=4_096)
def _parse_date(value: str) -> date | None:
    match = _DATE.fullmatch(value)
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None


@functools.lru_cache(maxsize=4_096)
def _parse_timestamp(value: str) -> Timestamp | None:
    match = _TIMESTAMP.fullmatch(value)
    day = _parse_date(match[1]) if match else None
    if match is None or day is None:
        return None
    hour, minute, second = int(match[2]), int(match[3]), int(match[4])
    fraction, offset_hours, offset_minutes = match[5] or "", int(match[8] or 0), int(match[9] or 0)
    if hour > 23 or minute > 59 or second > 59 or offset_hours > 23 or offset_minutes > 59:
        return None
    offset = timedelta(hours=offset_hours, minutes=offset_minutes) * (-1 if match[7] == "-" else 1)
    since = timedelta(days=day.toordinal() - _EPOCH.toordinal(), hours=hour, minutes=minute, seconds=second)
    micros = (since - offset) // timedelta(microseconds=1) + int(fraction[:6].ljust(6, "0"))
    if not _MIN_MICROS <= micros <= _MAX_MICROS:
        return None
    return Timestamp(micros, day, not fraction[6:].strip("0") and bool(match[6] or match[7]))


@functools.lru_cache(maxsize=64)  # many answers have the same date
def parse_http_date(text: str | None) -> float | None:
    """Return the epoch seconds of an HTTP date (RFC 9110, 5.6.7), or None."""
    try:
        date = parsedate_to_datetime(text or "")
        return (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def parse_retry_after(text: str | None, now: float | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header in either form (RFC 9110, 10.2.3), or None.

    :param now: the server's clock (its ``Date`` header). The date form is relative to it, so a wrong local clock
        has no effect.
    """
    if not text:
        return None
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text.partition(",")[0])
    date = parse_http_date(text)
    return max(0.0, date - now) if date is not None and now is not None else None
