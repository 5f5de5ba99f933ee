"""Whether rows explain balances, for one account and currency. The bank of these tests books each row at a time."""

from __future__ import annotations

from bisect import bisect_left
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_banksync.ledger.reconcile import Balance, PostedRow, explain_balances

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
DAYS = 20
#: No sum of cents is a multiple of it, so no choice of rows explains it by chance.
ODD = Decimal("0.005")

cents = st.integers(-50_000, 50_000).map(lambda units: Decimal(units) / 100)
moments = st.floats(-3, DAYS, allow_nan=False).map(lambda days: START + timedelta(days=days))
#: When the bank books a row, and how many days later the API has it.
rows_of_bank = st.lists(st.tuples(moments, cents), max_size=60)
#: The hours at which balances are read, in order. Some days have none.
reads = st.lists(
    st.tuples(st.integers(0, DAYS - 1), st.integers(0, 23)),
    min_size=2,
    max_size=DAYS,
    unique_by=lambda it: it[0],
).map(lambda pairs: [START + timedelta(days=day, hours=hour) for day, hour in sorted(pairs)])
OPENING = Decimal("1000.07")


def day(number):
    return (START + timedelta(days=number)).date()


def balance_at(moment, booked, opening=OPENING, sign=1):
    return Balance(
        moment.date(), opening + sign * sum((a for at, a in booked if at <= moment), Decimal(0)), moment
    )


def rows_as_seen(booked, runs):
    """Return the rows of the table. A run at each time of `runs` writes what the API has then."""
    rows = []
    for at, amount in booked:
        number = bisect_left(runs, at)
        if number < len(runs):
            rows.append(PostedRow(at.date(), amount, runs[number], runs[number]))
    return rows


def explain(balances, rows, last=DAYS, **rules):
    return explain_balances(balances, rows, last_day=day(last), **rules)


@given(rows_of_bank, reads)
def test_balances_that_come_from_the_rows_reconcile(booked, reads):
    runs = [*reads, START + timedelta(days=DAYS + 1)]
    found = explain([balance_at(each, booked) for each in reads], rows_as_seen(booked, runs), runs=runs)

    assert found.differences == ()
    assert found.span.difference == 0
    assert (found.span.before.day, found.span.after.day) == (reads[0].date(), reads[-1].date())
    assert found.span.after.amount - found.span.before.amount == found.span.sum_of_rows


@given(rows_of_bank, reads)
def test_balances_that_are_read_before_the_rows_reconcile(booked, reads):
    """Each run reads the balances first. What was booked since the last run is in them, and comes minutes later."""
    runs = [each + timedelta(minutes=5) for each in reads]
    booked = [
        (at, amount)
        for at, amount in booked
        if not any(a < at <= b for a, b in zip(reads, runs, strict=True))
    ]
    rows = rows_as_seen(booked, runs)

    assert explain([balance_at(each, booked) for each in reads], rows, runs=runs).differences == ()


@given(rows_of_bank, reads)
def test_balances_of_the_end_of_a_day_reconcile_whenever_the_rows_come(booked, reads):
    ends = [each.replace(hour=23, minute=59, second=59, microsecond=999_999) for each in reads]
    late = START + timedelta(days=DAYS + 1)
    rows = [PostedRow(at.date(), amount, late, late) for at, amount in booked]

    assert explain([balance_at(each, booked) for each in ends], rows).differences == ()


@given(st.lists(st.tuples(st.integers(0, 9), cents, st.booleans()), max_size=8))
def test_a_row_of_the_day_of_a_balance_may_be_on_either_side_of_it(rows):
    """Balances of noon. Which rows of the day they contain, nothing tells."""
    noon, end = timedelta(hours=12), START + timedelta(days=30)
    booked = [
        (START + timedelta(days=number, hours=3 if is_before else 20), amount)
        for number, amount, is_before in rows
    ]
    balances = [balance_at(START + timedelta(days=number) + noon, booked) for number in range(10)]
    table = [PostedRow(at.date(), amount, end, end) for at, amount in booked]

    assert explain(balances, table).differences == ()


@given(rows_of_bank, reads, st.integers(1, DAYS), st.integers(-500, 500).filter(bool))
def test_one_planted_amount_is_found_with_its_amount_and_days(booked, reads, planted_day, units):
    planted = Decimal(units) + ODD
    runs = [*reads, START + timedelta(days=DAYS + 1)]
    balances = [
        each._replace(amount=each.amount + planted) if each.day >= day(planted_day) else each
        for each in (balance_at(each, booked) for each in reads)
    ]
    found = explain(balances, rows_as_seen(booked, runs), runs=runs)

    before = [each for each in balances if each.day < day(planted_day)]
    after = [each for each in balances if each.day >= day(planted_day)]
    if not before or not after:
        assert found.differences == ()
        return
    (span,) = found.differences
    assert span == found.span
    assert span.difference == planted
    assert (span.before, span.after) == (before[-1], after[0])
    assert span.after.amount - span.before.amount - span.sum_of_rows == planted


@given(rows_of_bank, reads)
def test_two_planted_amounts_are_two_differences(booked, reads):
    runs = [*reads, START + timedelta(days=DAYS + 1)]
    balances = [balance_at(each, booked) for each in reads]
    third = len(balances) // 3
    for first, amount in ((third, "7.005"), (2 * third, "100.0005")):
        balances[first:] = [each._replace(amount=each.amount + Decimal(amount)) for each in balances[first:]]
    found = explain(balances, rows_as_seen(booked, runs), runs=runs)

    if third == 1:
        assert [each.difference for each in found.differences] == [Decimal("107.0055")]
    if third > 1:
        assert [each.difference for each in found.differences] == [Decimal("7.005"), Decimal("100.0005")]
    if third:
        assert found.span.difference == Decimal("107.0055")
        assert (found.span.before, found.span.after) == (balances[third - 1], balances[2 * third])


def at(number, hour=6):
    return START + timedelta(days=number, hours=hour)


def balance(number, amount):
    return Balance(day(number), Decimal(amount), at(number))


def row(number, amount, seen=None):
    moment = at(number if seen is None else seen, 5)
    return PostedRow(day(number), Decimal(amount), moment, moment)


def amounts(found):
    return [str(each.difference) for each in found.differences]


def test_one_balance_is_none():
    assert explain([balance(1, 10)], [row(1, 5)]) is None
    assert explain([balance(1, 10), balance(5, 10)], [], last=4) is None


def test_the_days_after_the_last_one_are_open():
    balances = [balance(1, 10), balance(2, 10), balance(3, 99)]
    assert amounts(explain(balances, [], last=3)) == ["89"]
    found = explain(balances, [], last=2)
    assert (amounts(found), found.span.after) == ([], balances[1])


def test_a_balance_of_an_open_day_can_explain_a_difference():
    """The bank booked a row two days after its date."""
    balances = [balance(1, 100), balance(2, 100), balance(3, 100), balance(4, 60)]
    rows = [row(2, -40)]
    assert amounts(explain(balances[:3], rows, last=3)) == ["40"]
    found = explain(balances, rows, last=3)
    assert (amounts(found), found.span.difference) == ([], 0)


def test_a_difference_that_a_later_balance_takes_back_is_not_reported():
    balances = [balance(number, 100 if number < 4 or number > 9 else 60) for number in range(1, 20)]
    assert amounts(explain(balances, [])) == []


def test_balances_that_never_agree_are_one_difference():
    """Each purchase adds to what is owed, but the amounts count as if it were an asset."""
    balances = [balance(number, 100 + 10 * number) for number in range(12)]
    found = explain(balances, [row(number, -10) for number in range(12)], last=9)
    assert (amounts(found), found.span.before, found.span.after) == (["180"], balances[0], balances[9])


def test_days_without_a_balance_widen_the_span():
    balances = [balance(1, 100), balance(2, 100), balance(9, 130), balance(10, 130)]
    (span,) = explain(balances, [row(5, 10)]).differences
    assert (span.before.day, span.after.day, span.difference, span.sum_of_rows) == (day(2), day(9), 20, 10)


def test_a_liability_that_is_owed_falls_with_each_payment():
    balances = [balance(1, 500), balance(2, 450), balance(3, 470)]
    rows = [row(2, 50), row(3, -20)]
    found = explain(balances, rows, sign=-1)
    assert (amounts(found), found.span.sum_of_rows, found.span.difference) == ([], 30, 0)
    assert amounts(explain(balances, rows)) != []
    planted = [*balances[:2], balance(3, 471)]
    assert amounts(explain(planted, rows, sign=-1)) == ["1"]


def test_the_tolerance_is_the_largest_amount_that_is_no_difference():
    balances = [balance(1, "100"), balance(2, "100.05"), balance(3, "99.98")]
    assert amounts(explain(balances, [], tolerance=Decimal("0.05"))) == []
    assert amounts(explain(balances, [], tolerance=Decimal("0.01"))) == ["-0.02"]
    assert amounts(explain(balances, [])) == ["-0.02"]


def test_a_slow_drift_exceeds_the_tolerance_in_the_end():
    balances = [balance(number, 100 + Decimal(number) / 100) for number in range(10)]
    assert amounts(explain(balances, [], tolerance=Decimal("0.05"))) == ["0.06"]


def test_a_row_that_was_changed_after_the_balance_may_have_been_pending():
    posted_later = PostedRow(day(1), Decimal(-10), at(1, 5), at(3, 5))
    balances = [balance(1, 100), balance(2, 100), balance(3, 90)]
    assert amounts(explain(balances, [posted_later])) == []


def test_a_late_row_may_have_been_in_the_balance_or_not():
    late = row(2, -30, seen=9)
    with_it = [balance(1, 100), *(balance(number, 70) for number in range(3, 12))]
    without_it = [balance(1, 100), *(balance(number, 100 if number < 9 else 70) for number in range(3, 12))]
    assert amounts(explain(with_it, [late])) == amounts(explain(without_it, [late])) == []


def test_many_rows_of_one_day_do_not_explain_everything():
    """The sums of 15 rows have every amount up to 327.67."""
    rows = [row(2, Decimal(2**number) / 100, seen=9) for number in range(15)]
    balances = [balance(1, 0), balance(2, "0.77")]
    assert amounts(explain(balances, rows)) == ["0.77"]
    assert amounts(explain(balances, rows[:10])) == []


@settings(max_examples=5, deadline=None)
@given(st.lists(cents, min_size=300, max_size=300))
@example([Decimal(number) for number in range(300)])
def test_an_account_with_many_rows_and_a_difference_is_quick(amounts_of_rows):
    rows = [row(number % 90, amount, seen=number % 90 + 1) for number, amount in enumerate(amounts_of_rows)]
    balances = [
        balance(number, sum((each.amount for each in rows if each.day < day(number)), Decimal(0)))
        for number in range(90)
    ]
    balances[40:] = [each._replace(amount=each.amount + ODD) for each in balances[40:]]
    (span,) = explain(balances, rows, last=90).differences
    assert span.difference == ODD
    assert isinstance(span.before.day, date)
