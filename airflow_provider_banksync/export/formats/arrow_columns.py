"""Converts rows into Arrow arrays, a column at a time, if every value fits its column. Nearly all rows do.

The last line of `_decimal_array` turns an amount into a decimal: Arrow casts the digits that the API sent. No float is
involved.
"""

from __future__ import annotations

import re
from array import array
from datetime import date
from functools import cache, lru_cache
from itertools import chain, repeat
from operator import is_, is_not
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_banksync.export.formats.schema import ColumnType
from airflow_provider_banksync.export.formats.values import DoesNotFit, fit_date

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_banksync.export.formats.schema import Columns

#: The JSON types of a column. Columns of other types take the slow way.
_DECODED_AS: dict[ColumnType, Any] = {
    ColumnType.TEXT: str | None,
    ColumnType.DATE: str | None,
    ColumnType.DECIMAL: Any,
    ColumnType.BOOL: bool | None,
}
#: A number of this length has at most 20 digits before the point and 18 after it, so it fits a column.
#: Arrow turns a longer one into another number without an error.
_MAX_NUMBER_LENGTH = 20
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
#: Joins texts that become an array in one step. A text that contains it takes the slow way.
_SEPARATOR = "\0"
_EPOCH = date(1970, 1, 1).toordinal()


def build_arrays(
    raw: Sequence[bytes],
    columns: Columns,
    types: dict[ColumnType, pa.DataType],
) -> list[pa.Array] | None:
    """Return an array for each column; None if a row has another field, or a value that may not fit its column.

    :param raw: a JSON object for each row; at least one.
    """
    if not _is_supported(columns):
        return None
    try:
        rows = _decoder(columns).decode_lines(b"\n".join(raw))
        # Each tuple is freed before the next is made. A thousand tuples in memory would start the garbage collector.
        flat = list(chain.from_iterable(map(msgspec.structs.astuple, rows)))
        by_name = {name: flat[at :: len(columns)] for at, (name, _) in enumerate(columns)}
        return [_BUILDERS[kind](by_name[name], types[kind]) for name, kind in columns]
    except (msgspec.MsgspecError, pa.ArrowException, ValueError, RecursionError, DoesNotFit):
        return None


@cache
def _is_supported(columns: Columns) -> bool:
    return all(kind in _DECODED_AS for _, kind in columns)


@cache
def _decoder(columns: Columns) -> msgspec.json.Decoder[Any]:
    fields = [(name, _DECODED_AS[kind], None) for name, kind in columns]
    # A number with a fraction becomes the bytes that were sent. So it differs from every text.
    return msgspec.json.Decoder(
        msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False), float_hook=str.encode
    )


# Arrays are made of buffers, because pa.array and pa.scalar import pandas if it is installed: 0.5 s and 40 MB.


def _text_array(values: list[str | None], _type: pa.DataType) -> pa.Array:
    first = values[0]
    size = len(values)
    if values.count(first) == size:  # such as the ids and the currency of an account
        return repeat_text(first, size)
    try:
        return _split_array(_SEPARATOR.join(values).encode(), size)  # type: ignore[arg-type]
    except TypeError:  # one of them is None
        texts = _split_array(_SEPARATOR.join([value or "" for value in values]).encode(), size)
        return _with_nulls(values, texts)


def _decimal_array(values: list[Any], data_type: pa.DataType) -> pa.Array:
    kinds = set(map(type, values))
    if str in kinds:
        values = [_digits(value) if type(value) is str else value for value in values]
        kinds = kinds - {str} | {bytes}
    if not kinds <= {bytes, int, type(None)}:
        raise DoesNotFit
    if int in kinds:
        values = [b"%d" % value if type(value) is int else value for value in values]
    has_nulls = type(None) in kinds
    digits = _SEPARATOR.encode().join([value or b"" for value in values] if has_nulls else values)
    texts = _split_array(digits, len(values))
    # Arrow ends the process for some exponents.
    if pc.max(pc.binary_length(texts)).as_py() > _MAX_NUMBER_LENGTH or b"e" in digits or b"E" in digits:
        raise DoesNotFit
    return (_with_nulls(values, texts) if has_nulls else texts).cast(data_type)


def _digits(text: str) -> bytes:
    """Return a number that was sent as text as if it was sent as a number."""
    if not _PLAIN_NUMBER.fullmatch(text):
        raise DoesNotFit
    return text.encode()


def _date_array(values: list[str | None], data_type: pa.DataType) -> pa.Array:
    days = array("i", list(map(_epoch_day, values)))  # faster from a list than from a generator
    return pa.Array.from_buffers(data_type, len(values), [_validity(values), pa.py_buffer(days)])


@lru_cache(maxsize=4_096)
def _epoch_day(value: str | None) -> int:
    return 0 if value is None else fit_date(value).toordinal() - _EPOCH


def _bool_array(values: list[bool | None], data_type: pa.DataType) -> pa.Array:
    flags = _bitmap(map(is_, values, repeat(True)))
    return pa.Array.from_buffers(data_type, len(values), [_validity(values), flags])


def _single_text(text: bytes) -> pa.Array:
    """Return an array of one text."""
    ends = pa.py_buffer(array("i", (0, len(text))))
    return pa.Array.from_buffers(pa.string(), 1, [None, ends, pa.py_buffer(text)])


def repeat_text(text: str | None, size: int) -> pa.Array:
    """Return an array that repeats a text or null."""
    if text is None:
        return pa.nulls(size, pa.string())
    return pa.repeat(_single_text(text.encode())[0], size)


def _split_array(joined: bytes, size: int) -> pa.Array:
    """Return an array of texts that were joined."""
    texts = pc.split_pattern(_single_text(joined), _SEPARATOR).values
    if len(texts) != size:
        raise DoesNotFit
    return texts


def _with_nulls(values: list[Any], texts: pa.Array) -> pa.Array:
    """Return the texts with a null for each None among the values."""
    return pa.Array.from_buffers(texts.type, len(values), [_validity(values), *texts.buffers()[1:]])


def _validity(values: list[Any]) -> pa.Buffer | None:
    """Return Arrow's bitmap of the values that are not null; None if none is."""
    return _bitmap(map(is_not, values, repeat(None))) if None in values else None


def _bitmap(flags: Iterable[bool]) -> pa.Buffer:
    octets = bytes(flags)
    counts = pa.Array.from_buffers(pa.uint8(), len(octets), [None, pa.py_buffer(octets)])
    return counts.cast(pa.bool_()).buffers()[1]


_BUILDERS: dict[ColumnType, Callable[[list[Any], pa.DataType], pa.Array]] = {
    ColumnType.TEXT: _text_array,
    ColumnType.DATE: _date_array,
    ColumnType.DECIMAL: _decimal_array,
    ColumnType.BOOL: _bool_array,
}
