"""Whether a value fits its column, and what happens if it does not: it goes to the column ``extra`` as it was sent.

So nothing is lost, one odd row does not cost the others their file, and a column of amounts holds amounts only. A text
that is a number, or true or false, fits a column of these. Values that do not fit are counted.

An amount becomes a decimal in `fit_decimal`. For rows whose values all fit, which are nearly all rows, Parquet does the
same for a whole column at once, in `arrow_columns._decimal_array`.
"""

from __future__ import annotations

import re
from collections import Counter
from decimal import Context, Decimal, Inexact, InvalidOperation
from math import isfinite
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.export.formats.schema import DATES_SENT_AS_TIMESTAMPS, EXTRA, SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date

    from airflow_provider_banksync.export.formats.schema import Columns
    from airflow_provider_banksync.extract.rows import Row

    #: From a value, never None, to what the column holds. Raises `DoesNotFit`.
    Converter = Callable[[Any], Any]

#: The decimals of Parquet: 18 digits after the point, for fractions of a coin or a share, and 20 before it.
DECIMAL_PRECISION, DECIMAL_SCALE = 38, 18
_UNIT = Decimal(1).scaleb(-DECIMAL_SCALE)
#: Refuses a number with more digits on either side of the point.
_EXACT = Context(prec=DECIMAL_PRECISION, traps=[Inexact, InvalidOperation])
_MAX_INTEGER = 2**63
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*", re.ASCII)
#: A number that is longer than this goes to `extra`. 1E+999999999 would need 10^9 zeros in CSV.
MAX_NUMBER_LENGTH = 1_000
_FLAGS = {"true": True, "false": False}


class DoesNotFit(Exception):  # noqa: N818 - not an error: the value goes to another column
    """The value is not what its column holds, or not completely.

    :param fallback: what the column holds instead; None: null.
    """

    def __init__(self, fallback: Any = None) -> None:
        super().__init__()
        self.fallback = fallback


class ExtraFields:
    """The fields of some rows of a resource that have no column, or whose value does not fit theirs."""

    def __init__(self, rows: Sequence[Row], resource: str) -> None:
        #: How many values of each column do not fit it. A day that is sent as a timestamp is not one of them, if the
        #: API is known to do so.
        self.unfit: Counter[str] = Counter()
        self._rows = rows
        self._resource = resource
        self._names: dict[int, set[str]] = {}
        known = {column.name for column in SCHEMAS[resource]}
        for number, row in enumerate(rows):
            if not row.keys() <= known:
                self._names[number] = row.keys() - known

    def fit_column(self, name: str, fit: Converter, *, null: Any = None) -> list[Any]:
        """Return the values of a column, and remember those that do not fit.

        :param null: what stands for a missing value.
        """
        values: list[Any] = []
        for number, row in enumerate(self._rows):
            value = row.get(name)
            if value is None:
                values.append(null)
                continue
            try:
                values.append(fit(value))
            except DoesNotFit as error:
                values.append(null if error.fallback is None else error.fallback)
                self._names.setdefault(number, set()).add(name)
                if error.fallback is None or (self._resource, name) not in DATES_SENT_AS_TIMESTAMPS:
                    self.unfit[name] += 1
        return values

    def to_json(self) -> list[str | None]:
        """Return the extra fields of each row, in the order in which they were sent; None if there are none."""
        texts: list[str | None] = [None] * len(self._rows)
        for number, names in self._names.items():
            texts[number] = json_text(
                {name: _finite(value) for name, value in self._rows[number].items() if name in names}
            )
        return texts


def column_names(columns: Columns, constants: Iterable[str] = ()) -> list[str]:
    """Return the names of the columns of a file. The last is `EXTRA`."""
    return [*(column.name for column in columns), *constants, EXTRA]


def json_text(value: Any) -> str:
    """Return a value as JSON, with every digit of its numbers."""
    return codec.encoder().encode(value).decode("utf-8", "replace")


def _finite(value: Any) -> Any:
    """Return a number that JSON does not have, such as NaN, as text."""
    if isinstance(value, Decimal):
        return value if value.is_finite() else str(value)
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def fit_text(value: Any) -> str:
    """Return a text."""
    if type(value) is str:
        return value
    raise DoesNotFit


def fit_bool(value: Any) -> bool:
    """Return true or false, which may be sent as text."""
    if type(value) is str:
        value = _FLAGS.get(value.lower())
    if value is True or value is False:
        return value
    raise DoesNotFit


def fit_number(value: Any) -> int | Decimal:
    """Return a number with every digit. It may be sent as text: ``"12.50"``, ``"+5"`` or ``"1e3"``."""
    if type(value) is int:
        return value
    if type(value) is str and len(value) <= MAX_NUMBER_LENGTH and (match := _NUMBER.fullmatch(value)):
        try:
            value = Decimal(match[1])
        except ArithmeticError:  # an exponent of 20 digits
            raise DoesNotFit from None
    if not isinstance(value, Decimal) or not value.is_finite():
        raise DoesNotFit
    return value


def fit_decimal(value: Any) -> Decimal:
    """Return a number as an exact decimal of 18 digits after the point."""
    try:
        return Decimal(fit_number(value)).quantize(_UNIT, context=_EXACT)
    except ArithmeticError:
        raise DoesNotFit from None


def fit_integer(value: Any) -> int:
    """Return a whole number of 64 bits, which may be written 3.0."""
    number = fit_decimal(value)
    if number != int(number) or not -_MAX_INTEGER <= number < _MAX_INTEGER:
        raise DoesNotFit
    return int(number)


def fit_date(value: Any) -> date:
    """Return a date. The fallback for a timestamp is its day, as written."""
    found = codec.parse_date(value)
    if found is not None:
        return found
    timestamp = codec.parse_timestamp(value)
    raise DoesNotFit(timestamp.day if timestamp else None)


def fit_timestamp(value: Any) -> int:
    """Return a timestamp in microseconds since 1970 in UTC.

    The fallback has six digits of the second, and takes a timestamp without an offset for UTC.
    """
    timestamp = codec.parse_timestamp(value)
    if timestamp is not None and timestamp.exact:
        return timestamp.micros
    raise DoesNotFit(timestamp.micros if timestamp else None)
