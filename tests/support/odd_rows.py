"""Rows as an API might send them on its worst day, as JSON, and what they say, read by the standard library alone."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from airflow_provider_banksync.export.formats.factory import open_format
from airflow_provider_banksync.export.formats.schema import SCHEMAS, ColumnType
from airflow_provider_banksync.extract.rows import RowBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_banksync.export.formats.base import RowWriter

NUMBERS = [
    "0",
    "-0",
    "-0.00",
    "1.50",
    "-3851.14",
    "1E+400",
    "1e-400",
    "1E+5",
    "0E+500",
    "0.000000000000000001",
    "0.0000000000000000001",
    "-99999999999999999999.999999999999999999",
    "100000000000000000000",
    "1.000000000000000001",
    "0." + "0" * 60 + "1",
    "1." + "0" * 60,
    "9" * 38,
    "9" * 400,
    "9" * 5_000,
    "1E+999999999",
    "1E-999999999",
    "1E+99999999999999999999",
    "9223372036854775807",
    "9223372036854775808",
    "3.0",
    "3.5",
]
TEXTS = [
    "",
    " ",
    "=1+1",
    "+1",
    "-1",
    "@SUM(1)",
    "\ta",
    "\ra",
    "\na",
    "\0a",
    "\t=1",
    "\r=1",
    "\n=1",
    "\0=1",
    "'=1",
    "''+1",
    "'",
    "'a",
    " =1",
    "\u00a0=1",
    "\u200b=1",
    "\ufeff=1",
    "\uff1d1",
    "\uff0d1",
    "a,b",
    'a"b',
    '"',
    '""',
    "a\r\nb",
    "a\nb",
    "a\rb",
    "\u05e9\u05dc\u05d5\u05dd \u200f(\u05e2\u05d1\u05e8\u05d9\u05ea)",
    "\U0001f9fe\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "é",
    "e\u0301",
    "NULL",
    "null",
    "None",
    "NaN",
    "true",
    "1.50",
    "1E+400",
    "\\",
    "\\N",
    "\\u0041",
    "\u2028",
    "\x01\x1f\x7f\x85",
    "2024-02-29",
    "2023-02-29",
    "2024-2-9",
    "0000-01-01",
    "\u0662\u0660\u0662\u0664-\u0660\u0661-\u0660\u0661",
    "2024-02-29T23:59:59.123456Z",
    "2024-02-29T23:59:59.1234567Z",
    "2024-02-29T23:59:59.120000000+05:30",
    "2024-02-29 23:59:59",
    "2024-02-29T24:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00",
    "2024-06-30T23:59:60Z",
    '{"a":1}',
    "x" * 3_000,
]

#: Ids that a path must not be made of as they are.
ODD_IDS = [
    "..",
    ".",
    "",
    "../../etc",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a b",
    "ünï",
    "x" * 500,
    "%2e%2e",
    "a\x00b",
    "\ud800",
    "CON",
    "nul.txt",
    "trailing.",
    "\u0430\u0430\u0430",  # Cyrillic, which looks like Latin
]

texts = st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8"), max_size=30)
numbers = st.sampled_from(NUMBERS) | st.from_regex(
    r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
json_texts = st.builds(lambda value, plain: json.dumps(value, ensure_ascii=not plain), texts, st.booleans())
plain = st.one_of(st.sampled_from(["null", "true", "false"]), numbers, json_texts)


def _object(fields: list[tuple[str, str]]) -> str:
    """Write an object; of fields with the same name, the last."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in dict(fields).items()) + "}"


anything = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]")
        | st.lists(st.tuples(texts, inner), max_size=3).map(_object)
    ),
    max_leaves=6,
)
#: The kinds of columns that take a text which means such a value.
LOOSE = {ColumnType.DECIMAL, ColumnType.INTEGER, ColumnType.BOOL}
_FITTING = {
    ColumnType.TEXT: json_texts,
    ColumnType.DATE: st.dates().map(lambda day: json.dumps(day.isoformat())),
    ColumnType.TIMESTAMP: st.datetimes().map(lambda at: json.dumps(at.isoformat(timespec="microseconds") + "Z")),
    ColumnType.DECIMAL: st.decimals(
        allow_nan=False, allow_infinity=False, places=18, min_value=Decimal(-(10**19)), max_value=Decimal(10**19)
    ).map(lambda number: format(number, "f")),
    ColumnType.INTEGER: st.integers(0, 10**9).map(str),
    ColumnType.BOOL: st.sampled_from(["true", "false"]),
    ColumnType.JSON: anything,
}  # fmt: skip


def rows(resource: str) -> st.SearchStrategy[bytes]:
    """Make rows of a resource: each field there or not, and of its type or not; and fields that nobody knows."""
    known = st.sampled_from(SCHEMAS[resource]).flatmap(
        lambda column: st.tuples(st.just(column.name), _FITTING[column.kind] | anything)
    )
    unknown = st.tuples(st.sampled_from(["extra", "Amount", "=name", "fxRate"]) | texts, anything)
    return st.lists(known | known | known | unknown, max_size=24).map(lambda fields: _object(fields).encode())


def write(
    raw: Sequence[bytes],
    file_format: str,
    compression: str | None = None,
    *,
    resource: str = "transactions",
    pieces: Sequence[int] = (),
    **options: Any,
) -> bytes:
    """Write rows, and return the file.

    :param pieces: how many rows come in each batch, which is flushed if that is due; the rest in one.
    """
    stream = io.BytesIO()
    writer = open_format(file_format, compression, resource, **options).writer(stream)
    rest = RowBatch(list(raw))
    for size in pieces:
        batch, rest = rest.split(size)
        add(writer, batch)
    add(writer, rest)
    writer.close()
    return stream.getvalue()


def add(writer: RowWriter, batch: RowBatch) -> None:
    """Add rows to a writer, and flush it if that is due."""
    if writer.add(batch):
        writer.flush()


class Number(str):
    """A number as it is written."""

    __slots__ = ()


def read(raw: bytes | str) -> dict[str, Any]:
    """Return what a row says; a number as its text."""
    fields = json.loads(raw, parse_float=Number, parse_int=Number)
    assert isinstance(fields, dict)
    return fields


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same; numbers by what they are worth, to the last digit."""
    if isinstance(one, Number) and isinstance(other, Number):
        return worth(one) == worth(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def means(cell: Any, sent: Any) -> bool:
    """Tell whether a cell of a column of numbers or flags says what was sent, perhaps as text."""
    if isinstance(sent, (Number, str)) and not isinstance(cell, bool) and cell not in ("true", "false"):
        try:
            return worth(str(cell)) == worth(sent.strip().lstrip("+"))
        except ValueError:  # a text that is no number
            return str(cell) == sent
    return isinstance(sent, (bool, str)) and str(cell).lower() == str(sent).lower()


def worth(number: str) -> tuple[bool, str, int]:
    """Return a number's sign, its digits without zeros at either end, and its exponent; a zero has no exponent."""
    mantissa, _, exponent = number.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    bare = digits.rstrip("0")
    if not bare:
        return (False, "", 0)
    return (number.startswith("-"), bare, int(exponent or 0) - len(fraction) + len(digits) - len(bare))
