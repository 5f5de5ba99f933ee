"""Bytes to values and back, without losing a digit; timestamps and HTTP dates to seconds."""

from __future__ import annotations

import functools
import re
from datetime import datetime, timezone
from decimal import Decimal
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import msgspec

#: A JSON escape: a whole surrogate pair, half of one, or any other.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
#: Seconds; also twice, as a header that was sent twice is joined.
_SECONDS = re.compile(r"\d+(\s*,.*)?", re.ASCII)
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?$")


# msgspec is loaded at the first use, not at import: the hook is imported by DAG files, too.
@functools.cache
def _decoder() -> msgspec.json.Decoder[Any]:
    import msgspec

    return msgspec.json.Decoder(float_hook=Decimal)


@functools.cache
def _encoder() -> msgspec.json.Encoder:
    import msgspec

    return msgspec.json.Encoder(decimal_format="number")


def loads(body: bytes | str) -> Any:
    """Decode JSON; a number with a fraction or an exponent becomes a `Decimal` with the digits that were sent.

    Half an emoji, as JavaScript writes it where it cuts a text, becomes the replacement character: it is no reason to
    lose the rest.

    :raises ValueError: when it is not JSON, with the reason.
    """
    try:
        return _loads(body)
    except ValueError:
        raw = body.encode() if isinstance(body, str) else body
        whole = mended(raw)
        if whole == raw:
            raise
    return _loads(whole)


def mended(body: bytes) -> bytes:
    """Return JSON with the replacement character for every half of one, of which no text can be made."""
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], body)


def _loads(body: bytes | str) -> Any:
    import msgspec

    try:
        return _decoder().decode(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, ArithmeticError) as error:
        raise ValueError(str(error)) from error


def dumps(value: Any) -> bytes:
    """Encode as JSON; a `Decimal` becomes a number with all its digits.

    :raises ValueError: when a number in it is not finite, or a text holds half a character.
    """
    _check_finite(value)
    return _encoder().encode(value)


def _check_finite(value: Any) -> None:
    """Refuse what msgspec would write as ``null``, or as no JSON at all."""
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


def parse_instant(text: object) -> float | None:
    """Seconds since the epoch of an ISO 8601 timestamp as the API writes it; None when it is not one.

    A timestamp without an offset counts as UTC.
    """
    match = _INSTANT.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    offset = "+00:00" if offset in (None, "Z") else offset
    if len(offset) == 5:
        offset = f"{offset[:3]}:{offset[3:]}"
    micros = (fraction or "")[:6].ljust(6, "0")
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{micros}{offset}").timestamp()
    except (ValueError, OverflowError):
        return None


@functools.lru_cache(maxsize=64)  # each answer has one, and many have the same
def parse_http_date(text: str | None) -> float | None:
    """Seconds since the epoch of an HTTP date (RFC 9110, 5.6.7); None when it is not one."""
    try:
        date = parsedate_to_datetime(text or "")
        return (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def parse_retry_after(text: str | None, now: float | None) -> float | None:
    """Seconds to wait by a ``Retry-After`` header in either form (RFC 9110, 10.2.3); None when it does not say.

    :param now: the server's own clock (its ``Date`` header); the date form needs it, so that a wrong local clock
        does no harm.
    """
    if not text:
        return None
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text.partition(",")[0])
    date = parse_http_date(text)
    return max(0.0, date - now) if date is not None and now is not None else None
