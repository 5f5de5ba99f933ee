"""Which days a run reads: none twice, none missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo


@dataclass(frozen=True)
class Window:
    """Days from the first to the last, both included."""

    first: date
    last: date

    @classmethod
    def of_days(cls, first: str, last: str) -> Window:
        """Return the window of two days, ``YYYY-MM-DD``."""
        return cls(date.fromisoformat(first), date.fromisoformat(last))

    @property
    def label(self) -> str:
        """Name of its folder."""
        return f"window={self.first.isoformat()}_{self.last.isoformat()}"

    def __str__(self) -> str:
        return f"{self.first.isoformat()} to {self.last.isoformat()}"


def of_interval(start: datetime, end: datetime, zone: tzinfo) -> Window | None:
    """Return the days that ended within an interval of time: after its start, or at its end.

    So intervals that follow one another share no day and leave none out, at whatever hour they begin, and a day is
    read when it is over. An interval of no length, as a run by hand has on Airflow 3, has the last day that was over at
    that moment.

    :param zone: whose midnights count.
    :return: None where no day ended in the interval.
    """
    last = end.astimezone(zone).date() - timedelta(days=1)
    first = start.astimezone(zone).date() if end > start else last
    return Window(first, last) if first <= last else None


def batch_moment(moment: datetime) -> str:
    """Return the moment of a batch, in a form that sorts as text."""
    return moment.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%S%fZ")
