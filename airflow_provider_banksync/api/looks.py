"""When to look at which of many jobs, so that most are looked at once.

Nothing but a look tells that a job has ended, and a look that comes too early is wasted. So a few of the jobs, the
scouts, are looked at again and again, and tell how long jobs take today; each of the others is looked at when most
jobs of its age have ended. Where starts wait for a job's end, at half of that patience.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections import deque
from typing import TYPE_CHECKING

from airflow_provider_banksync.api import codec

if TYPE_CHECKING:
    from airflow_provider_banksync.api.conversations import Clock
    from airflow_provider_banksync.api.family_tracks import Settings, Track
    from airflow_provider_banksync.api.messages import Row

SCOUTS = 8
#: So many jobs must have ended before their times are believed: the first to end are the short ones.
_ENOUGH = 8
#: The share of jobs that have probably ended when one is looked at; and where starts wait for it.
_MOST, _HALF = 0.95, 0.5
#: A job that still runs is looked at again when it is older by this share; and where starts wait for it.
_GROWTH, _QUICK_GROWTH = 0.4, 0.2


class Looks:
    """The looks that are to come."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._scouts = 0
        self._times: list[float] = []
        self._unlooked: deque[Track] = deque()
        self._due: list[tuple[float, int, Track]] = []
        self._count = 0
        self._pressed = False

    def add_new(self, track: Track) -> None:
        """Plan the first look at a job that was just started."""
        track.born = self._clock()
        if self._scouts < SCOUTS:
            self._scouts += 1
            self._push(track, self._settings.poll_interval)
        else:
            self._unlooked.append(track)

    def add(self, track: Track, age: float | None = None) -> None:
        """Plan the next look at a job that was just seen running.

        :param age: how long it has run; None: since it was added.
        """
        now = self._clock()
        if age is not None:
            track.born = now - age
        self._push(track, self._pause_at(now - track.born))

    def later(self, track: Track) -> None:
        """Plan another try of what failed for a passing reason."""
        track.failures += 1
        self._push(track, self.pause(track))

    def pause(self, track: Track) -> float:
        """Return how long to leave a feed alone after so many failures in a row."""
        least, most = self._settings.poll_interval, self._settings.max_poll_interval
        return min(least * 2.0 ** min(track.failures, 10), max(least, most))

    def learn(self, job: Row) -> None:
        """Hear how long a job took, by the server's own clock."""
        born, ended = codec.parse_instant(job.get("createdAt")), codec.parse_instant(job.get("completedAt"))
        if born is not None and ended is not None and ended >= born:
            insort(self._times, ended - born)

    def age(self, job: Row) -> float:
        """How long a job has run, by the server's own clock, when it was last heard of."""
        born, seen = codec.parse_instant(job.get("createdAt")), codec.parse_instant(job.get("updatedAt"))
        return max(0.0, seen - born) if born is not None and seen is not None else 0.0

    def pop(self, *, pressed: bool) -> Track | None:
        """Return the track whose turn it is, if it is one's.

        :param pressed: starts wait for the end of a job.
        """
        self._pressed = pressed
        now = self._clock()
        if self._due and self._due[0][0] <= now:
            return heapq.heappop(self._due)[2]
        if self._unlooked and self._unlooked[0].born + self._patience() <= now:
            return self._unlooked.popleft()
        return None

    def next_at(self) -> float:
        """Return the moment of the next look."""
        moments = [self._due[0][0]] if self._due else []
        if self._unlooked:
            moments.append(self._unlooked[0].born + self._patience())
        return min(moments, default=float("inf"))

    def _patience(self) -> float:
        if len(self._times) < _ENOUGH:
            return max(self._settings.poll_interval, self._settings.max_poll_interval)
        share = _HALF if self._pressed else _MOST
        return max(self._settings.poll_interval, self._times[math.ceil(share * len(self._times)) - 1])

    def _pause_at(self, age: float) -> float:
        # While others wait to hear from the scouts how long jobs take, these are looked at more often.
        scouting = self._unlooked and len(self._times) < _ENOUGH
        growth = _QUICK_GROWTH if self._pressed or scouting else _GROWTH
        pause = min(age * growth, self._settings.max_poll_interval)
        return max(self._settings.poll_interval, pause)

    def _push(self, track: Track, seconds: float) -> None:
        self._count += 1
        heapq.heappush(self._due, (self._clock() + seconds, self._count, track))
