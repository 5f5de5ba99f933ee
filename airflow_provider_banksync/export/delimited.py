"""CSV as RFC 4180 has it: a header that is the same in all files of a resource, numbers plain, texts quoted."""

from __future__ import annotations

import re
import string
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export import values
from airflow_provider_banksync.export.schema import SCHEMAS, Kind
from airflow_provider_banksync.export.values import Leftovers, Unfit

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.export.compression import Sink
    from airflow_provider_banksync.export.rows import Batch
    from airflow_provider_banksync.export.values import Fit

_QUOTE = '"'
#: A number that would be longer, written without an exponent, is left to `extra`: 1E+999999999 is a thousand million
#: zeros.
_LONGEST_NUMBER = 1_000
#: What a spreadsheet may take for a formula: https://owasp.org/www-community/attacks/CSV_Injection. Also the
#: full-width and small forms of its characters, for some do not tell them apart; and behind what does not show (white
#: space, controls, and what Unicode lets a reader ignore), for some take that away first. One that has quotes before it
#: counts too: so to take one quote off undoes the escape.
_HIDDEN = (
    r"\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_SIGNS = r"=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"
_FORMULA = re.compile(rf"'*(?:[\t\r\n\0]|[{_HIDDEN}]*[{_SIGNS}])")
#: What nearly all texts begin with, which is quick to see.
_PLAIN = frozenset(string.ascii_letters + string.digits)


class CsvWriter:
    """Writes rows as CSV.

    Null is empty; a text is quoted, also when it is empty; a number and true and false are not; an object or a list is
    JSON. `Leftovers` go to the last column.
    """

    def __init__(self, sink: Sink, resource: str, *, escape_formulas: bool) -> None:
        self._sink = sink
        self._columns = SCHEMAS[resource]
        self._cells = _CELLS if escape_formulas else {**_CELLS, Kind.TEXT: _cell(values.text, quoted)}
        self._header: bytes | None = f"{','.join(values.names(self._columns))}\r\n".encode()

    def write(self, batch: Batch) -> None:
        """Add rows."""
        rows = batch.rows()
        left = Leftovers(rows, self._columns)
        columns: list[list[str]] = [
            left.fitted(name, self._cells[kind], nothing="") for name, kind in self._columns
        ]
        columns.append(["" if extra is None else quoted(extra) for extra in left.extra()])
        lines = [",".join(line) for line in zip(*columns, strict=True)]
        self._begin()
        self._sink.write("\r\n".join([*lines, ""]).encode())

    def hold(self, _batch: Batch) -> bool:
        """Say that rows are written as they come."""
        return False

    def close(self) -> None:
        """Write what is still held back."""
        self._begin()
        self._sink.close()

    def _begin(self) -> None:
        if self._header is not None:
            self._sink.write(self._header)
            self._header = None


def quoted(text: str) -> str:
    """Write a text in quotes, those in it twice."""
    return f'"{text.replace(_QUOTE, _QUOTE * 2)}"'


def escaped(text: str) -> str:
    """Write a text in quotes, and with one more ``'`` before it where a spreadsheet may take it for a formula."""
    harmless = text[:1] in _PLAIN or not _FORMULA.match(text)
    return quoted(text) if harmless else quoted(f"'{text}")


def _number(value: Any) -> str:
    """Write a number without an exponent, every digit as it was sent."""
    if type(value) is int:
        # Of more digits than this, Python would refuse to make a text.
        plain = str(value) if value.bit_length() <= _LONGEST_NUMBER * 3 else ""
    elif isinstance(value, Decimal) and value.is_finite():
        plain = str(value)
        if "E" in plain:
            plain = format(value, "f") if abs(value.adjusted()) <= _LONGEST_NUMBER else ""
    else:
        raise Unfit
    if not plain or len(plain) > _LONGEST_NUMBER:
        raise Unfit
    return plain


def _instant(value: Any) -> str:
    """Write an instant as it was sent, with every digit of its second and its own offset."""
    if values.moment(value) is None:
        raise Unfit
    return quoted(value)


def _nested(value: Any) -> str:
    """Write anything as JSON."""
    text = values.json_text(value)
    return quoted(text) if text[0] in '{["' else text


def _cell(fit: Fit, write: Callable[[Any], str]) -> Fit:
    def cell(value: Any) -> str:
        try:
            return write(fit(value))
        except Unfit as unfit:
            raise Unfit(None if unfit.said is None else write(unfit.said)) from None

    return cell


_CELLS: dict[Kind, Fit] = {
    Kind.TEXT: _cell(values.text, escaped),
    Kind.DAY: _cell(values.day, lambda day: quoted(day.isoformat())),
    Kind.INSTANT: _instant,
    Kind.NUMBER: _number,
    Kind.COUNT: _number,
    Kind.FLAG: _cell(values.flag, lambda flag: "true" if flag else "false"),
    Kind.NESTED: _nested,
}
