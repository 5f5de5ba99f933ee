"""Rows straight into Arrow arrays, where each field is what its column holds: nearly all rows are such."""

from __future__ import annotations

from array import array
from datetime import date
from functools import cache, lru_cache
from itertools import chain, repeat
from operator import is_, is_not
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_banksync.export import values
from airflow_provider_banksync.export.schema import Kind
from airflow_provider_banksync.export.values import Unfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

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
#: What texts are joined by, to become an array in one go; one that has it in itself takes the slower way.
_SEPARATOR = "\0"
_EPOCH = date(1970, 1, 1).toordinal()


def arrays(
    raw: Sequence[bytes],
    columns: Columns,
    types: dict[Kind, pa.DataType],
    owner: Mapping[str, str] = MappingProxyType({}),
) -> list[pa.Array] | None:
    """Return an array for each column; None where a row has another field, or a value that may not fit its column.

    :param raw: a JSON object for each row; one at least.
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


# Of buffers, because pa.array and pa.scalar load pandas where it is installed: half a second, and 40 MB.


def _texts(sent: list[str | None], held: pa.DataType) -> pa.Array:
    first = sent[0]
    if sent.count(first) == len(sent):  # those of an account, and its currency
        return pa.nulls(len(sent), held) if first is None else pa.repeat(_one(first.encode())[0], len(sent))
    try:
        return _split(_SEPARATOR.join(sent).encode(), len(sent))  # type: ignore[arg-type]
    except TypeError:  # None is among them
        return _where_sent(sent, _split(_SEPARATOR.join([each or "" for each in sent]).encode(), len(sent)))


def _numbers(sent: list[Any], held: pa.DataType) -> pa.Array:
    kinds = set(map(type, sent))
    if not kinds <= {bytes, int, type(None)}:
        raise Unfit
    if int in kinds:
        sent = [b"%d" % each if type(each) is int else each for each in sent]
    some = type(None) in kinds
    digits = _SEPARATOR.encode().join([each or b"" for each in sent] if some else sent)
    numbers = _split(digits, len(sent))
    # Some exponents end the process.
    if pc.max(pc.binary_length(numbers)).as_py() > _LONGEST_NUMBER or b"e" in digits or b"E" in digits:
        raise Unfit
    return (_where_sent(sent, numbers) if some else numbers).cast(held)


def _days(sent: list[str | None], held: pa.DataType) -> pa.Array:
    days = array("i", list(map(_day, sent)))  # a list is taken in one go
    return pa.Array.from_buffers(held, len(sent), [_which(sent), pa.py_buffer(days)])


@lru_cache(maxsize=4_096)
def _day(sent: str | None) -> int:
    return 0 if sent is None else values.day(sent).toordinal() - _EPOCH


def _flags(sent: list[bool | None], held: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(held, len(sent), [_which(sent), _bits(map(is_, sent, repeat(True)))])


def _one(text: bytes) -> pa.Array:
    """Return an array of one text."""
    ends = pa.py_buffer(array("i", (0, len(text))))
    return pa.Array.from_buffers(pa.string(), 1, [None, ends, pa.py_buffer(text)])


def _split(joined: bytes, size: int) -> pa.Array:
    """Return an array of the texts that were joined."""
    texts = pc.split_pattern(_one(joined), _SEPARATOR).values
    if len(texts) != size:
        raise Unfit
    return texts


def _where_sent(sent: list[Any], texts: pa.Array) -> pa.Array:
    """Return the texts without those in whose place None was sent."""
    return pa.Array.from_buffers(texts.type, len(sent), [_which(sent), *texts.buffers()[1:]])


def _which(sent: list[Any]) -> pa.Buffer | None:
    """Return what tells Arrow where there is a value; None where there is one everywhere."""
    return _bits(map(is_not, sent, repeat(None))) if None in sent else None


def _bits(flags: Iterable[bool]) -> pa.Buffer:
    octets = bytes(flags)
    counts = pa.Array.from_buffers(pa.uint8(), len(octets), [None, pa.py_buffer(octets)])
    return counts.cast(pa.bool_()).buffers()[1]


_MAKE: dict[Kind, Callable[[list[Any], pa.DataType], pa.Array]] = {
    Kind.TEXT: _texts,
    Kind.DAY: _days,
    Kind.NUMBER: _numbers,
    Kind.FLAG: _flags,
}
