"""Rows straight into Arrow arrays, where each field is what its column holds: nearly all rows are such."""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_banksync.export import values
from airflow_provider_banksync.export.schema import Kind
from airflow_provider_banksync.export.values import Unfit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

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


def arrays(
    raw: Sequence[bytes],
    columns: Columns,
    types: dict[Kind, pa.DataType],
    owner: Mapping[str, str] = MappingProxyType({}),
) -> list[pa.Array] | None:
    """Return an array for each column; None where a row has another field, or a value that may not fit its column.

    :param raw: a JSON object for each row.
    :param owner: fields that say whose the rows are, with their values; None where one does not say so.
    """
    if not _are_quick(columns):
        return None
    try:
        rows = _decoder(columns).decode_lines(b"\n".join(raw))
        # Each tuple is gone before the next one is there: a thousand of them would busy the garbage collector.
        flat = list(chain.from_iterable(map(msgspec.structs.astuple, rows)))
        sent = {name: flat[at :: len(columns)] for at, (name, _) in enumerate(columns)}
        if any(sent[name].count(wanted) != len(rows) for name, wanted in owner.items()):
            return None
        return [_MAKE[kind](sent[name], types[kind]) for name, kind in columns]
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


def _as_they_are(sent: list[Any], held: pa.DataType) -> pa.Array:
    if sent.count(sent[0]) == len(sent):  # those of an account, and its currency
        return pa.repeat(pa.scalar(sent[0], held), len(sent))
    return pa.array(sent, held)


def _days(sent: list[str | None], held: pa.DataType) -> pa.Array:
    return pa.array(list(map(_day, sent)), held)


@lru_cache(maxsize=4_096)
def _day(sent: str | None) -> date | None:
    return None if sent is None else values.day(sent)


def _numbers(sent: list[Any], held: pa.DataType) -> pa.Array:
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


_MAKE: dict[Kind, Callable[[list[Any], pa.DataType], pa.Array]] = {
    Kind.TEXT: _as_they_are,
    Kind.DAY: _days,
    Kind.NUMBER: _numbers,
    Kind.FLAG: _as_they_are,
}
