"""Rows on their way from the API into files: as JSON, and only where a format needs it as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.api.pages import check_owner
from airflow_provider_banksync.exceptions import BankSyncResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import msgspec

    Row = dict[str, Any]


@cache
def _decoder() -> msgspec.json.Decoder[list[Row]]:
    import msgspec

    return msgspec.json.Decoder(list[dict[str, Any]], float_hook=Decimal)


@cache
def _fields_decoder() -> msgspec.json.Decoder[dict[str, msgspec.Raw]]:
    import msgspec

    return msgspec.json.Decoder(dict[str, msgspec.Raw])


@cache
def _value_decoder() -> msgspec.json.Decoder[Any]:
    import msgspec

    return msgspec.json.Decoder(float_hook=Decimal)


def _undecodable() -> tuple[type[Exception], ...]:
    """Return what is raised where Python has nothing for what was sent."""
    import msgspec

    return (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)


@cache
def _encoder() -> msgspec.json.Encoder:
    import msgspec

    return msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True)
class Batch:
    """Some rows, in the order in which the API gave them.

    :param raw: a JSON object for each row, UTF-8, every digit as it was sent, without a line break in it.
    :param owner: where that, and whose the rows are, has yet to be seen: see `api.pages.check_owner`.
    """

    raw: Sequence[bytes]
    _rows: list[Row] = field(default_factory=list, compare=False, repr=False)
    owner: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Batch:
        """Return a batch of rows that are values already; a number with a fraction is a `Decimal`."""
        rows = list(rows)
        return cls([_encoder().encode(row) for row in rows], rows)

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def size(self) -> int:
        """How many bytes of JSON the rows are."""
        return sum(map(len, self.raw))

    @property
    def decoded(self) -> bool:
        """Whether the rows are there as values already."""
        return bool(self._rows)

    def split(self, size: int) -> tuple[Batch, Batch]:
        """Return the first `size` rows, and the others."""
        return (
            Batch(self.raw[:size], self._rows[:size], self.owner),
            Batch(self.raw[size:], self._rows[size:], self.owner),
        )

    def rows(self) -> list[Row]:
        """Return the rows as values; a number with a fraction or an exponent is a `Decimal` with every digit.

        A number of which Python makes none, with thousands of digits or with an exponent of twenty, stays a
        `msgspec.Raw`, as it was sent.

        :raises BankSyncResponseError: a row is another's, or is no object.
        """
        if not self._rows and self.raw:
            try:
                rows = _decoder().decode(b"[" + b",".join(self.raw) + b"]")
            except _undecodable():
                rows = list(map(_careful, self.raw))
            check_owner(rows, self.owner)
            self._rows.extend(rows)
        return self._rows


def _careful(raw: bytes) -> Row:
    """Decode a row in which there may be something that cannot be decoded."""
    try:
        fields = _fields_decoder().decode(raw)
    except _undecodable():
        try:
            fields = _fields_decoder().decode(codec.mended(bytes(raw)))
        except _undecodable() as error:
            raise BankSyncResponseError(f"a row is no JSON object: {error}.") from error
    return {name: _value(value) for name, value in fields.items()}


def _value(raw: msgspec.Raw) -> Any:
    try:
        return _value_decoder().decode(raw)
    except _undecodable():
        return raw
