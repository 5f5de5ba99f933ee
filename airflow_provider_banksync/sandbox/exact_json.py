"""JSON without floats: ``12.50`` stays ``12.50``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any


@dataclass(slots=True)
class RawJson:
    """Encoded JSON, in pieces that ``encode`` copies unchanged."""

    pieces: Iterable[bytes]


# Written in full, 1e999999999 would fill the memory.
_LARGEST_EXPONENT = 400
_SCALARS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    int: str,
    Decimal: lambda number: format(number, "f"),
    bool: lambda flag: "true" if flag else "false",
    type(None): lambda _: "null",
}


def encode(value: object) -> bytes:
    """Encode a value as JSON. Decimals keep every digit. A float raises TypeError."""
    parts: list[str] = []
    done: list[bytes] = []
    _write(value, parts, done)
    done.append("".join(parts).encode())
    return b"".join(done)


def _write(value: object, parts: list[str], done: list[bytes]) -> None:
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        parts.append(scalar(value))
    elif isinstance(value, Mapping):
        opening = "{"
        for key, member in value.items():
            parts.append(f"{opening}{encode_basestring(key)}:")
            _write(member, parts, done)
            opening = ","
        parts.append("{}" if opening == "{" else "}")
    elif isinstance(value, (list, tuple)):
        opening = "["
        for member in value:
            parts.append(opening)
            _write(member, parts, done)
            opening = ","
        parts.append("[]" if opening == "[" else "]")
    elif isinstance(value, RawJson):
        done.append("".join(parts).encode())
        parts.clear()
        done.extend(value.pieces)
    else:
        raise TypeError(f"{type(value).__name__} has no exact JSON form")


def decode(body: bytes) -> object:
    """Decode a JSON body. Fractions become Decimals. Raises ValueError if it is not JSON."""
    return json.loads(body.decode("utf-8"), parse_float=_parse_fraction, parse_constant=_reject_constant)


def _parse_fraction(digits: str) -> Decimal:
    number = Decimal(digits)
    if abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError(f"a number with the exponent {number.adjusted()} is out of range")
    return number


def _reject_constant(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
