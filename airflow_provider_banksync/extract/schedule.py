"""When a DAG's schedule came round before: the interval of runs that Airflow gives none of any length."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

_MISSING = object()


def time_before(timetable: object, moment: datetime) -> datetime | None:
    """Return when a schedule came round before `moment`, at which it did, too.

    For timetables that begin a run at a time and not for an interval: ``CronTriggerTimetable``, which is Airflow 3's
    for cron expressions, ``MultipleCronTriggerTimetable`` and ``DeltaTriggerTimetable``; in the Task SDK's form or,
    before Airflow 3.2, the scheduler's, whose attributes are private.

    :return: None where the timetable is of another kind.
    """
    if several := _get(timetable, "timetables"):
        found = [time_before(each, moment) for each in several]
        return max((each for each in found if each is not None), default=None)
    if (delta := _get(timetable, "delta")) is not None:
        before: datetime = moment - delta
        return before
    expression, zone = _get(timetable, "expression"), _get(timetable, "timezone")
    if not isinstance(expression, str) or zone is None:
        return None
    from croniter import croniter

    clock: tzinfo = ZoneInfo(zone) if isinstance(zone, str) else zone
    # By the clock on the wall, as cron is meant: where clocks change, the days stay the days.
    there = moment.astimezone(clock).replace(tzinfo=None)
    on_the_wall: datetime = croniter(expression, there).get_prev(datetime)
    return on_the_wall.replace(tzinfo=clock)


def _get(timetable: object, name: str) -> Any:
    found = getattr(timetable, name, _MISSING)
    return getattr(timetable, f"_{name}", None) if found is _MISSING else found
