"""The days that an export reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Window:
    """The days from the first to the last, both included."""

    first: date
    last: date

    @classmethod
    def from_days(cls, first: str, last: str) -> Window:
        """Return the window between two days, ``YYYY-MM-DD``."""
        return cls(date.fromisoformat(first), date.fromisoformat(last))

    def days(self) -> tuple[str, str]:
        """Return the first and the last day, ``YYYY-MM-DD``."""
        return self.first.isoformat(), self.last.isoformat()

    def __str__(self) -> str:
        return "{} to {}".format(*self.days())


def window_of_interval(start: datetime, end: datetime, zone: tzinfo) -> Window | None:
    """Return the days that ended in an interval: after its start, and at its end or before.

    Consecutive intervals share no day and leave out no day, at any start time. An interval of length zero
    (Airflow 3 gives one to a manual run) selects the day before that moment.

    :param zone: the timezone whose midnights end a day.
    :return: None if no day ended in the interval.
    """
    last = end.astimezone(zone).date() - timedelta(days=1)
    first = start.astimezone(zone).date() if end.timestamp() > start.timestamp() else last
    return Window(first, last) if first <= last else None


_MISSING = object()
#: Modules whose timetables are known. A subclass elsewhere may leave out runs, for example on holidays.
_KNOWN_MODULES = ("airflow.timetables.", "airflow.sdk.")


def previous_schedule_time(timetable: object, moment: datetime) -> datetime | None:
    """Return the schedule time before `moment`, which is also a schedule time.

    Reads Airflow's timetables that start a run at a time instead of giving it an interval: ``CronTriggerTimetable``
    (Airflow 3's default for cron expressions), ``MultipleCronTriggerTimetable``, ``DeltaTriggerTimetable``,
    ``EventsTimetable``, and each of them inside ``AssetOrTimeSchedule``. Each may be of the Task SDK or, before
    Airflow 3.2, of the scheduler, whose attributes are private.

    :return: None for any other timetable, and if no schedule time is before `moment`.
    """
    if not f"{type(timetable).__module__}.".startswith(_KNOWN_MODULES):
        return None
    if (inner := _get(timetable, "timetable")) is not None:
        return previous_schedule_time(inner, moment)
    if timetables := _get(timetable, "timetables"):
        return _latest(previous_schedule_time(each, moment) for each in timetables)
    if (events := _get(timetable, "event_dates")) is not None:
        return _latest(event for event in events if event < moment)
    if (delta := _get(timetable, "delta")) is not None:
        previous: datetime = moment - delta
        return previous
    expression, zone = _get(timetable, "expression"), _get(timetable, "timezone")
    if not isinstance(expression, str) or zone is None:
        return None
    return _previous_cron_time(expression, ZoneInfo(zone) if isinstance(zone, str) else zone, moment)


def _previous_cron_time(expression: str, zone: tzinfo, moment: datetime) -> datetime:
    from croniter import croniter

    # Cron uses local time, so the days stay correct when daylight saving time begins or ends.
    times = croniter(expression, moment.astimezone(zone).replace(tzinfo=None))
    while True:
        local: datetime = times.get_prev(datetime)
        # Two local times are the same instant if clocks skip one of them. Python compares local times of one zone
        # without their offsets.
        first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1))
        # If clocks repeat the local time, Airflow starts the run at its second time. Skipped times come the other way.
        for found in (second, first) if second > first else (first,):
            if found < moment.astimezone(timezone.utc):
                return found


def _latest(times: Iterable[datetime | None]) -> datetime | None:
    return max((each for each in times if each is not None), key=datetime.timestamp, default=None)


def _get(timetable: object, name: str) -> Any:
    found = getattr(timetable, name, _MISSING)
    return getattr(timetable, f"_{name}", None) if found is _MISSING else found
