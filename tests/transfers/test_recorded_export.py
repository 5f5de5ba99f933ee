"""The files that an export of one seed writes, compared with recorded digests."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.export_task import Task, plain_names, tree
from tests.support.recorded import compare

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

RECORDED = Path(__file__).with_name("recorded_export.json")
DAYS = {"from_date": "2026-02-01", "to_date": "2026-03-04"}
RESOURCES: dict[str, dict[str, Any]] = {"transactions": DAYS, "banks": {}, "balances": {}}
WAYS = [
    ("jsonl", None),
    ("jsonl", "gzip"),
    ("jsonl", "zstd"),
    ("csv", None),
    ("csv", "gzip"),
    ("parquet", None),
    ("parquet", "zstd"),
]
NOON = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def text_of(value: object) -> str:
    """Return a value of a Parquet file in a form that is the same on every version of pyarrow."""
    return value.isoformat() if isinstance(value, date) else f"{type(value).__name__} {value}"


def table_digest(body: bytes) -> str:
    """Return a digest of the columns, their types, and the rows of a Parquet file.

    The bytes of the file depend on the version of pyarrow.
    """
    table = pq.read_table(io.BytesIO(body))
    columns = [f"{column.name} {column.type} {column.nullable}" for column in table.schema]
    return sha256(json.dumps([columns, table.to_pylist()], default=text_of).encode())


def digest(name: str, body: bytes) -> str:
    """Return the digest of what a file holds, which is the same on every version of the libraries."""
    if name.endswith(".parquet"):
        return table_digest(body)
    if name.endswith(".zst"):
        return sha256(pa.CompressedInputStream(pa.BufferReader(body), "zstd").read())
    if name.endswith(".gz"):
        # The bytes depend on the version of zlib: compare them with what this one makes of the same text.
        text, packer = gzip.decompress(body), zlib.compressobj(6, zlib.DEFLATED, 31)
        assert body == packer.compress(text) + packer.flush(), f"{name} is not gzip, level 6, of its text"
        return sha256(text)
    return sha256(body)


def exported(destination: Path, **arguments: Any) -> dict[str, str]:
    """Run one export; return the digest of each part by its path."""
    summary = Task(destination).run(**arguments)
    files = {path: digest(path, body) for path, body in sorted(tree(destination).items()) if "/part-" in path}
    files = plain_names(files)
    assert len(files) == summary["files"] > 0
    return files


@pytest.mark.banksync_sandbox(portals=1, seed=7, page_size=20, drift=True, time_scale=0, now=NOON)
def test_one_seed_gives_the_files_on_record(banksync_sandbox: BankSyncSandbox, tmp_path: Path) -> None:
    found: dict[str, dict[str, str]] = {}
    for resource, arguments in RESOURCES.items():
        for number, (file_format, compression) in enumerate(WAYS):
            found[f"{resource}, {file_format}, {compression}"] = exported(
                tmp_path / f"{resource}-{number}",
                resource=resource,
                file_format=file_format,
                compression=compression,
                **arguments,
            )
    found["transactions, jsonl, at most 20 rows"] = exported(
        tmp_path / "split", resource="transactions", max_rows_per_file=20, **DAYS
    )
    # Formats differ in their bytes, not in the text that they compress.
    for resource in RESOURCES:
        plain, *packed = ([*found[f"{resource}, jsonl, {how}"].values()] for how in (None, "gzip", "zstd"))
        assert packed == [plain, plain]
    compare(RECORDED, json.dumps(found, indent=1) + "\n", __file__)


def test_the_digest_of_a_table_sees_types_names_and_digits() -> None:
    def body(**columns: Any) -> bytes:
        sink = io.BytesIO()
        pq.write_table(pa.table(columns), sink)
        return sink.getvalue()

    money = pa.decimal128(20, 2)
    amount = pa.array([Decimal("1.50")], money)
    same, *others = (
        table_digest(each)
        for each in (
            body(amount=amount),
            body(amount=pa.array([Decimal("1.50")], pa.decimal128(21, 2))),
            body(amount=pa.array([Decimal("1.51")], money)),
            body(amounts=amount),
            body(amount=pa.array([1.5])),
            body(amount=pa.array(["1.50"])),
        )
    )
    assert table_digest(body(amount=amount)) == same
    assert len({same, *others}) == 6
