"""Schedules whose runs have no interval of any length: no day is left out, and none is read twice."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, AirflowSkipException, Asset
from airflow.timetables import trigger
from airflow.timetables.events import EventsTimetable
from airflow.timetables.trigger import CronTriggerTimetable, DeltaTriggerTimetable

from airflow_provider_banksync.extract.windows import previous_schedule_time
from tests.support.export_task import Task, manifest_of

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

BERLIN, UTC = ZoneInfo("Europe/Berlin"), timezone.utc
MONDAY = pendulum.datetime(2026, 3, 2, 6)


def through_a_dag(schedule: Any) -> Any:
    """What a task finds: since Airflow 3.2, the Task SDK's form of it."""
    dag: Any = DAG("lake", schedule=schedule, start_date=datetime(2026, 1, 1, tzinfo=UTC))
    return dag.timetable


@pytest.mark.parametrize(
    ("timetable", "moment", "before"),
    [
        (CronTriggerTimetable("0 6 * * 1-5", timezone="UTC"), MONDAY, "2026-02-27T06:00+00:00"),
        (CronTriggerTimetable("@weekly", timezone="UTC"), MONDAY, "2026-03-01T00:00+00:00"),
        (CronTriggerTimetable("@hourly", timezone="UTC"), MONDAY, "2026-03-02T05:00+00:00"),
        # Clocks went forward on the 29th, and back on the 25th.
        (
            CronTriggerTimetable("0 6 * * *", timezone="Europe/Berlin"),
            datetime(2026, 3, 29, 6, tzinfo=BERLIN),
            "2026-03-28T06:00+01:00",
        ),
        (
            CronTriggerTimetable("0 6 * * *", timezone="Europe/Berlin"),
            datetime(2026, 10, 25, 6, tzinfo=BERLIN),
            "2026-10-24T06:00+02:00",
        ),
        # Clocks repeat the time. Airflow starts the run at its second one.
        (
            CronTriggerTimetable("0 2 * * 0", timezone="Europe/Berlin"),
            datetime(2026, 11, 1, 1, tzinfo=UTC),
            "2026-10-25T02:00+01:00",
        ),
        (
            CronTriggerTimetable("15 1 * * *", timezone="America/New_York"),
            datetime(2026, 11, 2, 6, 15, tzinfo=UTC),
            "2026-11-01T01:15-05:00",
        ),
        (
            CronTriggerTimetable("30 1 * * *", timezone="Australia/Lord_Howe"),
            datetime(2026, 4, 5, 15, tzinfo=UTC),
            "2026-04-05T01:30+10:30",
        ),
        (
            CronTriggerTimetable("0 2 * * 0", timezone="Africa/Casablanca"),
            datetime(2026, 2, 22, 2, tzinfo=UTC),
            "2026-02-15T02:00+00:00",
        ),
        # The clocks skip 02:00 on the 29th, so the run is at 03:00, the same instant.
        (
            CronTriggerTimetable("0 2 * * 0", timezone="Europe/Berlin"),
            datetime(2026, 3, 29, 1, tzinfo=UTC),
            "2026-03-22T02:00+01:00",
        ),
        (
            CronTriggerTimetable("*/30 2 * * *", timezone="Europe/Berlin"),
            datetime(2026, 3, 29, 1, tzinfo=UTC),
            "2026-03-28T02:30+01:00",
        ),
        # Clocks skip midnight in Beirut, and 02:00 to 02:30 on Lord Howe Island.
        (
            CronTriggerTimetable("0 0 * * 0", timezone="Asia/Beirut"),
            datetime(2026, 3, 28, 22, tzinfo=UTC),
            "2026-03-22T00:00+02:00",
        ),
        (
            CronTriggerTimetable("0 2 * * *", timezone="Australia/Lord_Howe"),
            datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
            "2026-10-03T02:00+10:30",
        ),
        # Clocks go back to midnight in Havana.
        (
            CronTriggerTimetable("0 0 * * *", timezone="America/Havana"),
            datetime(2026, 11, 1, 5, tzinfo=UTC),
            "2026-10-31T00:00-04:00",
        ),
        (DeltaTriggerTimetable(timedelta(days=2)), MONDAY, "2026-02-28T06:00+00:00"),
        (
            EventsTimetable([MONDAY.add(days=3), MONDAY, MONDAY.add(days=-9), MONDAY.add(days=-20)]),
            MONDAY,
            "2026-02-21T06:00+00:00",
        ),
    ],
)
def test_when_it_came_round_before(timetable: Any, moment: datetime, before: str) -> None:
    assert previous_schedule_time(timetable, moment) == datetime.fromisoformat(before)
    assert previous_schedule_time(through_a_dag(timetable), moment) == datetime.fromisoformat(before)


def assets_or(timetable: Any) -> Any:
    """Return the schedule that runs when assets change, and by a timetable."""
    try:
        from airflow.timetables.assets import AssetOrTimeSchedule

        return AssetOrTimeSchedule(timetable=timetable, assets=[Asset("file:///a")])
    except ImportError:  # Airflow 2
        from airflow.timetables.datasets import DatasetOrTimeSchedule

        return DatasetOrTimeSchedule(timetable=timetable, datasets=[Asset("file:///a")])


def test_a_timetable_beside_assets() -> None:
    schedule = assets_or(CronTriggerTimetable("0 6 * * 1", timezone="UTC"))
    for timetable in (schedule, through_a_dag(schedule)):
        assert previous_schedule_time(timetable, MONDAY) == datetime(2026, 2, 23, 6, tzinfo=UTC)


class OnWorkingDays(CronTriggerTimetable):
    """Somebody's timetable, which may leave out any number of runs of its cron expression."""


@pytest.mark.skipif(not hasattr(trigger, "MultipleCronTriggerTimetable"), reason="Airflow 3 brought it")
def test_when_the_latest_of_several_came_round() -> None:
    several: Any = trigger.MultipleCronTriggerTimetable("0 6 * * 1", "0 6 1 * *", timezone="UTC")
    for timetable in (several, through_a_dag(several)):
        assert previous_schedule_time(timetable, MONDAY) == datetime(2026, 3, 1, 6, tzinfo=UTC)


def test_a_timetable_that_does_not_say() -> None:
    assert previous_schedule_time(None, MONDAY) is None
    assert previous_schedule_time(through_a_dag("@once"), MONDAY) is None
    assert previous_schedule_time(EventsTimetable([MONDAY, MONDAY.add(days=1)]), MONDAY) is None
    own = OnWorkingDays("0 6 * * *", timezone="UTC")
    assert previous_schedule_time(own, MONDAY) is None
    assert previous_schedule_time(assets_or(own), MONDAY) is None


@pytest.mark.banksync_sandbox(portals=0, time_scale=0)
def test_a_timetable_that_does_not_say_never_reads_one_day_in_silence(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    own = OnWorkingDays("0 6 * * *", timezone="UTC")
    task = Task(tmp_path, "scheduled", (MONDAY, MONDAY), run_type="scheduled", timetable=own)
    with pytest.raises(
        AirflowFailException, match=r"OnWorkingDays gives the run no data interval.* from_date"
    ):
        window_of(task)
    task.interval, task.run_after = (None, None), MONDAY
    with pytest.raises(AirflowFailException, match="OnWorkingDays"):
        window_of(task)
    summary = task.run(resource="transactions", from_date="2026-02-20")
    assert manifest_of(summary)["window"] == {"from_date": "2026-02-20", "to_date": "2026-03-01"}


@pytest.mark.banksync_sandbox(portals=0, time_scale=0)
def test_a_schedule_of_weekdays_leaves_out_no_weekend(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    timetable = through_a_dag(CronTriggerTimetable("0 6 * * 1-5", timezone="UTC"))
    read: list[date] = []
    for moment in (MONDAY + timedelta(days=number) for number in range(14)):
        if moment.isoweekday() <= 5:
            task = Task(tmp_path, f"scheduled {moment}", (moment, moment), timetable=timetable)
            task.run_type = "backfill" if moment.day % 2 else "scheduled"
            first, last = window_of(task)
            read += [first + timedelta(days=number) for number in range((last - first).days + 1)]
    assert read == [date(2026, 2, 27) + timedelta(days=number) for number in range(14)]
    by_hand = Task(tmp_path, "manual", (MONDAY, MONDAY), timetable=timetable)
    assert window_of(by_hand) == (date(2026, 3, 1), date(2026, 3, 1))


@pytest.mark.banksync_sandbox(portals=0, time_scale=0)
def test_an_hourly_schedule_reads_a_day_when_it_is_over(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path
) -> None:
    timetable = through_a_dag(CronTriggerTimetable("30 * * * *", timezone="UTC"))
    task = Task(tmp_path, run_type="scheduled", timetable=timetable)
    task.interval = (MONDAY.replace(hour=0, minute=30),) * 2
    assert window_of(task) == (date(2026, 3, 1), date(2026, 3, 1))
    task.interval = (MONDAY.replace(hour=1, minute=30),) * 2
    with pytest.raises(AirflowSkipException, match="No day ended"):
        window_of(task)


def window_of(task: Task) -> tuple[date, date]:
    window = manifest_of(task.run(resource="transactions"))["window"]
    return date.fromisoformat(window["from_date"]), date.fromisoformat(window["to_date"])
