"""The days of a run: none twice, none missing, whatever the schedule and the timezone."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_banksync.export.storage.layout import batch_timestamp, window_label
from airflow_provider_banksync.extract.windows import Window, window_of_interval

BERLIN, AUCKLAND, UTC = ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Auckland"), timezone.utc
ZONES = st.sampled_from([UTC, BERLIN, AUCKLAND, ZoneInfo("America/St_Johns"), ZoneInfo("Pacific/Apia")])


def days(window: Window | None) -> list[date]:
    if window is None:
        return []
    return [window.first + timedelta(days=n) for n in range((window.last - window.first).days + 1)]


@pytest.mark.parametrize(
    ("start", "end", "zone", "first", "last"),
    [
        ("2026-03-02T00:00+00:00", "2026-03-03T00:00+00:00", UTC, "2026-03-02", "2026-03-02"),
        ("2026-03-02T06:00+00:00", "2026-03-03T06:00+00:00", UTC, "2026-03-02", "2026-03-02"),
        ("2026-03-01T23:00+00:00", "2026-03-02T23:00+00:00", BERLIN, "2026-03-02", "2026-03-02"),
        ("2026-03-28T23:00+00:00", "2026-03-29T22:00+00:00", BERLIN, "2026-03-29", "2026-03-29"),  # 23 hours
        ("2026-02-01T00:00+00:00", "2026-03-01T00:00+00:00", UTC, "2026-02-01", "2026-02-28"),
        # Airflow 3 gives a cron schedule intervals of no length, and a run by hand, too.
        ("2026-03-03T06:00+00:00", "2026-03-03T06:00+00:00", UTC, "2026-03-02", "2026-03-02"),
        ("2026-03-03T00:00+00:00", "2026-03-03T00:00+00:00", UTC, "2026-03-02", "2026-03-02"),
        ("2026-03-02T23:30+00:00", "2026-03-02T23:30+00:00", BERLIN, "2026-03-02", "2026-03-02"),
    ],
)
def test_the_days_of_an_interval(start: str, end: str, zone: tzinfo, first: str, last: str) -> None:
    window = window_of_interval(datetime.fromisoformat(start), datetime.fromisoformat(end), zone)
    assert window == Window.from_days(first, last)


def test_an_interval_in_which_no_day_ended() -> None:
    start = datetime(2026, 3, 2, 3, tzinfo=UTC)
    assert window_of_interval(start, start + timedelta(hours=1), UTC) is None


@given(
    st.integers(0, 365 * 24 * 60).map(
        lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    st.lists(st.integers(1, 5 * 24 * 60), min_size=1, max_size=30),
    ZONES,
)
def test_intervals_that_follow_one_another_share_no_day_and_leave_none_out(
    begin: datetime, minutes: list[int], zone: tzinfo
) -> None:
    read: list[date] = []
    moment = begin
    for length in minutes:
        following = moment + timedelta(minutes=length)
        window = window_of_interval(moment, following, zone)
        assert all(day < following.astimezone(zone).date() for day in days(window)), "it is over"
        read += days(window)
        moment = following
    whole = Window(begin.astimezone(zone).date(), moment.astimezone(zone).date() - timedelta(days=1))
    assert read == (days(whole) if whole.first <= whole.last else [])


def test_thirty_daily_intervals_are_thirty_windows() -> None:
    begin = datetime(2026, 10, 5, tzinfo=AUCKLAND)
    ends = [begin + timedelta(days=n) for n in range(31)]
    windows = [window_of_interval(a.astimezone(UTC), b.astimezone(UTC), AUCKLAND) for a, b in pairwise(ends)]
    assert [day for window in windows for day in days(window)] == [
        date(2026, 10, 5) + timedelta(days=n) for n in range(30)
    ]
    assert len({window_label(*window.days()) for window in windows if window}) == 30


@given(st.lists(st.floats(0, 4e9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))))
def test_names_of_batches_sort_as_their_moments_do(moments: list[datetime]) -> None:
    ordered = sorted(moments)
    assert [batch_timestamp(each) for each in ordered] == sorted(batch_timestamp(each) for each in moments)
