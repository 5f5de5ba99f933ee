"""A ledger in a SQL database, given parts without an API."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_banksync.extract.partition import Partition
from airflow_provider_banksync.ledger.changes import Truth
from airflow_provider_banksync.ledger.columns import CHANGED_AT, FIRST_SEEN_AT, Columns
from airflow_provider_banksync.ledger.table import Part, Rules
from airflow_provider_banksync.tasks.sql_table import open_sql_table
from tests.support.sql_databases import CONNECTION, Database

if TYPE_CHECKING:
    from airflow_provider_banksync.ledger.sql import SqlLedger

NOW = datetime(2026, 3, 4, 6, tzinfo=timezone.utc)
DAY = date(2026, 3, 4)
ACCOUNT = Partition("ws_1", "Client", "b_1", "Bank", "a_1", "Account", "identity")
OTHER = Partition("ws_2", None, "b_2", "Bank", "a_2", "Account", None)
SCHEMA = Columns("transactions").schema
RULES = Rules("transactions", "ws_1", NOW)


def rows_of(partition: Partition, *rows: dict[str, Any]) -> pa.Table:
    owner = {
        "workspace_id": partition.workspace_id,
        "portal_name": partition.portal,
        "bank_id": partition.bank_id,
        "account_id": partition.account_id,
    }
    return pa.Table.from_pylist([{"date": DAY, **row, **owner} for row in rows], SCHEMA)


def part(*rows: dict[str, Any], of: Partition = ACCOUNT, read_at: datetime = NOW, **more: Any) -> Part:
    return Part(of, rows_of(of, *rows), more.pop("truth", Truth(DAY)), read_at, **more)


@pytest.fixture
def ledger(database: Database) -> SqlLedger:
    return open_sql_table(CONNECTION, "transactions", None, "transactions")


def described(database: Database) -> dict[str, Any]:
    return {row["id"]: row["description"] for row in database.rows()}


def test_a_read_that_is_older_than_the_table_is_left_out(ledger: SqlLedger, database: Database) -> None:
    ledger.apply([part({"id": "t1", "description": "new"}, cursor="c2")], RULES)
    earlier = NOW - timedelta(seconds=1)

    applied = ledger.apply(
        [
            part({"id": "t1", "description": "old"}, {"id": "t2"}, cursor="c1", read_at=earlier),
            part({"id": "t1"}, of=OTHER, read_at=earlier),
        ],
        RULES,
    )

    assert applied.counts.inserted == 1
    assert sorted(row["workspace_id"] for row in database.rows()) == ["ws_1", "ws_2"]
    states = {state.partition.key: state for state in ledger.open()}
    assert states[ACCOUNT.key].cursor == "c2"
    assert states[ACCOUNT.key].read_at == NOW
    assert states[ACCOUNT.key].partition == ACCOUNT
    assert states[OTHER.key].partition == OTHER


def test_pieces_of_a_read_have_no_state_until_the_last(ledger: SqlLedger, database: Database) -> None:
    ledger.apply([part({"id": "t1"}, truth=None, is_piece=True)], RULES)
    assert ledger.open() == []

    ledger.apply([part({"id": "t0"}, truth=None, read_at=NOW - timedelta(seconds=1), is_piece=True)], RULES)
    ledger.apply([part({"id": "t1", "description": "again"}, truth=None, is_piece=True)], RULES)
    ledger.apply([part({"id": "t2"}, truth=None, from_date=DAY)], RULES)

    assert described(database) == {"t1": "again", "t2": None}
    (state,) = ledger.open()
    assert (state.read_at, state.from_date, state.cursor) == (NOW, DAY, None)


def test_pieces_of_a_full_read_keep_the_state_of_the_last_one(ledger: SqlLedger) -> None:
    ledger.apply([part({"id": "t1"}, cursor="c1")], RULES)
    later = NOW + timedelta(hours=1)
    ledger.apply([part({"id": "t2"}, truth=None, read_at=later, is_piece=True)], RULES)

    (state,) = ledger.open()
    assert (state.read_at, state.cursor) == (NOW, "c1")


def test_a_row_whose_day_has_moved_out_of_the_days_that_are_read(
    ledger: SqlLedger, database: Database
) -> None:
    ledger.apply([part({"id": "t1", "date": DAY - timedelta(days=90)}, {"id": "t2", "date": None})], RULES)
    ledger.apply([part({"id": "t1"}, {"id": "t2"})], RULES)

    assert {row["id"]: row["date"] for row in database.rows()} == {"t1": DAY, "t2": DAY}


def test_the_rows_of_one_account(ledger: SqlLedger) -> None:
    assert ledger.rows_of(ACCOUNT).num_rows == 0
    ledger.apply([part({"id": "t1"}), part({"id": "t2"}, of=OTHER)], RULES)

    assert ledger.rows_of(ACCOUNT)["id"].to_pylist() == ["t1"]


def test_all_of_a_client_is_seen_or_nothing(ledger: SqlLedger, database: Database) -> None:
    """A reader of another connection sees no half of a client's changes."""
    second = replace(ACCOUNT, account_id="a_9")
    ledger.apply([part({"id": "t1"}), part({"id": "t1"}, of=second)], RULES)
    stop, seen = threading.Event(), set()

    def read() -> None:
        with closing(database.connect()) as connection:
            while not stop.is_set():
                cursor = connection.cursor()
                cursor.execute("SELECT account_id, description FROM transactions ORDER BY account_id")
                seen.add(tuple(text for _, text in cursor.fetchall()))
                connection.commit()

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        text = str(number)
        ledger.apply(
            [part({"id": "t1", "description": text}), part({"id": "t1", "description": text}, of=second)],
            replace(RULES, now=NOW + timedelta(seconds=number)),
        )
    stop.set()
    reader.join()

    assert len(seen) > 1
    assert all(one == other for one, other in seen)


TEXTS = st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8))
AMOUNTS = st.one_of(
    st.none(),
    st.decimals("-99999999999999999999", "99999999999999999999", allow_nan=False, places=18),
    st.sampled_from([Decimal("1E-18"), Decimal("-1E-7"), Decimal(0), Decimal("1E+19")]),
)
#: Without a time zone, as Hypothesis wants them.
FIRST_TIME, LAST_TIME = (datetime.fromisoformat(day) for day in ("0001-01-02", "9999-12-30"))
TIMES = st.one_of(st.none(), st.datetimes(FIRST_TIME, LAST_TIME, timezones=st.just(timezone.utc)))
ROWS = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4),
    st.fixed_dictionaries(
        {
            "description": TEXTS,
            "category": TEXTS,
            "amount": AMOUNTS,
            "date": st.one_of(st.none(), st.dates()),
            "pending": st.one_of(st.none(), st.booleans()),
        }
    ),
    max_size=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=ROWS, after=ROWS)
def test_every_value_comes_back_as_it_was(
    ledger: SqlLedger, database: Database, before: dict[str, Any], after: dict[str, Any]
) -> None:
    everything = Rules("transactions", "ws_1", NOW, allow_shrink=True)
    for rows in (before, after, after):
        read = part(*({**row, "id": name} for name, row in rows.items()), truth=Truth())
        applied = ledger.apply([read], everything)
        found = ledger.rows_of(ACCOUNT).drop_columns([FIRST_SEEN_AT, CHANGED_AT])
        assert (
            found.sort_by("id").to_pylist() == read.rows.select(found.column_names).sort_by("id").to_pylist()
        )
    assert not applied.counts.workspaces


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(balance_times=st.lists(TIMES, max_size=4))
def test_every_time_comes_back_as_it_was(database: Database, balance_times: list[datetime | None]) -> None:
    columns = Columns("banks")
    ledger = open_sql_table(CONNECTION, "banks", None, "banks")
    owner = Partition("ws_1")
    rows = [
        {"workspace_id": "ws_1", "id": str(number), "createdAt": time, "order": Decimal(number)}
        for number, time in enumerate(balance_times)
    ]
    read = Part(owner, pa.Table.from_pylist(rows, columns.schema), Truth(), NOW)
    rules = Rules("banks", "ws_1", NOW, allow_shrink=True)
    ledger.apply([read], rules)

    assert ledger.apply([read], rules).counts.updated == 0
    found = ledger.rows_of(owner).sort_by("id")
    assert found["createdAt"].to_pylist() == balance_times
