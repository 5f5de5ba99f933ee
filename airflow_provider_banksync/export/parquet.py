"""Parquet: each column of its type, amounts as exact decimals, row groups of a size that does not depend on batches."""

from __future__ import annotations

import os
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_banksync.export import plain, values
from airflow_provider_banksync.export.compression import Held
from airflow_provider_banksync.export.schema import EXTRA, SCHEMAS, Column, Kind
from airflow_provider_banksync.export.values import Leftovers, Unfit

if TYPE_CHECKING:
    from airflow_provider_banksync.export.formats import Stream
    from airflow_provider_banksync.export.rows import Batch, Row
    from airflow_provider_banksync.export.values import Fit

#: A row group ends with the row that fills it: with so many rows, or so many bytes of JSON. It is what is held in
#: memory, for each account that is being read: with 8 MiB, an export of accounts that fill it took 60 MB more.
_GROUP_ROWS = 10_000
_GROUP_BYTES = 5 * 256 * 1024
#: After so many row groups they become twice as large, and so again, a few times: a file's footer, which is held until
#: the file ends, says something of each column of each. Four million rows of one account took 40 MB more.
_GROUPS_OF_A_SIZE = 64
_DOUBLINGS = 3
#: So many bytes are passed on at once.
_PIECE = 64 * 1024
#: Eighteen digits for the fractions of a coin or a share, and twenty before them.
_PRECISION, _SCALE = 38, 18
_UNIT = Decimal(1).scaleb(-_SCALE)
#: Refuses what has more digits before the point, and what would lose one behind it.
_EXACT = Context(prec=_PRECISION, traps=[Inexact, InvalidOperation])
_LARGEST_COUNT = 2**63


def number(value: Any) -> Decimal:
    """Fit a number into decimal128(38, 18)."""
    if type(value) is int:
        value = Decimal(value)
    if not isinstance(value, Decimal) or not value.is_finite():
        raise Unfit
    try:
        return value.quantize(_UNIT, context=_EXACT)
    except ArithmeticError:
        raise Unfit from None


def count(value: Any) -> int:
    """Fit a whole number, which may be written 3.0, into int64."""
    fitted = number(value)
    if fitted != int(fitted) or not -_LARGEST_COUNT <= fitted < _LARGEST_COUNT:
        raise Unfit
    return int(fitted)


_TYPES: dict[Kind, pa.DataType] = {
    Kind.TEXT: pa.string(),
    Kind.DAY: pa.date32(),
    Kind.INSTANT: pa.timestamp("us", tz="UTC"),
    Kind.NUMBER: pa.decimal128(_PRECISION, _SCALE),
    Kind.COUNT: pa.int64(),
    Kind.FLAG: pa.bool_(),
    Kind.NESTED: pa.string(),
}
_FITS: dict[Kind, Fit] = {
    Kind.TEXT: values.text,
    Kind.DAY: values.day,
    Kind.INSTANT: values.instant,
    Kind.NUMBER: number,
    Kind.COUNT: count,
    Kind.FLAG: values.flag,
    Kind.NESTED: values.nested,
}
#: Of these pyarrow takes what fits, and refuses the rest. Not so of numbers: it takes 3.5 for the whole number 3 and
#: 1E-77 for nothing, and 1E-999999999 ends the process.
_STRICT = frozenset({Kind.TEXT, Kind.FLAG})


def schema(resource: str) -> pa.Schema:
    """Return the schema that all files of a resource have."""
    fields = [pa.field(name, _TYPES[kind]) for name, kind in SCHEMAS[resource]]
    return pa.schema([*fields, pa.field(EXTRA, pa.string())])


@cache
def _encoder() -> ThreadPoolExecutor:
    """Return the thread that encodes, one for all: Arrow keeps memory for each thread that has used it."""
    return ThreadPoolExecutor(1, "banksync-parquet")


os.register_at_fork(after_in_child=_encoder.cache_clear)  # the child has no such thread


class ParquetWriter:
    """Writes rows as Parquet; `Leftovers` go to the last column."""

    def __init__(self, stream: Stream, resource: str, compression: str | None) -> None:
        self._stream = stream
        self._columns = SCHEMAS[resource]
        self._schema = schema(resource)
        self._held = Held()
        # Every piece that is passed on to Python's own file takes Python's lock.
        self._sink = pa.BufferedOutputStream(pa.PythonFile(self._held, mode="w"), _PIECE)
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression=compression or "snappy")
        self._group: list[pa.RecordBatch] = []
        self._rows = self._bytes = self._groups = 0

    def write(self, batch: Batch) -> None:
        """Add rows."""
        while len(batch):
            taken, batch = batch.split(self._room(batch))
            self._take(_encoder().submit(self._record_batch, taken).result(), taken.size)
            if self._is_full(0, 0):
                self._flush()

    def hold(self, batch: Batch) -> bool:
        """Take rows that do not fill the row group.

        Their arrays are made at once, in the thread that calls: that takes Python's lock, which another thread would
        have to wait for. Encoding does not take it.
        """
        size = batch.size
        if self._is_full(len(batch), size):
            return False
        if len(batch):
            self._take(self._record_batch(batch), size)
        return True

    def close(self) -> None:
        """Write the last rows, and where each column is."""
        if self._group:
            self._flush()
        _encoder().submit(self._end).result()
        self._stream.write(self._held.take())

    def _is_full(self, rows: int, size: int) -> bool:
        most = self._times()
        return self._rows + rows >= _GROUP_ROWS * most or self._bytes + size >= _GROUP_BYTES * most

    def _times(self) -> int:
        """Return how many times as large as the first row group this one is."""
        return 1 << min(self._groups // _GROUPS_OF_A_SIZE, _DOUBLINGS)

    def _take(self, made: pa.RecordBatch, size: int) -> None:
        self._group.append(made)
        self._rows += made.num_rows
        self._bytes += size

    def _room(self, batch: Batch) -> int:
        """Return how many of the rows belong to this row group: at least one."""
        most = self._times()
        sizes = list(accumulate(map(len, batch.raw[: _GROUP_ROWS * most - self._rows])))
        return min(bisect_left(sizes, _GROUP_BYTES * most - self._bytes) + 1, len(sizes))

    def _record_batch(self, batch: Batch) -> pa.RecordBatch:
        arrays = None if batch.decoded else plain.arrays(batch.raw, self._columns, _TYPES, batch.owner)
        if arrays is not None:
            extra = pa.nulls(len(batch), pa.string())
        else:
            rows = batch.rows()
            left = Leftovers(rows, self._columns)
            arrays = [_array(column, rows, left) for column in self._columns]
            extra = pa.array(left.extra(), pa.string())
        return pa.RecordBatch.from_arrays([*arrays, extra], schema=self._schema)

    def _flush(self) -> None:
        _encoder().submit(self._encode).result()
        self._rows = self._bytes = 0
        self._groups += 1
        self._stream.write(self._held.take())

    def _encode(self) -> None:
        # In one piece: where its pieces end would show in the pages.
        table = pa.Table.from_batches(self._group, self._schema).combine_chunks()
        self._group.clear()
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._sink.flush()

    def _end(self) -> None:
        self._writer.close()
        self._sink.flush()


def _array(column: Column, rows: list[Row], left: Leftovers) -> pa.Array:
    name, kind = column
    if kind in _STRICT:
        try:
            return pa.array([row.get(name) for row in rows], _TYPES[kind])
        except (pa.ArrowException, ValueError, TypeError):
            pass  # one of them does not fit
    return pa.array(left.fitted(name, _FITS[kind]), _TYPES[kind])
