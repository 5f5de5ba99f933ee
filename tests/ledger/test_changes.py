"""The changes of an account: applied to any table, they give what the API has, and leave everything else alone."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_banksync.ledger.changes import Changes, Truth, compute_changes, count_posted
from airflow_provider_banksync.ledger.columns import CHANGED_AT, FIRST_SEEN_AT, Columns

COLUMNS = Columns("transactions")
BEFORE, NOW = (datetime(2026, 3, day, 6, tzinfo=timezone.utc) for day in (3, 4))
FIRST = date(2026, 1, 18)
OWNER = {"workspace_id": "ws_1", "portal_name": "Client", "bank_id": "b_1", "account_id": "a_1"}

Rows = dict[str, dict[str, Any]]

DAYS = st.one_of(st.none(), st.dates(FIRST - timedelta(days=3), FIRST + timedelta(days=3)))
VALUES = st.fixed_dictionaries(
    {
        "date": DAYS,
        "amount": st.one_of(st.none(), st.sampled_from([Decimal("0.1"), Decimal("-0.10"), Decimal("1E+3")])),
        "description": st.one_of(st.none(), st.sampled_from(["", "Coffee"])),
        "pending": st.one_of(st.none(), st.booleans()),
    }
)
ROWS = st.dictionaries(st.sampled_from(["t1", "t2", "t3", "t4", "t5"]), VALUES, max_size=5)
TRUTHS = st.sampled_from([None, Truth(), Truth(FIRST), Truth(FIRST, FIRST + timedelta(days=1))])


def table_of(rows: Rows, seen: datetime | None = None) -> pa.Table:
    """Return an Arrow table of rows by their ids."""
    times = {FIRST_SEEN_AT: seen, CHANGED_AT: seen}
    found = [{**OWNER, "id": key, **values, **times} for key, values in rows.items()]
    return pa.Table.from_pylist(found, COLUMNS.schema)


def changes_of(existing: pa.Table, incoming: pa.Table, truth: Truth | None) -> Changes:
    return compute_changes(existing, incoming, truth, key=COLUMNS.primary_key, day="date", now=NOW)


def apply(existing: pa.Table, changes: Changes) -> list[dict[str, Any]]:
    """Apply changes as a table does."""
    rows = {row["id"]: row for row in existing.to_pylist()}
    for row in changes.deletes.to_pylist():
        del rows[row["id"]]
    for row in changes.upserts.to_pylist():
        rows[row["id"]] = row
    return list(rows.values())


def is_covered(day: date | None, truth: Truth | None) -> bool:
    if truth is None or truth == Truth():
        return truth is not None
    return day is not None and day >= (truth.first or day) and day <= (truth.last or day)


def values_of(rows: list[dict[str, Any]]) -> Rows:
    return {
        row["id"]: {name: row[name] for name in ("date", "amount", "description", "pending")} for row in rows
    }


@settings(deadline=None)
@given(existing=ROWS, incoming=ROWS, truth=TRUTHS)
def test_a_table_then_has_what_the_api_has(existing: Rows, incoming: Rows, truth: Truth | None) -> None:
    after = values_of(
        apply(table_of(existing, BEFORE), changes_of(table_of(existing, BEFORE), table_of(incoming), truth))
    )

    kept = {
        key: values
        for key, values in existing.items()
        if key not in incoming and not is_covered(values["date"], truth)
    }
    assert after == {**kept, **incoming}


@settings(deadline=None)
@given(existing=ROWS, incoming=ROWS, truth=TRUTHS)
def test_applied_twice_it_changes_nothing(existing: Rows, incoming: Rows, truth: Truth | None) -> None:
    first = changes_of(table_of(existing, BEFORE), table_of(incoming), truth)
    table = pa.Table.from_pylist(apply(table_of(existing, BEFORE), first), COLUMNS.schema)

    second = changes_of(table, table_of(incoming), truth)

    assert not second
    assert (second.inserted, second.updated, second.deleted) == (0, 0, 0)


@settings(deadline=None)
@given(existing=ROWS, incoming=ROWS, truth=TRUTHS)
def test_the_counts_are_those_of_the_difference(existing: Rows, incoming: Rows, truth: Truth | None) -> None:
    changes = changes_of(table_of(existing, BEFORE), table_of(incoming), truth)

    new = incoming.keys() - existing.keys()
    assert changes.inserted == len(new)
    assert changes.updated == sum(existing[key] != incoming[key] for key in incoming.keys() & existing.keys())
    assert changes.deleted == sum(
        is_covered(existing[key]["date"], truth) for key in existing.keys() - incoming.keys()
    )
    for row in changes.upserts.to_pylist():
        assert row[CHANGED_AT] == NOW
        assert row[FIRST_SEEN_AT] == (NOW if row["id"] in new else BEFORE)


def test_amounts_that_differ_in_the_last_digit_differ() -> None:
    amounts = [Decimal("0.000000000000000001"), Decimal("0.000000000000000002")]
    one, other = (table_of({"t1": {"date": FIRST, "amount": each}}) for each in amounts)

    assert changes_of(one, other, None).updated == 1
    assert not changes_of(one, one, None)


def test_pending_rows_that_vanish_are_not_counted_as_lost() -> None:
    before = {f"p{number}": {"date": FIRST, "pending": True} for number in range(20)}
    before |= {f"t{number}": {"date": FIRST, "pending": False} for number in range(9)}
    now = {f"t{number}": {"date": FIRST, "pending": None} for number in range(4)}

    counts = [count_posted(table_of(each), Truth(FIRST), "date", COLUMNS.owner) for each in (before, now)]

    assert counts == [{("ws_1", "a_1"): 9}, {("ws_1", "a_1"): 4}]
