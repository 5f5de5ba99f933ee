"""Rows straight into Arrow arrays, where each field is what its column holds: nearly all rows are such."""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from airflow_provider_banksync.export import values
from airflow_provider_banksync.export.schema import Kind
from airflow_provider_banksync.export.values import Unfit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_banksync.export.schema import Columns

#: What is read of JSON for a column; of other kinds there are no quick ones.
_READ: dict[Kind, Any] = {
    Kind.TEXT: str | None,
    Kind.DAY: str | None,
    Kind.NUMBER: Any,
    Kind.FLAG: bool | None,
}
#: What is written with so few characters has no more than the twenty digits before the point, and the eighteen behind
#: it, that a column holds. Of more Arrow makes, without a word, another number.
_LONGEST_NUMBER = 20


def arrays(raw: Sequence[bytes], columns: Columns, types: dict[Kind, pa.DataType]) -> list[pa.Array] | None:
    """Return an array for each column; None where a row has another field, or a value that may not fit its column.

    :param raw: a JSON object for each row.
    """
    if not _are_quick(columns):
        return None
    try:
        rows = _decoder(columns).decode(b"[" + b",".join(raw) + b"]")
        return [_MAKE[kind](list(map(attrgetter(name), rows)), types[kind]) for name, kind in columns]
    except (msgspec.MsgspecError, pa.ArrowException, ValueError, RecursionError, Unfit):
        return None


@cache
def _are_quick(columns: Columns) -> bool:
    return all(kind in _READ for _, kind in columns)


@cache
def _decoder(columns: Columns) -> msgspec.json.Decoder[list[Any]]:
    row = msgspec.defstruct(
        "Row", [(name, _READ[kind], None) for name, kind in columns], forbid_unknown_fields=True, gc=False
    )
    # A number with a fraction becomes the bytes that were sent, which no text is.
    return msgspec.json.Decoder(list[row], float_hook=str.encode)  # type: ignore[valid-type]


def _as_they_are(sent: list[Any], held: pa.DataType) -> pa.Array:
    return pa.array(sent, held)


def _days(sent: list[str | None], held: pa.DataType) -> pa.Array:
    for each in set(sent):
        if each is not None:
            values.day(each)
    return pa.array(sent, pa.string()).cast(held)


def _numbers(sent: list[Any], held: pa.DataType) -> pa.Array:
    kinds = set(map(type, sent))
    if not kinds <= {bytes, int, type(None)}:
        raise Unfit
    if int in kinds:
        sent = [b"%d" % each if type(each) is int else each for each in sent]
    there = list(filter(None, sent))
    digits = b"".join(there)
    # Some exponents end the process.
    if max(map(len, there), default=0) > _LONGEST_NUMBER or b"e" in digits or b"E" in digits:
        raise Unfit
    return pa.array(sent, pa.string()).cast(held)


_MAKE: dict[Kind, Callable[[list[Any], pa.DataType], pa.Array]] = {
    Kind.TEXT: _as_they_are,
    Kind.DAY: _days,
    Kind.NUMBER: _numbers,
    Kind.FLAG: _as_they_are,
}
