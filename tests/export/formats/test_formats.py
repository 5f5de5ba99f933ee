"""Formats by name; JSON Lines; compression; and that the bytes do not depend on batches."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncResponseError
from airflow_provider_banksync.export import formats
from airflow_provider_banksync.export.formats import COMPRESSIONS, FORMATS, factory
from airflow_provider_banksync.export.formats.schema import EXTRA, SCHEMAS
from airflow_provider_banksync.extract.rows import RowBatch
from tests.support.odd_rows import add, rows, same, texts, write
from tests.support.odd_rows import read as read_row

if TYPE_CHECKING:
    from pathlib import Path

WAYS = [(file_format, how) for file_format in FORMATS for how in (None, *COMPRESSIONS)]


@pytest.mark.parametrize(
    ("file_format", "compression", "extension"),
    [
        ("jsonl", None, "jsonl"),
        ("jsonl", "gzip", "jsonl.gz"),
        ("jsonl", "zstd", "jsonl.zst"),
        ("csv", None, "csv"),
        ("csv", "gzip", "csv.gz"),
        ("csv", "zstd", "csv.zst"),
        ("parquet", None, "parquet"),
        ("parquet", "gzip", "parquet"),
        ("parquet", "zstd", "parquet"),
    ],
)
def test_a_format_and_what_its_files_end_in(
    file_format: str, compression: str | None, extension: str
) -> None:
    formats.validate_format(file_format, compression)
    assert factory.open_format(file_format, compression, "banks").extension == extension


@pytest.mark.parametrize(
    ("file_format", "compression", "words"),
    [
        ("xml", None, "file_format must be one of jsonl, csv, parquet, not 'xml'"),
        ("JSONL", None, "file_format must be"),
        (None, None, "file_format must be"),
        ("csv", "bzip2", "compression must be one of None, gzip, zstd, not 'bzip2'"),
        ("jsonl", "", "compression must be"),
        ("parquet", "snappy", "compression must be"),
    ],
)
def test_what_there_is_not(file_format: Any, compression: Any, words: str) -> None:
    for check in (formats.validate_format, factory.require_format):
        with pytest.raises(BankSyncConfigError, match=words):
            check(file_format, compression)
    with pytest.raises(BankSyncConfigError, match=words):
        factory.open_format(file_format, compression, "banks")


@pytest.mark.parametrize(("file_format", "compression"), WAYS)
def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch, file_format: str, compression: str | None) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    formats.validate_format(file_format, compression)
    if file_format != "parquet" and compression != "zstd":
        assert factory.open_format(file_format, compression, "banks").writer(io.BytesIO())
        return
    words = "file_format='parquet'" if file_format == "parquet" else "compression='zstd'"
    with pytest.raises(BankSyncConfigError, match=f"{words} needs pyarrow.*: pip install pyarrow"):
        factory.open_format(file_format, compression, "banks")


def test_to_check_a_format_loads_nothing_heavy() -> None:
    code = (
        "import sys; from airflow_provider_banksync.export import formats;"
        "formats.validate_format('parquet', 'zstd');"
        "print([name for name in ('pyarrow', 'msgspec', 'zlib.x', 'decimal.x', 'requests') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("resource", SCHEMAS)
def test_no_resource_has_a_column_twice_or_one_named_as_the_last(resource: str) -> None:
    names = [column.name for column in SCHEMAS[resource]]
    assert len({name.lower() for name in names}) == len(names), (
        "some readers do not tell upper from lower case"
    )
    assert EXTRA not in names
    assert all(name.isascii() and name.isidentifier() for name in names)


# --- JSON Lines ---


@settings(deadline=None, max_examples=40)
@given(st.lists(rows("transactions"), min_size=1, max_size=6))
def test_json_lines_are_the_rows_as_they_were_sent(raw: list[bytes]) -> None:
    assert write(raw, "jsonl").split(b"\n") == [*raw, b""]
    assert write([msgspec.Raw(row) for row in raw], "jsonl") == write(raw, "jsonl")


@settings(deadline=None, max_examples=40)
@given(st.lists(rows("balances"), min_size=1, max_size=6))
def test_rows_as_values_say_what_was_sent(raw: list[bytes]) -> None:
    values = RowBatch(raw).rows()
    for row, value in zip(raw, values, strict=True):
        assert same(read_row(row), read_row(msgspec.json.Encoder(decimal_format="number").encode(value)))


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (rb'{"a":"cut \ud83d","b":{"\ude00":1}}', {"a": "cut \ufffd", "b": {"\ufffd": 1}}),
        (rb'{"a\ud83d":"x"}', {"a\ufffd": "x"}),
        (b'{"a":1E+99999999999999999999,"b":1E+5}', {"a": b"1E+99999999999999999999", "b": Decimal("1E+5")}),
        (b'{"a":' + b"7" * 5_000 + b"}", {"a": b"7" * 5_000}),
        (
            rb'{"a":[1E+99999999999999999999],"b":"\ud83d"}',
            {"a": b"[1E+99999999999999999999]", "b": "\ufffd"},
        ),
    ],
)
def test_what_cannot_be_decoded_costs_no_row(raw: bytes, values: dict[str, Any]) -> None:
    good, odd = RowBatch([b'{"a":1.50}', raw]).rows()
    assert good == {"a": Decimal("1.50")}
    assert {
        name: bytes(value) if isinstance(value, msgspec.Raw) else value for name, value in odd.items()
    } == values
    for file_format in FORMATS:
        assert write([raw], file_format, resource="banks")


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
@pytest.mark.parametrize("row", [b"5", b"null"])
def test_a_row_that_is_no_object_is_refused(file_format: str, row: bytes) -> None:
    writer = factory.open_format(file_format, None, "transactions").writer(io.BytesIO())
    with pytest.raises(BankSyncResponseError, match="a row is not a JSON object"):
        add(writer, RowBatch([b'{"id":"1"}', row]))


# --- compression ---


def unpack(data: bytes, compression: str | None, tmp_path: Path) -> bytes:
    """Unpack with what did not pack: Python's gzip, and the zstd command where there is one."""
    if compression == "gzip":
        return gzip.decompress(data)
    command = shutil.which("zstd")
    if compression is None or command is None:
        return data if compression is None else unpack_by_duckdb(data, tmp_path)
    done = subprocess.run([command, "-dc"], input=data, check=True, capture_output=True, timeout=300)
    return done.stdout


def unpack_by_duckdb(data: bytes, tmp_path: Path) -> bytes:
    duckdb = pytest.importorskip("duckdb")
    file = tmp_path / "x.zst"
    file.write_bytes(data)
    lines = duckdb.sql(
        f"select * from read_csv('{file}', header=false, delim='\x01', quote='', columns={{'line': 'VARCHAR'}})"
    ).fetchall()
    return "".join(f"{line}\n" for (line,) in lines).encode()


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("count", [1, 20_000])
def test_what_is_packed_can_be_unpacked(compression: str, count: int, tmp_path: Path) -> None:
    raw = [b'{"id":"%d","x":"%064x"}' % (number, number**9) for number in range(count)]
    plain, packed = write(raw, "jsonl"), write(raw, "jsonl", compression)
    assert unpack(packed, compression, tmp_path) == plain
    assert count == 1 or len(packed) < len(plain) / 2


def test_a_packed_file_says_neither_when_nor_what_it_was() -> None:
    assert write([b"{}"], "jsonl", "gzip")[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"


# --- the same rows, the same bytes ---


@pytest.mark.parametrize(("file_format", "compression"), WAYS)
def test_the_bytes_do_not_depend_on_the_batches(file_format: str, compression: str | None) -> None:
    # Of text that does not compress, so that pages of Parquet and blocks of zstd are filled and begin anew.
    rng = random.Random(7)
    raw = [
        b'{"id":"%d","date":"2024-01-%02d","description":"%0200x","amount":%d.%02d,"odd":%d}'
        % (number, number % 28 + 1, rng.getrandbits(800), number, number % 100, number)
        for number in range(12_000)
    ]
    whole = write(raw, file_format, compression)
    for pieces in ([1, 9_998, 1, 1, 500], [97] * 120):
        assert write(raw, file_format, compression, pieces=pieces) == whole


@settings(deadline=None, max_examples=25)
@given(st.lists(rows("trades"), min_size=1, max_size=12), st.lists(st.integers(0, 4), max_size=4), st.data())
def test_nor_do_those_of_odd_rows(raw: list[bytes], pieces: list[int], data: st.DataObject) -> None:
    file_format, compression = data.draw(st.sampled_from(WAYS))
    whole = write(raw, file_format, compression, resource="trades")
    assert write(raw, file_format, compression, resource="trades", pieces=pieces) == whole


# --- streams that fail ---


class FullError(Exception):
    pass


class FullStream:
    def write(self, data: bytes) -> int:
        raise FullError


@pytest.mark.parametrize(("file_format", "compression"), WAYS)
def test_an_error_of_the_stream_is_raised_as_it_is(file_format: str, compression: str | None) -> None:
    writer = factory.open_format(file_format, compression, "banks").writer(FullStream())

    def fill() -> None:
        add(writer, RowBatch([b'{"id":"1"}']))
        writer.close()

    with pytest.raises(FullError):
        fill()


@pytest.mark.parametrize(("file_format", "compression"), WAYS)
def test_a_writer_that_is_given_up_writes_nothing_more(file_format: str, compression: str | None) -> None:
    stream = io.BytesIO()
    writer = factory.open_format(file_format, compression, "banks").writer(stream)
    add(writer, RowBatch([b'{"id":"1"}']))
    before = stream.getvalue()
    stream.close()
    del writer
    assert before in (b"", b'{"id":"1"}\n') or before.startswith(b"id,")


@settings(deadline=None, max_examples=40)
@given(texts)
def test_a_name_can_be_anything(name: str) -> None:
    row = json.dumps({name: 1, "id": "x"}).encode()
    for file_format in FORMATS:
        assert write([row], file_format, resource="banks")
