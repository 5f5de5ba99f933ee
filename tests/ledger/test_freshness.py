"""How fresh an account is, and when a consent may end."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_banksync.ledger.freshness import compute_freshness, estimate_consent_end

TODAY = date(2026, 3, 31)


def days(*before: int) -> list[date]:
    return [TODAY - timedelta(days=each) for each in before]


def test_an_account_without_rows_or_history_is_not_stale() -> None:
    assert compute_freshness([], TODAY) == (None, None, False)
    assert compute_freshness(days(300, 200, 100), TODAY) == (TODAY - timedelta(days=100), None, False)


@pytest.mark.parametrize(("gap", "limit"), [(1, 7), (2, 7), (3, 9), (30, 90)])
def test_an_account_is_stale_after_three_of_its_usual_gaps(gap: int, limit: int) -> None:
    for age in (limit, limit + 1):
        found = compute_freshness(days(*(age + gap * each for each in range(6))), TODAY)
        assert found == (TODAY - timedelta(days=age), gap, age > limit)


def test_one_long_gap_is_not_usual() -> None:
    found = compute_freshness(days(8, *range(60, 72)), TODAY)
    assert (found.usual_gap_days, found.is_stale) == (1, True)


@given(st.lists(st.integers(-9, 400), max_size=30))
def test_an_account_with_a_row_of_this_week_is_fresh(before: list[int]) -> None:
    found = compute_freshness(days(*before, 7), TODAY)
    assert not found.is_stale
    assert found.newest is not None
    assert found.newest <= TODAY


@pytest.mark.parametrize(
    ("linked", "source", "currency", "end"),
    [
        (date(2026, 1, 1), "plaid", "EUR", date(2026, 6, 30)),
        (date(2026, 1, 1), "plaid", "GBP", date(2026, 4, 1)),
        (date(2026, 1, 1), "plaid", "USD", None),
        (date(2026, 1, 1), "Basiq", "USD", date(2027, 1, 1)),
        (date(2026, 1, 1), None, "AUD", date(2027, 1, 1)),
        (date(2026, 1, 1), None, None, None),
        (date(2025, 1, 1), "plaid", "GBP", None),
    ],
)
def test_the_end_of_a_consent_is_estimated(
    linked: date, source: str | None, currency: str | None, end: date | None
) -> None:
    assert estimate_consent_end(linked, source, currency, TODAY) == end
