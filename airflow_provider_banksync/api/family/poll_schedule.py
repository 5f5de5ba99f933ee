"""When to poll which of many jobs, so that most need one poll.

Only a poll tells that a job has ended, and a poll that comes too early is wasted. So a few jobs, the probes, are polled
often. They show how long jobs take today. Each remaining job is polled at the age at which most jobs have ended. If
`max_active` makes starts wait, it is polled at the age at which half of the jobs have ended.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from airflow_provider_banksync.api import codec

if TYPE_CHECKING:
    from airflow_provider_banksync.api.flows.core import Clock
    from airflow_provider_banksync.api.messages import Row

MAX_PROBES = 8
#: This many jobs must have ended before their durations count. The first to end are the short ones.
_MIN_SAMPLES = 8
#: Poll a job when this share of jobs of its age has ended. Second value: while starts wait for a free place.
_HIGH_QUANTILE, _MEDIAN = 0.95, 0.5
#: Poll a running job again when its age has grown by this share. Second value: while starts wait for a free place.
_GROWTH, _QUICK_GROWTH = 0.4, 0.2


class Pollable(Protocol):
    """Something with a job to poll."""

    job_started_at: float
    #: Failed attempts in a row.
    failures: int


_P = TypeVar("_P", bound=Pollable)


def job_age(job: Row) -> float:
    """Return how long a job had run when its row was last changed, by the server's clock."""
    created, seen = codec.epoch_seconds(job.get("createdAt")), codec.epoch_seconds(job.get("updatedAt"))
    return max(0.0, seen - created) if created is not None and seen is not None else 0.0


class PollSchedule(Generic[_P]):
    """The polls to come.

    :param interval: minimum seconds between two polls of a job.
    :param max_interval: maximum seconds between two polls of a job.
    """

    def __init__(self, interval: float, max_interval: float, clock: Clock) -> None:
        self._interval = interval
        self._max_interval = max_interval
        self._clock = clock
        self._probes = 0
        self._durations: list[float] = []
        self._not_polled: deque[_P] = deque()
        self._due: list[tuple[float, int, _P]] = []
        self._count = 0
        self._starts_waiting = False

    def schedule_first_poll(self, item: _P) -> None:
        """Schedule the first poll of a job that was just started."""
        item.job_started_at = self._clock()
        if self._probes < MAX_PROBES:
            self._probes += 1
            self._push(item, self._interval)
        else:
            self._not_polled.append(item)

    def schedule_next_poll(self, item: _P, age: float | None = None) -> None:
        """Schedule the next poll of a running job.

        :param age: seconds that it has run; None: since `job_started_at`.
        """
        now = self._clock()
        if age is not None:
            item.job_started_at = now - age
        self._push(item, self._poll_interval(now - item.job_started_at))

    def schedule_retry(self, item: _P) -> None:
        """Schedule another attempt after a transient error."""
        item.failures += 1
        self._push(item, self.retry_delay(item))

    def retry_delay(self, item: _P) -> float:
        """Return the seconds before the next attempt: the backoff after this many failures in a row."""
        return min(self._interval * 2.0 ** min(item.failures, 10), max(self._interval, self._max_interval))

    def record_duration(self, job: Row) -> None:
        """Record how long an ended job took, by the server's clock."""
        created = codec.epoch_seconds(job.get("createdAt"))
        ended = codec.epoch_seconds(job.get("completedAt"))
        if created is not None and ended is not None and ended >= created:
            insort(self._durations, ended - created)

    def pop_due(self, *, starts_waiting: bool) -> _P | None:
        """Return an item whose poll is due, or None.

        :param starts_waiting: starts wait for a free place: for a job to end.
        """
        self._starts_waiting = starts_waiting
        now = self._clock()
        if self._due and self._due[0][0] <= now:
            return heapq.heappop(self._due)[2]
        if self._not_polled and self._not_polled[0].job_started_at + self._expected_duration() <= now:
            return self._not_polled.popleft()
        return None

    def next_poll_at(self) -> float:
        """Return the moment of the next poll; infinity if there is none."""
        moments = [self._due[0][0]] if self._due else []
        if self._not_polled:
            moments.append(self._not_polled[0].job_started_at + self._expected_duration())
        return min(moments, default=math.inf)

    def _expected_duration(self) -> float:
        if len(self._durations) < _MIN_SAMPLES:
            return max(self._interval, self._max_interval)
        share = _MEDIAN if self._starts_waiting else _HIGH_QUANTILE
        return max(self._interval, self._durations[math.ceil(share * len(self._durations)) - 1])

    def _poll_interval(self, age: float) -> float:
        # While other jobs wait for the durations of the probes, the probes are polled more often.
        probing = self._not_polled and len(self._durations) < _MIN_SAMPLES
        growth = _QUICK_GROWTH if self._starts_waiting or probing else _GROWTH
        return max(self._interval, min(age * growth, self._max_interval))

    def _push(self, item: _P, seconds: float) -> None:
        self._count += 1
        heapq.heappush(self._due, (self._clock() + seconds, self._count, item))
