"""JSON in and out without a float on the way: ``12.50`` leaves as ``12.50``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Written:
    """JSON already, in pieces that go out as they stand."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = pieces


# Written out in full, 1e999999999 would fill the memory.
_LARGEST_EXPONENT = 400
_CONSTANTS = {None: "null", True: "true", False: "false"}


def encode(value: object) -> bytes:
    """Write rows as JSON. Decimals keep every digit they have; a float is a mistake and refused."""
    parts: list[str] = []
    done: list[bytes] = []
    _write(value, parts, done)
    done.append("".join(parts).encode())
    return b"".join(done)


def _write(value: object, parts: list[str], done: list[bytes]) -> None:
    if isinstance(value, str):
        parts.append(encode_basestring(value))
    elif value is None or isinstance(value, bool):
        parts.append(_CONSTANTS[value])
    elif isinstance(value, Mapping):
        _write_object(value, parts, done)
    elif isinstance(value, (list, tuple)):
        _write_array(value, parts, done)
    elif isinstance(value, int):
        parts.append(str(value))
    elif isinstance(value, Decimal):
        parts.append(format(value, "f"))
    elif isinstance(value, Written):
        done.append("".join(parts).encode())
        parts.clear()
        done.extend(value.pieces)
    else:
        raise TypeError(f"{type(value).__name__} has no exact JSON form")


def _write_object(value: Mapping[str, object], parts: list[str], done: list[bytes]) -> None:
    opening = "{"
    for key, member in value.items():
        parts.append(f"{opening}{encode_basestring(key)}:")
        _write(member, parts, done)
        opening = ","
    parts.append("{}" if opening == "{" else "}")


def _write_array(value: list[object] | tuple[object, ...], parts: list[str], done: list[bytes]) -> None:
    opening = "["
    for member in value:
        parts.append(opening)
        _write(member, parts, done)
        opening = ","
    parts.append("[]" if opening == "[" else "]")


def decode(body: bytes) -> object:
    """Read a JSON body; ValueError where it is none. Fractions come in as Decimals."""
    return json.loads(body.decode("utf-8"), parse_float=_fraction, parse_constant=_refuse)


def _fraction(digits: str) -> Decimal:
    number = Decimal(digits)
    if abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError(f"a number with the exponent {number.adjusted()} is not for an API")
    return number


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
