"""CSV by RFC 4180. All files of a resource have the same header. Numbers are plain, texts are quoted."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.export.formats import values
from airflow_provider_banksync.export.formats.schema import SCHEMAS, ColumnType
from airflow_provider_banksync.export.formats.values import MAX_NUMBER_LENGTH, DoesNotFit, ExtraFields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_banksync.export.formats.base import ByteSink
    from airflow_provider_banksync.export.formats.values import Converter
    from airflow_provider_banksync.extract.rows import RowBatch

_QUOTE = '"'
#: What a spreadsheet may take for a formula: https://owasp.org/www-community/attacks/CSV_Injection. Some spreadsheets
#: accept full-width and small forms of the signs, and some skip invisible characters before them (white space,
#: controls, and what Unicode calls ignorable). A text that begins with quotes counts too, so that removing one quote
#: undoes the escape.
_INVISIBLE = (
    r"\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_SIGNS = r"=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"
_FORMULA = re.compile(rf"'*(?:[\t\r\n\0]|[{_INVISIBLE}]*[{_SIGNS}])")
#: A fast test that nearly all texts pass.
_SAFE_FIRST_CHARACTERS = frozenset(string.ascii_letters + string.digits)


class CsvWriter:
    """Writes rows as CSV.

    Null is empty. Texts are quoted, even empty ones. Numbers, true and false are not. Objects and lists are JSON.
    `ExtraFields` go to the last column.

    :param constants: text columns before the last one, with the same value in all rows.
    """

    def __init__(
        self,
        sink: ByteSink,
        resource: str,
        constants: Mapping[str, str | None] | None = None,
        *,
        escape_formulas: bool,
        has_header: bool = True,
    ) -> None:
        self._sink = sink
        self._pending: list[RowBatch] = []
        self._resource = resource
        self._columns = SCHEMAS[resource]
        self.unfit: Counter[str] = Counter()
        self._cells = dict(_CELLS)
        if not escape_formulas:
            self._cells[ColumnType.TEXT] = _format_cell(values.fit_text, quote)
        format_text = self._cells[ColumnType.TEXT]
        self._constants = ["" if text is None else format_text(text) for text in (constants or {}).values()]
        self._header: bytes | None = header(resource, constants or {}) if has_header else None

    def add(self, batch: RowBatch) -> bool:
        """Add rows. Return True: `flush` turns them into text, which takes longer than writing the text."""
        self._pending.append(batch)
        return True

    def flush(self) -> None:
        """Write all rows."""
        self._write_header()
        for batch in self._pending:
            self._sink.write(self._format(batch))
        self._pending.clear()

    def _format(self, batch: RowBatch) -> bytes:
        rows = batch.rows()
        extra = ExtraFields(rows, self._resource)
        columns: list[list[str]] = [
            extra.fit_column(name, self._cells[kind], null="") for name, kind in self._columns
        ]
        columns += [[cell] * len(rows) for cell in self._constants]
        columns.append(["" if text is None else quote(text) for text in extra.to_json()])
        self.unfit.update(extra.unfit)
        lines = [",".join(line) for line in zip(*columns, strict=True)]
        return "\r\n".join([*lines, ""]).encode()

    def close(self) -> None:
        """Write what was held back."""
        self.flush()
        self._sink.close()

    def _write_header(self) -> None:
        if self._header is not None:
            self._sink.write(self._header)
            self._header = None


def header(resource: str, constants: Iterable[str] = ()) -> bytes:
    """Return the first line of all files of a resource.

    :param constants: names of text columns before the last one.
    """
    return f"{','.join(values.column_names(SCHEMAS[resource], constants))}\r\n".encode()


def quote(text: str) -> str:
    """Return a text in quotes, with each quote in it doubled."""
    return f'"{text.replace(_QUOTE, _QUOTE * 2)}"'


def escape_formula(text: str) -> str:
    """Return a text in quotes, after a ``'`` if a spreadsheet might take it for a formula."""
    is_safe = text[:1] in _SAFE_FIRST_CHARACTERS or not _FORMULA.match(text)
    return quote(text) if is_safe else quote(f"'{text}")


def _format_number(value: Any) -> str:
    """Return a number without an exponent, with every digit that was sent."""
    number = values.fit_number(value)
    if isinstance(number, int):
        # Python refuses to convert an int of too many digits.
        text = str(number) if number.bit_length() <= MAX_NUMBER_LENGTH * 3 else ""
    else:
        text = str(number)
        if "E" in text:
            text = format(number, "f") if abs(number.adjusted()) <= MAX_NUMBER_LENGTH else ""
    if not text or len(text) > MAX_NUMBER_LENGTH:
        raise DoesNotFit
    return text


def _format_timestamp(value: Any) -> str:
    """Return a timestamp as it was sent, with every digit of the second and its own offset."""
    if codec.parse_timestamp(value) is None:
        raise DoesNotFit
    return quote(value)


def _format_json(value: Any) -> str:
    text = values.json_text(value)
    return quote(text) if text[0] in '{["' else text


def _format_cell(fit: Converter, write: Callable[[Any], str]) -> Converter:
    def format_value(value: Any) -> str:
        try:
            return write(fit(value))
        except DoesNotFit as error:
            raise DoesNotFit(None if error.fallback is None else write(error.fallback)) from None

    return format_value


_CELLS: dict[ColumnType, Converter] = {
    ColumnType.TEXT: _format_cell(values.fit_text, escape_formula),
    ColumnType.DATE: _format_cell(values.fit_date, lambda day: quote(day.isoformat())),
    ColumnType.TIMESTAMP: _format_timestamp,
    ColumnType.DECIMAL: _format_number,
    ColumnType.INTEGER: _format_cell(values.fit_integer, str),
    ColumnType.BOOL: _format_cell(values.fit_bool, lambda flag: "true" if flag else "false"),
    ColumnType.JSON: _format_json,
}
