"""Parquet, read back by pyarrow and by DuckDB: each value is in its column or in `extra`, to the last digit."""

from __future__ import annotations

import io
import itertools
import json
import random
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_banksync.export.formats import arrow_columns, parquet
from airflow_provider_banksync.export.formats.schema import SCHEMAS, Column, ColumnType
from airflow_provider_banksync.extract.rows import RowBatch
from tests.support.odd_rows import (
    LOOSE,
    Number,
    add,
    json_texts,
    means,
    numbers,
    read,
    rows,
    same,
    worth,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path

RESOURCES = tuple(SCHEMAS)


def table(raw: list[bytes], resource: str = "transactions", **options: Any) -> pa.Table:
    return pq.read_table(pa.BufferReader(write(raw, "parquet", resource=resource, **options)))


def one(resource: str = "transactions", **fields: Any) -> dict[str, Any]:
    """Write one row of these fields, each as JSON, and return what is read back."""
    row = "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items()) + "}"
    (back,) = table([row.encode()], resource).to_pylist()
    return {name: value for name, value in back.items() if value is not None}


def written(batch: RowBatch, resource: str) -> bytes:
    stream = io.BytesIO()
    writer = parquet.ParquetWriter(stream, resource, None)
    add(writer, batch)
    writer.close()
    return stream.getvalue()


def said(kind: ColumnType, cell: Any) -> Any:
    """Return what a cell says, as the JSON of it would be read."""
    if kind in (ColumnType.DECIMAL, ColumnType.INTEGER):
        return Number(str(cell))
    return read_any(cell) if kind is ColumnType.JSON else cell


def read_any(text: str) -> Any:
    return read(f'{{"value":{text}}}')["value"]


def instant(text: str) -> datetime:
    """Read an instant in the form that odd rows have where it fits: six digits or fewer, and an offset."""
    head, fraction, offset = text[:19], "", text[19:].replace("Z", "+00:00").replace("z", "+00:00")
    if offset.startswith("."):
        fraction, offset = offset[1:-6], offset[-6:]
    hours, minutes = int(offset[1:3]), int(offset[-2:])
    shift = timedelta(hours=hours, minutes=minutes) * (-1 if offset[0] == "-" else 1)
    moment = datetime.fromisoformat(f"{head[:10]}T{head[11:]}")
    return moment.replace(microsecond=int(fraction[:6].ljust(6, "0") or 0), tzinfo=timezone(shift))


def fits(kind: ColumnType, cell: Any, sent: Any) -> bool:
    """Tell whether a cell is the whole of what was sent."""
    if kind is ColumnType.DATE:
        return isinstance(sent, str) and cell == date.fromisoformat(sent) and cell.isoformat() == sent
    if kind is ColumnType.TIMESTAMP:
        return isinstance(sent, str) and cell == instant(sent)
    return same(said(kind, cell), sent) or (kind in LOOSE and means(cell, sent))


@pytest.mark.parametrize("resource", ["transactions", "balances", "jobs"])
def test_every_value_is_in_its_column_or_in_extra(resource: str) -> None:
    kinds = dict(SCHEMAS[resource])

    @settings(deadline=None, max_examples=40)
    @given(st.lists(rows(resource), min_size=1, max_size=6))
    def check(raw: list[bytes]) -> None:
        back = table(raw, resource)
        assert back.schema.equals(parquet.schema(resource))
        for row, cells in zip(raw, back.to_pylist(), strict=True):
            sent, extra = read(row), read(cells.pop("extra") or "{}")
            assert list(extra) == [name for name in sent if name in extra], (
                "in the order in which they were sent"
            )
            for name, value in sent.items():
                if name in extra:
                    assert same(extra[name], value), name
                elif value is None:
                    assert cells[name] is None
                else:
                    assert fits(kinds[name], cells[name], value), name
            assert all(cells[name] is None for name in cells if name not in sent)
            assert extra.keys() >= sent.keys() - kinds.keys()

    check()


@pytest.mark.parametrize("resource", RESOURCES)
def test_what_fits_is_in_its_column_alone(resource: str) -> None:
    examples = {
        ColumnType.TEXT: '"text"',
        ColumnType.DATE: '"2024-02-29"',
        ColumnType.TIMESTAMP: '"2024-02-29T23:59:59.250Z"',
        ColumnType.DECIMAL: "-99999999999999999999.999999999999999999",
        ColumnType.INTEGER: "9223372036854775807",
        ColumnType.BOOL: "false",
        ColumnType.JSON: '{"a":[1.50,null]}',
    }
    values = {
        ColumnType.TEXT: "text",
        ColumnType.DATE: date(2024, 2, 29),
        ColumnType.TIMESTAMP: datetime(2024, 2, 29, 23, 59, 59, 250_000, tzinfo=timezone.utc),
        ColumnType.DECIMAL: Decimal("-99999999999999999999.999999999999999999"),
        ColumnType.INTEGER: 2**63 - 1,
        ColumnType.BOOL: False,
        ColumnType.JSON: '{"a":[1.50,null]}',
    }
    columns = SCHEMAS[resource]
    assert one(resource, **{name: examples[kind] for name, kind in columns}) == {
        name: values[kind] for name, kind in columns
    }
    assert one(resource, **{name: "null" for name, _ in columns}) == {}


@pytest.mark.parametrize(
    "number",
    ["1.50", "0", "-0.00", "0E+500", "1E+19", "12E-18", "1." + "0" * 60, "0.000000000000000001", "3", "-7e3"],
)
def test_a_number_that_fits(number: str) -> None:
    back = one(amount=number)
    assert back.keys() == {"amount"}
    assert worth(str(back["amount"])) == worth(number)


@pytest.mark.parametrize(
    "number",
    [
        *(
            "1E+20",
            "100000000000000000000",
            "1E-19",
            "0.1234567890123456789",
            "1E+400",
            "9" * 38,
            "9" * 5_000,
        ),
        *("1E+999999999", "1E+99999999999999999999", "1E-999999999", "1E-77", "1.%s1" % ("0" * 5_000)),
        *('"1,50"', '"n/a"', "true", "[1]", "{}", '"NaN"'),
    ],
)
def test_a_number_that_does_not_is_in_extra(number: str) -> None:
    back = one(amount=number, debitAmount="1.50")
    assert back.keys() == {"debitAmount", "extra"}
    assert same(read(back["extra"]), read(f'{{"amount":{number}}}'))


@pytest.mark.parametrize(
    ("number", "count"), [("3", 3), ("3.0", 3), ("1e3", 1000), ("-9223372036854775808", -(2**63))]
)
def test_a_count(number: str, count: int) -> None:
    assert one("jobs", transactionsWritten=number) == {"transactionsWritten": count}


@pytest.mark.parametrize("number", ["3.5", "9223372036854775808", "true", '"3.5"', "1E+400"])
def test_no_count(number: str) -> None:
    assert one("jobs", transactionsWritten=number).keys() == {"extra"}


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-02-29T23:30:00Z", date(2024, 2, 29)),
        ("2024-02-29T23:30:00-05:00", date(2024, 2, 29)),  # as it is written
        ("2024-02-29 23:30:00", date(2024, 2, 29)),
        ("2023-02-29", None),
        ("2024-2-9", None),
        ("20240209", None),
        ("2024-W01-1", None),
        ("\u0662\u0660\u0662\u0664-\u0660\u0661-\u0660\u0661", None),
        ("0000-01-01", None),
        ("", None),
        ("yesterday", None),
    ],
)
def test_a_day_that_is_none(text: str, day: date | None) -> None:
    back = one(date=json.dumps(text))
    assert (back.get("date"), json.loads(back["extra"])) == (day, {"date": text})


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2024-02-29T23:59:59Z", 0),
        ("2024-02-29t23:59:59z", 0),
        ("2024-02-29T23:59:59.120000000Z", 120_000),
        ("2024-03-01T05:29:59.000001+05:30", 1),
        ("2024-02-29T18:59:59-0500", 0),
    ],
)
def test_an_instant(text: str, micros: int) -> None:
    moment = datetime(2024, 2, 29, 23, 59, 59, micros, tzinfo=timezone.utc)
    assert one("banks", createdAt=json.dumps(text)) == {"createdAt": moment}


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("2024-02-29T23:59:59.0000001Z", 59),  # of seven digits six are said
        ("2024-02-29T23:59:59", 59),  # what has no offset is said as in UTC
        ("2024-02-29", None),
        ("2024-02-30T00:00:00Z", None),
        ("2024-02-29T24:00:00Z", None),
        ("2024-06-30T23:59:60Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("2024-02-29T23:59:59+24:00", None),
        ("2024-02-29T23:59:59Z" + " " * 100, None),
    ],
)
def test_an_instant_that_is_not_wholly_one(text: str, second: int | None) -> None:
    back = one("banks", createdAt=json.dumps(text))
    assert json.loads(back["extra"]) == {"createdAt": text}
    expected = second and datetime(2024, 2, 29, 23, 59, second, tzinfo=timezone.utc)
    assert back.get("createdAt") == expected


@pytest.mark.parametrize("resource", ["transactions", "trades", "holdings"])
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_the_quick_way_and_the_careful_one_give_the_same(resource: str, data: st.DataObject) -> None:
    fitting = {
        column.name: st.none()
        | {
            ColumnType.DECIMAL: numbers,
            ColumnType.TEXT: json_texts,
            ColumnType.BOOL: st.sampled_from(["true", "false"]),
            ColumnType.DATE: st.dates().map(lambda day: json.dumps(day.isoformat())),
        }[column.kind]
        for column in SCHEMAS[resource]
    }
    some = data.draw(st.lists(st.fixed_dictionaries(fitting) | rows(resource), min_size=1, max_size=3))
    raw = [
        row
        if isinstance(row, bytes)
        else f"{{{','.join(f'{json.dumps(name)}:{value}' for name, value in row.items() if value)}}}".encode()
        for row in some
    ]
    careful = RowBatch(raw)
    careful.rows()
    assert written(RowBatch(raw), resource) == written(careful, resource)


def test_the_quick_way_gives_each_number_as_it_is_or_leaves_it_alone() -> None:
    column, types = (Column("amount", ColumnType.DECIMAL),), {ColumnType.DECIMAL: pa.decimal128(38, 18)}
    rng = random.Random(7)
    taken = 0
    for before, behind in itertools.product(range(1, 42), range(24)):
        whole = str(rng.randrange(10 ** (before - 1), 10**before))
        text = f"-{whole}.{rng.randrange(10**behind):0{behind}d}" if behind else whole
        arrays = arrow_columns.build_arrays([f'{{"amount":{text}}}'.encode()], column, types)
        if arrays is not None:
            taken += 1
            assert worth(str(arrays[0][0].as_py())) == worth(text), text
    assert taken > 150


def test_an_ordinary_row_takes_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RowBatch, "rows", lambda _: pytest.fail("it was taken apart"))
    row = b'{"id":"t1","date":"2026-03-02","amount":-12.50,"creditAmount":0,"pending":false,"reference":null}'
    assert len(table([row] * 3)) == 3


def test_ordinary_rows_of_all_kinds_take_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RowBatch, "rows", lambda _: pytest.fail("they were taken apart"))
    values: dict[ColumnType, list[Any]] = {
        ColumnType.TEXT: [None, "", "caf\u00e9 \u20ac", 'a "b"\n\t\x01', "\U0001f9fe", "x" * 300],
        ColumnType.DATE: [
            None,
            date(1, 1, 1),
            date(1969, 12, 31),
            date(1970, 1, 1),
            date(2024, 2, 29),
            date(9999, 12, 31),
        ],
        ColumnType.DECIMAL: [
            None,
            Decimal("-12.50"),
            Decimal(0),
            Decimal("0.000000000000000001"),
            Decimal(10**18),
        ],
        ColumnType.BOOL: [None, True, False],
    }
    columns = SCHEMAS["transactions"]
    rng = random.Random(7)

    def cell(number: int, kind: ColumnType) -> Any:
        """Return a value for a column: of one without a gap, of one with gaps, or the same in all rows."""
        some = (values[kind][1:], values[kind], values[kind][:1], values[kind][-1:])
        return rng.choice(some[number % 4])

    sent = [{name: cell(number, kind) for number, (name, kind) in enumerate(columns)} for _ in range(500)]

    def text(value: Any) -> str:
        if isinstance(value, Decimal):
            return f"{value:f}"
        return json.dumps(value.isoformat() if isinstance(value, date) else value)

    raw = ["{" + ",".join(f'"{name}":{text(value)}' for name, value in row.items()) + "}" for row in sent]
    back = table([row.encode() for row in raw])
    assert back.drop_columns(["extra"]).to_pylist() == sent


WITHOUT_PANDAS = """
import io, sys
from airflow_provider_banksync.export.formats.parquet import ParquetWriter
from airflow_provider_banksync.extract.rows import RowBatch

writer = ParquetWriter(io.BytesIO(), "transactions", None)
writer.add(RowBatch([b'{"id":"a","date":"2026-03-02","amount":-1.50,"pending":true}', b'{"id":"b"}', b'{"id":null}']))
writer.close()
sys.exit("pandas" in sys.modules)
"""


def test_pandas_is_not_loaded() -> None:
    pytest.importorskip("pandas")
    subprocess.run([sys.executable, "-W", "ignore", "-c", WITHOUT_PANDAS], check=True, timeout=400)


def test_half_an_emoji() -> None:
    back = one(description=r'"cut \ud83d"', category=r'{"a":"\ude00"}')
    assert back == {"description": "cut \ufffd", "extra": '{"category":{"a":"\ufffd"}}'}


def test_what_is_no_number_in_a_row_of_values() -> None:
    import io

    stream = io.BytesIO()
    writer = parquet.ParquetWriter(stream, "loans", None)
    add(writer, RowBatch([b"{}"], [{"interestRate": Decimal("NaN"), "monthlyPayment": Decimal("Infinity")}]))
    writer.close()
    (row,) = pq.read_table(pa.BufferReader(stream.getvalue())).to_pylist()
    assert json.loads(row["extra"]) == {"interestRate": "NaN", "monthlyPayment": "Infinity"}


def test_both_forms_of_a_balance() -> None:
    documented = one(
        "balances",
        accountId='"a"',
        current="-1.50",
        available="2",
        currency='"EUR"',
        asOf='"2024-01-01T00:00:00Z"',
    )
    assert documented.keys() == {"accountId", "current", "available", "currency", "asOf"}
    seen = one(
        "balances", date='"2024-01-01T08:00:00.000Z"', bank='"b"', amount="-1.50", pendingBalance="0.00"
    )
    assert seen["date"] == date(2024, 1, 1)
    assert json.loads(seen["extra"]) == {"date": "2024-01-01T08:00:00.000Z"}


# --- row groups ---


def groups(raw: list[bytes], **options: Any) -> list[int]:
    file = pq.ParquetFile(pa.BufferReader(write(raw, "parquet", **options)))
    return [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]


def test_row_groups_of_many_rows_and_of_much_text() -> None:
    row = b'{"id":"1"}'
    assert groups([row] * 20_001) == [10_000, 10_000, 1]
    assert groups([row] * 10_000, pieces=[9_999]) == [10_000]
    long = b'{"description":"%s"}' % (b"x" * 500_000)
    assert groups([long] * 7) == [3, 3, 1]
    assert groups([long, row, long, long, row], pieces=[1, 2]) == [4, 1]


def test_row_groups_grow_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    row = b'{"id":"1"}'
    monkeypatch.setattr(parquet, "_GROUPS_PER_SIZE", 2)
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 10)
    grown = [10, 10, 20, 20, 40, 40, 80, 80, 80, 3]
    assert groups([row] * sum(grown)) == grown
    assert groups([row] * sum(grown), pieces=[7] * 50) == grown
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 10_000)
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 10 * len(row))
    assert groups([row] * sum(grown)) == grown
    assert groups([row] * sum(grown), pieces=[7] * 50) == grown


@pytest.mark.parametrize(("compression", "codec"), [(None, "SNAPPY"), ("gzip", "GZIP"), ("zstd", "ZSTD")])
def test_the_compression_is_that_of_the_pages(compression: str | None, codec: str) -> None:
    file = pq.ParquetFile(pa.BufferReader(write([b'{"id":"1"}'], "parquet", compression)))
    found = {
        file.metadata.row_group(0).column(number).compression for number in range(file.metadata.num_columns)
    }
    assert found == {codec}


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_duckdb_reads_it(tmp_path: Path, compression: str | None) -> None:
    duckdb = pytest.importorskip("duckdb")
    raw = [b'{"id":"%d","date":"2024-01-01","amount":-0.10,"odd":1E+400}' % number for number in range(3)]
    file = tmp_path / "x.parquet"
    file.write_bytes(write(raw, "parquet", compression))
    query = f"select sum(amount), min(date), min(extra), count(extra->>'odd') from read_parquet('{file}')"
    assert duckdb.sql(query).fetchall() == [(Decimal("-0.30"), date(2024, 1, 1), '{"odd":1E+400}', 3)]


FORKED = """
import io, os, sys
from airflow_provider_banksync.export.formats.parquet import ParquetWriter
from airflow_provider_banksync.extract.rows import RowBatch

def one_file():
    stream = io.BytesIO()
    writer = ParquetWriter(stream, "banks", None)
    writer.add(RowBatch([b'{"id":"a"}']))
    writer.close()
    return stream.getvalue()

before = one_file()
child = os.fork()
if not child:
    os._exit(0 if one_file() == before else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_was_forked_off_writes_as_well() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], check=True, timeout=400)
