"""Rows straight into Arrow arrays, where each field is what its column holds: nearly all rows are such."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

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
_FIRST_DAY = (date.min - date(1970, 1, 1)).days


def arrays(raw: Sequence[bytes], columns: Columns, types: dict[Kind, pa.DataType]) -> list[pa.Array] | None:
    """Return an array for each column; None where a row has another field, or a value that may not fit its column.

    :param raw: a JSON object for each row.
    """
    if not _are_quick(columns):
        return None
    try:
        rows = _decoder(columns).decode_lines(b"\n".join(raw))
        sent = zip(*map(msgspec.structs.astuple, rows), strict=True)
        return [_MAKE[kind](each, types[kind]) for each, (_, kind) in zip(sent, columns, strict=True)]
    except (msgspec.MsgspecError, pa.ArrowException, ValueError, RecursionError, Unfit):
        return None


@cache
def _are_quick(columns: Columns) -> bool:
    return all(kind in _READ for _, kind in columns)


@cache
def _decoder(columns: Columns) -> msgspec.json.Decoder[Any]:
    fields = [(name, _READ[kind], None) for name, kind in columns]
    # A number with a fraction becomes the bytes that were sent, which no text is.
    return msgspec.json.Decoder(
        msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False), float_hook=str.encode
    )


def _as_they_are(sent: Sequence[Any], held: pa.DataType) -> pa.Array:
    return pa.array(sent, held)


def _days(sent: Sequence[str | None], held: pa.DataType) -> pa.Array:
    days = pa.array(sent, pa.string()).cast(held)
    # Arrow knows of a year 0.
    if (pc.min(days.view(pa.int32())).as_py() or 0) < _FIRST_DAY:
        raise Unfit
    return days


def _numbers(sent: Sequence[Any], held: pa.DataType) -> pa.Array:
    kinds = set(map(type, sent))
    if not kinds <= {bytes, int, type(None)}:
        raise Unfit
    if int in kinds:
        sent = [b"%d" % each if type(each) is int else each for each in sent]
    numbers = pa.array(sent, pa.string())
    longest = pc.max(pc.binary_length(numbers)).as_py()
    if longest is None:
        return pa.nulls(len(sent), held)
    digits = numbers.buffers()[2].to_pybytes()
    # Some exponents end the process.
    if longest > _LONGEST_NUMBER or b"e" in digits or b"E" in digits:
        raise Unfit
    return numbers.cast(held)


_MAKE: dict[Kind, Callable[[Sequence[Any], pa.DataType], pa.Array]] = {
    Kind.TEXT: _as_they_are,
    Kind.DAY: _days,
    Kind.NUMBER: _numbers,
    Kind.FLAG: _as_they_are,
}
