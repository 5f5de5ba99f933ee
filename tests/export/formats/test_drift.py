"""Values of another type than their column's: each is exact in its column, or in `extra` and counted."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_banksync.export.formats.factory import open_format
from airflow_provider_banksync.export.formats.schema import SCHEMAS, ColumnType
from airflow_provider_banksync.extract.rows import RowBatch
from tests.support.odd_rows import add, means, read, same

COLUMNS = [(resource, column.name) for resource, columns in SCHEMAS.items() for column in columns]
#: Texts that are nearly numbers, days, timestamps or flags.
LOOK_ALIKES = st.from_regex(
    r"[ \t]?[+-]?[0-9]{0,22}[.,]?[0-9]{0,20}([eE][+-]?[0-9]{1,4})?[ \n%]?"
    r"|[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9])?(\.[0-9]{1,8})?(Z|[+-][01][0-9]:?00)?)?"
    r"|[TtFf](rue|alse|RUE|ALSE)?",
    fullmatch=True,
)
#: Values, as JSON, that drift has brought to columns of other types.
DRIFTED = [
    *('"12.50"', '"1e3"', '"+5"', '" 12.50 "', '"12,50"', '"1,234.56"', '"(5.00)"', '"$5"', '"5-"', '"\u221212"'),
    *('"NaN"', '"Infinity"', '"-inf"', '""', '" "', '"-"', '"."', '"1_000"', '"0x10"', '"\u0661"', '"1E+400"'),
    *('"true"', '"false"', '"True"', '"FALSE"', '"yes"', '"0"', '"1"', "0", "1", "1.0", "true", "false"),
    *("1709251199", "1709251199000", "1709251199.5", '"1709251199"', '"20240229"', '"29/02/2024"', '"2024-02"'),
    *('"2024-02-29"', '"2024-02-29T00:00:00Z"', '"2024-02-29T23:30:00.5-05:00"', '"2024-02-29 23:30:00"'),
    *('"2024-02-29T23:59:59.1234567Z"', '" 2024-02-29 "', '"0.0000000000000000001"', "0.0000000000000000001"),
    *("9223372036854775808", '"9223372036854775808"', "3.5", '"3.5"', '"3.0"', '"99999999999999999999999"'),
    *('{"amount":"12.50","currency":"EUR"}', "[]", '[{"a":null}]', '"null"', '"{}"', '"1E+99999999999999999999"'),
]  # fmt: skip


def convert(file_format: str, resource: str, raw: list[bytes]) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Write rows, and return what is read back, with None for null, and what was counted."""
    stream = io.BytesIO()
    writer = open_format(file_format, None, resource, escape_formulas=False).writer(stream)
    add(writer, RowBatch(raw))
    writer.close()
    if file_format == "parquet":
        return pq.read_table(pa.BufferReader(stream.getvalue())).to_pylist(), writer.unfit
    lines = csv.DictReader(io.StringIO(stream.getvalue().decode(), newline=""))
    return [{name: text or None for name, text in line.items()} for line in lines], writer.unfit


def is_exact(kind: ColumnType, cell: Any, sent: Any) -> bool:
    """Tell whether a cell of either format says what was sent, without loss."""
    if kind is ColumnType.TEXT:
        return isinstance(sent, str) and (cell or "") == sent
    if kind is ColumnType.DATE:
        return isinstance(sent, str) and str(cell) == sent
    if kind is ColumnType.TIMESTAMP and isinstance(cell, datetime):
        # Python 3.10 reads fractions of three or six digits only.
        sent = re.sub(r"\.(\d+)", lambda match: f".{match[1]:0<6.6}", sent.replace("Z", "+00:00"))
        moment = datetime.fromisoformat(sent)
        return moment.tzinfo is not None and moment == cell
    if kind is ColumnType.JSON:
        return same(read(f'{{"value":{cell}}}')["value"], sent)
    return means(cell, sent)


def check(file_format: str, resource: str, raw: list[bytes]) -> None:
    """Check that each value is exact in its column, or in `extra` and counted."""
    kinds = dict(SCHEMAS[resource])
    back, unfit = convert(file_format, resource, raw)
    in_extra = Counter[str]()
    for row, cells in zip(raw, back, strict=True):
        sent, extra = read(row), read(cells["extra"] or "{}")
        in_extra.update(extra.keys())
        for name, value in sent.items():
            if name in extra:
                assert same(extra[name], value), name
            elif value is not None:
                assert is_exact(kinds[name], cells[name], value), (name, cells[name], value)
    if resource == "balances":  # whose days BankSync is known to send as timestamps
        del unfit["date"], in_extra["date"]
    assert unfit == in_extra


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
@pytest.mark.parametrize("resource", SCHEMAS)
def test_no_value_is_lost_or_changed_in_silence(file_format: str, resource: str) -> None:
    raw = [
        f"{{{','.join(f'{json.dumps(name)}:{value}' for name, _ in SCHEMAS[resource])}}}".encode()
        for value in DRIFTED
    ]
    check(file_format, resource, raw)
    if resource in ("transactions", "jobs"):  # which have a column of each type
        for row in raw:
            check(file_format, resource, [row])


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_nor_are_texts_that_look_like_something_else(file_format: str, data: st.DataObject) -> None:
    resource, name = data.draw(st.sampled_from(COLUMNS))
    texts = data.draw(st.lists(LOOK_ALIKES, min_size=1, max_size=12))
    check(file_format, resource, [json.dumps({name: text}).encode() for text in texts])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12.50", "12.5"),
        ("1e3", "1000"),
        ("+5", "5"),
        (" 12.50\n", "12.5"),
        ("-.5", "-0.5"),
        ("5.", "5"),
        ("-99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999"),
    ],
)
def test_a_number_in_a_text_is_read_exactly(text: str, number: str) -> None:
    for beside in ([], [b'{"amount":1}'], [b'{"amount":null}', b'{"amount":"7"}']):
        raw = [*beside, json.dumps({"amount": text}).encode()]
        for file_format in ("csv", "parquet"):
            back, unfit = convert(file_format, "transactions", raw)
            assert (back[-1]["extra"], unfit) == (None, {})
            assert Decimal(back[-1]["amount"]) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["12,50", "1,234.56", "NaN", "Infinity", "", "1_000", "0x10", "12.50 EUR", "."]
)
def test_what_is_no_number_is_counted(text: str) -> None:
    raw = [json.dumps({"amount": text, "debitAmount": "1.50"}).encode()]
    for file_format in ("csv", "parquet"):
        (row,), unfit = convert(file_format, "transactions", raw)
        assert (row["amount"], json.loads(row["extra"]), unfit) == (None, {"amount": text}, {"amount": 1})
        assert Decimal(row["debitAmount"]) == Decimal("1.50")


def test_half_of_the_amounts_as_text() -> None:
    raw = [b'{"amount":"12.50"}', b'{"amount":10.00}'] * 2
    for file_format in ("csv", "parquet"):
        back, unfit = convert(file_format, "transactions", raw)
        assert sum(Decimal(row["amount"]) for row in back) == Decimal("45.00")
        assert not unfit


@pytest.mark.parametrize(
    ("sent", "flag"), [('"true"', True), ('"False"', False), ('"yes"', None), ("1", None)]
)
def test_a_flag_in_a_text(sent: str, flag: bool | None) -> None:
    raw = [b'{"pending":%s}' % sent.encode()]
    (row,), unfit = convert("parquet", "transactions", raw)
    (line,), unfit_in_csv = convert("csv", "transactions", raw)
    assert row["pending"] is flag
    assert line["pending"] == (None if flag is None else str(flag).lower())
    assert unfit == unfit_in_csv == ({"pending": 1} if flag is None else {})


def test_a_day_sent_as_a_timestamp_is_counted_unless_the_api_is_known_to_do_so() -> None:
    raw = [b'{"date":"2024-02-29T08:00:00.000Z"}', b'{"date":"soon"}']
    for file_format in ("csv", "parquet"):
        for resource, count in (("transactions", 2), ("balances", 1)):
            (row, _), unfit = convert(file_format, resource, raw)
            assert str(row["date"]) == "2024-02-29"
            assert json.loads(row["extra"]) == {"date": "2024-02-29T08:00:00.000Z"}
            assert unfit == {"date": count}


def test_the_count_is_that_of_all_batches() -> None:
    for file_format in ("csv", "parquet", "jsonl"):
        writer = open_format(file_format, None, "transactions").writer(io.BytesIO())
        for _ in range(3):
            add(writer, RowBatch([b'{"amount":"n/a","date":5}', b'{"amount":null}']))
        writer.close()
        assert writer.unfit == ({} if file_format == "jsonl" else {"amount": 3, "date": 3})


def test_a_timestamp_without_an_offset_is_counted_where_the_column_adds_one() -> None:
    raw = [b'{"createdAt":"2024-02-29 23:30:00"}']
    (row,), unfit = convert("parquet", "banks", raw)
    assert row["createdAt"] == datetime(2024, 2, 29, 23, 30, tzinfo=timezone.utc)
    assert unfit == {"createdAt": 1}
    (line,), unfit = convert("csv", "banks", raw)
    assert (line["createdAt"], line["extra"], unfit) == ("2024-02-29 23:30:00", None, {})
