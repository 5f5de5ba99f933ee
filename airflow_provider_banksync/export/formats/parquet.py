"""Parquet: each column has its type, amounts are exact decimals, row groups do not depend on batches."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_banksync.export.formats import values
from airflow_provider_banksync.export.formats.arrow_columns import build_arrays, repeat_text
from airflow_provider_banksync.export.formats.base import DrainFile
from airflow_provider_banksync.export.formats.schema import EXTRA, SCHEMAS, Column, ColumnType
from airflow_provider_banksync.export.formats.values import DECIMAL_PRECISION, DECIMAL_SCALE, ExtraFields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_banksync.export.formats.base import ByteStream
    from airflow_provider_banksync.export.formats.values import Converter
    from airflow_provider_banksync.extract.rows import Row, RowBatch

#: A row group ends with the row that reaches one of these: rows, or bytes of JSON. One row group is in memory for each
#: account that is being read. With 8 MiB, an export of large accounts took 60 MB more.
_GROUP_ROWS = 10_000
_GROUP_BYTES = 5 * 256 * 1024
#: After this many row groups, their size doubles, a few times. The footer describes each column of each row group,
#: and is in memory until the file ends. Without this, four million rows of one account took 40 MB more.
_GROUPS_PER_SIZE = 64
_DOUBLINGS = 3
#: Bytes of one write.
_CHUNK = 64 * 1024

_TYPES: dict[ColumnType, pa.DataType] = {
    ColumnType.TEXT: pa.string(),
    ColumnType.DATE: pa.date32(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    ColumnType.DECIMAL: pa.decimal128(DECIMAL_PRECISION, DECIMAL_SCALE),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.BOOL: pa.bool_(),
    ColumnType.JSON: pa.string(),
}
_CONVERTERS: dict[ColumnType, Converter] = {
    ColumnType.TEXT: values.fit_text,
    ColumnType.DATE: values.fit_date,
    ColumnType.TIMESTAMP: values.fit_timestamp,
    ColumnType.DECIMAL: values.fit_decimal,
    ColumnType.INTEGER: values.fit_integer,
    ColumnType.BOOL: values.fit_bool,
    ColumnType.JSON: values.json_text,
}
#: For these types, pyarrow refuses a value that does not fit. It changes numbers: 3.5 to 3, and 1E-77 to 0,
#: and 1E-999999999 ends the process.
_CHECKED_BY_ARROW = frozenset({ColumnType.TEXT, ColumnType.BOOL})


def schema(resource: str, constants: Iterable[str] = ()) -> pa.Schema:
    """Return the schema of all files of a resource.

    :param constants: names of text columns before the last one.
    """
    fields = [pa.field(name, _TYPES[kind]) for name, kind in SCHEMAS[resource]]
    return pa.schema([*fields, *(pa.field(name, pa.string()) for name in (*constants, EXTRA))])


@cache
def _encoder() -> ThreadPoolExecutor:
    """Return the one thread that encodes: Arrow keeps memory for each thread that has used it."""
    return ThreadPoolExecutor(1, "banksync-parquet")


os.register_at_fork(after_in_child=_encoder.cache_clear)  # a forked process has no such thread


class ParquetWriter:
    """Writes rows as Parquet. `ExtraFields` go to the last column.

    :param constants: text columns before the last one, with the same value in all rows.
    """

    def __init__(
        self,
        stream: ByteStream,
        resource: str,
        compression: str | None,
        constants: Mapping[str, str | None] | None = None,
    ) -> None:
        self._stream = stream
        self._resource = resource
        self._columns = SCHEMAS[resource]
        self.unfit: Counter[str] = Counter()
        self._constants = list((constants or {}).values())
        self._schema = schema(resource, constants or {})
        self._file = DrainFile()
        # Without a buffer, each small write would take the interpreter lock.
        self._buffer = pa.BufferedOutputStream(pa.PythonFile(self._file, mode="w"), _CHUNK)
        self._writer = pq.ParquetWriter(self._buffer, self._schema, compression=compression or "snappy")
        self._group: list[pa.RecordBatch] = []
        self._full_groups: list[list[pa.RecordBatch]] = []
        self._rows = self._bytes = self._groups = 0

    def add(self, batch: RowBatch) -> bool:
        """Add rows. Return whether they fill a row group.

        Arrays are made here, in the calling thread. That needs the interpreter lock, for which another thread would
        have to wait. Encoding does not need it.
        """
        while len(batch):
            now, batch = batch.split(self._rows_until_full(batch))
            arrays = None if now.is_decoded else build_arrays(now.raw, self._columns, _TYPES)
            if arrays is None:
                arrays = fit_columns(now, self._resource, self.unfit)
            else:
                arrays.append(pa.nulls(len(now), pa.string()))
            arrays[-1:-1] = [repeat_text(text, len(now)) for text in self._constants]
            self._group.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._rows += len(now)
            self._bytes += now.size
            factor = self._group_factor()
            if self._rows >= _GROUP_ROWS * factor or self._bytes >= _GROUP_BYTES * factor:
                self._full_groups.append(self._group)
                self._group, self._rows, self._bytes = [], 0, 0
                self._groups += 1
        return bool(self._full_groups)

    def flush(self) -> None:
        """Write the full row groups."""
        while self._full_groups:
            _encoder().submit(self._encode, self._full_groups.pop(0)).result()
            self._stream.write(self._file.drain())

    def close(self) -> None:
        """Write the last rows, and the footer."""
        if self._group:
            self._full_groups.append(self._group)
        self.flush()
        _encoder().submit(self._end).result()
        self._stream.write(self._file.drain())

    def _rows_until_full(self, batch: RowBatch) -> int:
        """Return how many of the rows belong to this row group: at least one."""
        factor = self._group_factor()
        sizes = list(accumulate(map(len, batch.raw[: _GROUP_ROWS * factor - self._rows])))
        return min(bisect_left(sizes, _GROUP_BYTES * factor - self._bytes) + 1, len(sizes))

    def _group_factor(self) -> int:
        """Return how many times larger than the first row group this one is."""
        return 1 << min(self._groups // _GROUPS_PER_SIZE, _DOUBLINGS)

    def _encode(self, group: list[pa.RecordBatch]) -> None:
        # Combined, because the pages of the file would show where the batches ended.
        table = pa.Table.from_batches(group, self._schema).combine_chunks()
        group.clear()
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._buffer.flush()

    def _end(self) -> None:
        self._writer.close()
        self._buffer.flush()


def build_columns(batch: RowBatch, resource: str, unfit: Counter[str]) -> list[pa.Array]:
    """Return an array for each column of a resource, and for `EXTRA`.

    :param unfit: counts the values of each column that do not fit it.
    """
    if not batch.is_decoded and (arrays := build_arrays(batch.raw, SCHEMAS[resource], _TYPES)) is not None:
        return [*arrays, pa.nulls(len(batch), pa.string())]
    return fit_columns(batch, resource, unfit)


def fit_columns(batch: RowBatch, resource: str, unfit: Counter[str]) -> list[pa.Array]:
    """Return the same as `build_columns`, also if values do not fit theirs, or rows have unknown fields."""
    rows = batch.rows()
    extra = ExtraFields(rows, resource)
    found = [_array(column, rows, extra) for column in SCHEMAS[resource]]
    unfit.update(extra.unfit)
    return [*found, pa.array(extra.to_json(), pa.string())]


def _array(column: Column, rows: list[Row], extra: ExtraFields) -> pa.Array:
    name, kind = column
    if kind in _CHECKED_BY_ARROW:
        try:
            return pa.array([row.get(name) for row in rows], _TYPES[kind])
        except (pa.ArrowException, ValueError, TypeError):
            pass  # one value does not fit
    return pa.array(extra.fit_column(name, _CONVERTERS[kind]), _TYPES[kind])
