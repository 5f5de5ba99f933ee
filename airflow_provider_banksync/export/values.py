"""Whether a value is what its column holds; where it is not, what can be said of it there, and that it goes to `extra`.

A value that does not fit is kept as it was sent, in `extra`, under its own name. So nothing is lost, one odd row does
not cost the others their file, and a column of amounts holds amounts only.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_banksync.export.schema import EXTRA

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_banksync.export.rows import Row
    from airflow_provider_banksync.export.schema import Columns

    #: From a value, never None, to what the column holds; raises `Unfit`.
    Fit = Callable[[Any], Any]

_DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):?(\d\d))?", re.ASCII
)
#: Longer than any day or instant: it need not be looked at, nor remembered.
_LONGEST_MOMENT = 64
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC; what is reckoned with it has its offset taken off
_FIRST = (datetime.min - _EPOCH) // timedelta(microseconds=1)  # noqa: DTZ901 - as above
_LAST = (datetime.max - _EPOCH) // timedelta(microseconds=1)  # noqa: DTZ901 - as above


class Unfit(Exception):  # noqa: N818 - no error: it says where else the value goes
    """The value is not, or not wholly, what its column holds.

    :param said: what the column holds of it all the same.
    """

    def __init__(self, said: Any = None) -> None:
        super().__init__()
        self.said = said


class Moment(NamedTuple):
    """An instant: microseconds since 1970 in UTC, its day as written, and whether that is all that was written."""

    micros: int
    day: date
    exact: bool


class Leftovers:
    """The fields of some rows that have no column, or whose value does not fit theirs."""

    def __init__(self, rows: Sequence[Row], columns: Columns) -> None:
        self._rows = rows
        self._names: dict[int, set[str]] = {}
        known = {column.name for column in columns}
        for number, row in enumerate(rows):
            if not row.keys() <= known:
                self._names[number] = row.keys() - known

    def fitted(self, name: str, fit: Fit, *, nothing: Any = None) -> list[Any]:
        """Return the values of a column, `nothing` where there is none; those that do not fit are left over."""
        values: list[Any] = []
        for number, row in enumerate(self._rows):
            value = row.get(name)
            if value is None:
                values.append(nothing)
                continue
            try:
                values.append(fit(value))
            except Unfit as unfit:
                values.append(nothing if unfit.said is None else unfit.said)
                self._names.setdefault(number, set()).add(name)
        return values

    def extra(self) -> list[str | None]:
        """Return the `extra` of each row, in the order in which its fields were sent; None where nothing is left."""
        values: list[str | None] = [None] * len(self._rows)
        for number, names in self._names.items():
            values[number] = json_text(
                {name: _finite(value) for name, value in self._rows[number].items() if name in names}
            )
        return values


def names(columns: Columns) -> list[str]:
    """Return the names of the columns of a file, `EXTRA` the last."""
    return [*(column.name for column in columns), EXTRA]


@cache
def _encode() -> Callable[[Any], bytes]:
    import msgspec

    return msgspec.json.Encoder(decimal_format="number").encode


def json_text(value: Any) -> str:
    """Return a value as JSON, every number with all its digits."""
    return _encode()(value).decode("utf-8", "replace")


def _finite(value: Any) -> Any:
    """Return a number that there is not in JSON, such as NaN, as text."""
    if isinstance(value, Decimal):
        return value if value.is_finite() else str(value)
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def text(value: Any) -> str:
    """Fit a text."""
    if type(value) is str:
        return value
    raise Unfit


def flag(value: Any) -> bool:
    """Fit true or false."""
    if value is True or value is False:
        return value
    raise Unfit


def day(value: Any) -> date:
    """Fit a day. Of an instant, its day as it is written is said."""
    read = _read_day(value) if type(value) is str and len(value) <= _LONGEST_MOMENT else None
    if read is not None:
        return read
    read_moment = moment(value)
    raise Unfit(read_moment.day if read_moment else None)


@lru_cache(maxsize=4_096)
def _read_day(value: str) -> date | None:
    match = _DAY.fullmatch(value)
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None


def instant(value: Any) -> int:
    """Fit an instant, as microseconds since 1970 in UTC.

    Of more than six digits of a second, six are said; what has no offset is said as in UTC.
    """
    read = moment(value)
    if read is not None and read.exact:
        return read.micros
    raise Unfit(read.micros if read else None)


def moment(value: Any) -> Moment | None:
    """Read an instant; None where the value is none."""
    return _read_moment(value) if type(value) is str and len(value) <= _LONGEST_MOMENT else None


@lru_cache(maxsize=4_096)
def _read_moment(value: str) -> Moment | None:
    match = _INSTANT.fullmatch(value)
    written = _read_day(match[1]) if match else None
    if match is None or written is None:
        return None
    hour, minute, second = int(match[2]), int(match[3]), int(match[4])
    fraction, ahead, behind = match[5] or "", int(match[8] or 0), int(match[9] or 0)
    if hour > 23 or minute > 59 or second > 59 or ahead > 23 or behind > 59:
        return None
    offset = timedelta(hours=ahead, minutes=behind) * (-1 if match[7] == "-" else 1)
    since = timedelta(
        days=written.toordinal() - _EPOCH.toordinal(), hours=hour, minutes=minute, seconds=second
    )
    micros = (since - offset) // timedelta(microseconds=1) + int(fraction[:6].ljust(6, "0"))
    if not _FIRST <= micros <= _LAST:
        return None
    return Moment(micros, written, not fraction[6:].strip("0") and bool(match[6] or match[7]))


def nested(value: Any) -> str:
    """Fit anything, as JSON."""
    return json_text(value)
