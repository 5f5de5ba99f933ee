"""Rows between the API and a file: the JSON that was sent, decoded only if a format needs values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.exceptions import BankSyncResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Row = dict[str, Any]

#: The errors that mean that Python has no value for this JSON.
_DECODE_ERRORS = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class RowBatch:
    """Some rows, in the order in which the API sent them.

    :param raw: a JSON object for each row: UTF-8, no line break, every digit as it was sent.
    """

    raw: Sequence[bytes]
    _rows: list[Row] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def from_rows(cls, rows: Iterable[Row]) -> RowBatch:
        """Return a batch of decoded rows. A number with a fraction must be a `Decimal`."""
        rows = list(rows)
        return cls([codec.encoder().encode(row) for row in rows], rows)

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def size(self) -> int:
        """Number of bytes of JSON."""
        return sum(map(len, self.raw))

    @property
    def is_decoded(self) -> bool:
        """Whether the rows are decoded already."""
        return bool(self._rows)

    def split(self, size: int) -> tuple[RowBatch, RowBatch]:
        """Return the first `size` rows, and the rest."""
        return (
            RowBatch(self.raw[:size], self._rows[:size]),
            RowBatch(self.raw[size:], self._rows[size:]),
        )

    def rows(self) -> list[Row]:
        """Return the rows as values. A number with a fraction or an exponent is a `Decimal` with every digit.

        A number that Python cannot hold (thousands of digits, an exponent of 20 digits) stays a `msgspec.Raw`.

        :raises BankSyncResponseError: if a row is not an object.
        """
        if not self._rows and self.raw:
            try:
                rows = codec.decoder(list[dict[str, Any]]).decode(b"[" + b",".join(self.raw) + b"]")
            except _DECODE_ERRORS:
                rows = list(map(_decode_row_by_row, self.raw))
            self._rows.extend(rows)
        return self._rows


def _decode_row_by_row(raw: bytes) -> Row:
    """Decode a row that may have fields which cannot be decoded."""
    decoder = codec.decoder(dict[str, msgspec.Raw])
    try:
        fields = decoder.decode(raw)
    except _DECODE_ERRORS:
        try:
            fields = decoder.decode(codec.replace_lone_surrogates(bytes(raw)))
        except _DECODE_ERRORS as error:
            raise BankSyncResponseError(f"a row is not a JSON object: {error}.") from error
    return {name: _decode_value(value) for name, value in fields.items()}


def _decode_value(raw: msgspec.Raw) -> Any:
    try:
        return codec.decoder().decode(raw)
    except _DECODE_ERRORS:
        return raw
