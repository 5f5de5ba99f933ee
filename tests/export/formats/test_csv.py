"""CSV, read back by Python's csv module and by DuckDB: each value is in its column or in `extra`, to the last digit."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_banksync.export.formats import COMPRESSIONS, factory
from airflow_provider_banksync.export.formats.schema import SCHEMAS, ColumnType
from tests.support.odd_rows import LOOSE, TEXTS, Number, means, read, rows, same, write

if TYPE_CHECKING:
    from pathlib import Path

CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)')
#: What Unicode lets a reader ignore: Default_Ignorable_Code_Point.
IGNORABLE = [
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
]  # fmt: skip
SPACES = [chr(code) for code in range(0x10000) if unicodedata.category(chr(code)) in {"Cc", "Zs", "Zl", "Zp"}]
INVISIBLE = "".join(SPACES + [chr(code) for first, last in IGNORABLE for code in range(first, last + 1)])


def cells(text: str) -> list[list[tuple[str, bool]]]:
    """Read CSV by the letter of RFC 4180: what is in each cell, and whether it is quoted."""
    lines: list[list[tuple[str, bool]]] = [[]]
    place = 0
    while place < len(text):
        match = CELL.match(text, place)
        assert match is not None, text[place : place + 40]
        quoted, bare, end = match.groups()
        lines[-1].append((bare, False) if quoted is None else (quoted.replace('""', '"'), True))
        if end == "\r\n":
            lines.append([])
        place = match.end()
    assert lines.pop() == []
    return lines


def table(
    raw: list[bytes], resource: str = "transactions", **options: Any
) -> list[dict[str, tuple[str, bool]]]:
    header, *lines = cells(write(raw, "csv", resource=resource, **options).decode())
    names = [name for name, _ in header]
    return [dict(zip(names, line, strict=True)) for line in lines]


def one(resource: str = "transactions", *, escape_formulas: bool = True, **fields: str) -> dict[str, str]:
    """Write one row of these fields, each as JSON, and return the cells that are not null, as they are written."""
    row = "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items()) + "}"
    (back,) = table([row.encode()], resource, escape_formulas=escape_formulas)
    return {name: f'"{text}"' if quoted else text for name, (text, quoted) in back.items() if quoted or text}


def dangerous(text: str) -> bool:
    """Tell whether a spreadsheet may take a text for a formula, by Unicode's own tables."""
    shown = text.lstrip(INVISIBLE)
    return text.startswith(("\t", "\r", "\n", "\0")) or unicodedata.normalize("NFKC", shown[:1]) in {*"=+-@"}


def said(kind: ColumnType, text: str, *, quoted: bool) -> Any:
    """Return what a cell says, as the JSON of it would be read."""
    if kind is ColumnType.JSON:
        return read(f'{{"value":{text}}}')["value"]
    if quoted:
        # One quote that stands before what would be dangerous is ours.
        return text[1:] if text.startswith("'") and dangerous(text.lstrip("'")) else text
    return {"true": True, "false": False}.get(text, Number(text))


@pytest.mark.parametrize("resource", ["transactions", "balances", "jobs"])
def test_every_value_is_in_its_column_or_in_extra(resource: str) -> None:
    kinds = dict(SCHEMAS[resource])

    @settings(deadline=None, max_examples=40)
    @given(st.lists(rows(resource), min_size=1, max_size=6))
    def check(raw: list[bytes]) -> None:
        for row, line in zip(raw, table(raw, resource), strict=True):
            sent, (extra_text, extra_quoted) = read(row), line.pop("extra")
            assert extra_quoted is bool(extra_text)
            extra = read(extra_text or "{}")
            assert list(extra) == [name for name in sent if name in extra], (
                "in the order in which they were sent"
            )
            for name, value in sent.items():
                if name in extra:
                    assert same(extra[name], value), name
                elif value is None:
                    assert line[name] == ("", False)
                else:
                    text, quoted = line[name]
                    cell = said(kinds[name], text, quoted=quoted)
                    assert same(cell, value) or (kinds[name] in LOOSE and means(cell, value)), name
            assert all(line[name] == ("", False) for name in line if name not in sent)
            assert extra.keys() >= sent.keys() - kinds.keys()
            assert not any(dangerous(text) for text, quoted in line.values() if quoted)

    check()


@settings(deadline=None, max_examples=40)
@given(st.lists(rows("transactions"), min_size=1, max_size=6), st.booleans())
def test_pythons_csv_module_reads_the_same(raw: list[bytes], escape: bool) -> None:
    text = write(raw, "csv", escape_formulas=escape).decode()
    if sys.version_info < (3, 11):
        text = text.replace("\0", "")  # which that module did not take
    expected = [[cell for cell, _ in line] for line in cells(text)]
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == expected


def by_duckdb(file: Path, compression: str | None = None) -> list[tuple[str | None, ...]]:
    duckdb = pytest.importorskip("duckdb")
    options = "header=true, delim=',', quote='\"', escape='\"', all_varchar=true, allow_quoted_nulls=false"
    if compression:
        options += f", compression='{compression}'"
    found: list[tuple[str | None, ...]] = duckdb.sql(
        f"select * from read_csv('{file}', {options})"
    ).fetchall()
    return found


@settings(deadline=None, max_examples=40)
@given(st.lists(rows("transactions"), min_size=1, max_size=6))
def test_duckdb_reads_the_same_and_tells_null_from_an_empty_text(
    tmp_path_factory: pytest.TempPathFactory, raw: list[bytes]
) -> None:
    file = tmp_path_factory.mktemp("csv") / "x.csv"
    data = write(raw, "csv")
    file.write_bytes(data)
    expected = [
        tuple(text if quoted or text else None for text, quoted in line) for line in cells(data.decode())[1:]
    ]
    assert by_duckdb(file) == expected


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_duckdb_reads_what_is_packed(tmp_path: Path, compression: str) -> None:
    file = tmp_path / f"x.{factory.open_format('csv', compression, 'loans').extension}"
    file.write_bytes(write([b'{"accountId":"","name":"=1"}'], "csv", compression, resource="loans"))
    assert by_duckdb(file, compression) == [("", None, "'=1", *(None,) * 8)]


@pytest.mark.parametrize("resource", SCHEMAS)
def test_the_header_is_the_same_whatever_the_rows(resource: str) -> None:
    first, *_ = write([b"{}"], "csv", resource=resource).split(b"\r\n")
    other, *_ = write([b'{"unknown":1,"id":"x","name":null}'] * 3, "csv", resource=resource).split(b"\r\n")
    assert first == other == ",".join([*(column.name for column in SCHEMAS[resource]), "extra"]).encode()
    assert write([b"{}"], "csv", resource=resource).split(b"\r\n")[1:] == [b"," * len(SCHEMAS[resource]), b""]


def test_each_kind_of_value() -> None:
    written = write(
        [
            b"""{"id":"j1","status":"","errorCategory":null,"startDate":"2024-02-29","transactionsWritten":3,
            "createdAt":"2024-02-29T23:59:59.1234567+05:30","errors":[{"message":"a \\"b\\", c"}],"portal":null,
            "attempt":1.50}"""
        ],
        "csv",
        resource="jobs",
    )
    assert written.split(b"\r\n")[1] == (
        b'"j1",,,"",,"2024-02-29",,,3,"[{""message"":""a \\""b\\"", c""}]",,"2024-02-29T23:59:59.1234567+05:30",,,'
        b',,,"{""attempt"":1.50}"'
    )
    assert one(pending="true", amount="-1.50") == {"pending": "true", "amount": "-1.50"}
    assert one("enrichments", enabled="false", feedIds="[]") == {"enabled": "false", "feedIds": '"[]"'}


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("1.50", "1.50"),
        ("-0.00", "-0.00"),
        ("1E+5", "100000"),
        ("-1.5e-9", "-0.0000000015"),
        ("1E-18", "0.000000000000000001"),
        ("9" * 400, "9" * 400),
        ("1E+400", "1" + "0" * 400),
        ("1E-400", "0." + "0" * 399 + "1"),
        ("0E+3", "0"),
    ],
)
def test_a_number_is_written_without_an_exponent(number: str, written: str) -> None:
    assert one(amount=number) == {"amount": written}


@pytest.mark.parametrize(
    "number",
    [
        "1E+999999999",
        "-1E-999999999",
        "1E+2000",
        "0E-2000",
        "9" * 1_001,
        "9" * 5_000,
        "1E+99999999999999999999",
    ],
)
def test_a_number_that_would_be_too_long_is_in_extra(number: str) -> None:
    back = one(amount=number)
    assert back.keys() == {"extra"}
    assert len(back["extra"]) <= len(number) + 20


@pytest.mark.parametrize("value", ['"n/a"', '"1,50"', "true", "[1]", "{}"])
def test_a_column_of_numbers_has_numbers_only(value: str) -> None:
    assert one(amount=value) == {"extra": f'"{{"amount":{value}}}"'}


@pytest.mark.parametrize(
    ("name", "value", "cell"),
    [
        ("description", "1.50", None),
        ("description", '{"a":1}', None),
        ("pending", '"yes"', None),
        ("pending", "1", None),
        ("date", '"yesterday"', None),
        ("date", '"2024-02-29T23:00:00-05:00"', '"2024-02-29"'),
    ],
)
def test_a_value_of_another_type_is_in_extra(name: str, value: str, cell: str | None) -> None:
    back = one(**{name: value})
    assert back == {**({name: cell} if cell else {}), "extra": f'"{{"{name}":{value}}}"'}


@pytest.mark.parametrize("value", ["-5", "true", '"=1"', '"x"', '["=1"]'])
def test_a_nested_column_holds_json_whatever_it_is(value: str) -> None:
    quoted = value[0] in '"['
    assert one("banks", links=value) == {"links": f'"{value}"' if quoted else value}


# --- formulas ---


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_no_text_is_a_formula(text: str) -> None:
    written = one(description=json.dumps(text))["description"][1:-1]
    assert written in (text, f"'{text}")
    assert not dangerous(written)
    assert (written != text) is dangerous(text.lstrip("'"))
    assert one(description=json.dumps(text), escape_formulas=False)["description"][1:-1] == text


@given(st.text(st.sampled_from("'=+-@\t\r\n\0 a\u200b\uff1d\uff20\u00a0"), max_size=5))
@settings(deadline=None, max_examples=200)
def test_two_texts_never_become_the_same(text: str) -> None:
    written = one(description=json.dumps(text))["description"][1:-1]
    # A reader that removes one quote before a dangerous text has the original text.
    assert (written[1:] if written.startswith("'") and dangerous(written.lstrip("'")) else written) == text


SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"


def test_every_sign_behind_whatever_does_not_show() -> None:
    texts = [f"{before}{sign}cmd|' /C calc'!A0" for before in ("", *INVISIBLE) for sign in SIGNS]
    raw = [json.dumps({"description": text}).encode() for text in texts]
    assert [line["description"] for line in table(raw)] == [(f"'{text}", True) for text in texts]


def test_numbers_and_days_are_never_touched() -> None:
    back = one(amount="-1.50", date='"2024-02-29"', id='"-"')
    assert back == {"amount": "-1.50", "date": '"2024-02-29"', "id": '"\'-"'}
    assert date.fromisoformat(back["date"].strip('"'))
