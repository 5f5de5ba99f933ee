"""Sync jobs: how they are born, how they are looked at, how they end.

A job's state at any moment is worked out from its birth, from what has happened since (``plans``) and from the time.
Looking at a job never moves it, and only ``start`` and ``cancel`` write anything.

    queued ──► in_progress ──► completed   (perhaps with rows that could not be written)
       │            │      └─► failed      (a bank that wants a new sign-in, a destination that refuses)
       └────────────┴────────► cancelled
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.clock import SandboxClock, iso
from airflow_provider_banksync.sandbox.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.drift import Drift
    from airflow_provider_banksync.sandbox.live import LiveWorld
    from airflow_provider_banksync.sandbox.model import Feed, Row
    from airflow_provider_banksync.sandbox.movement import Moment
    from airflow_provider_banksync.sandbox.plans import Course, Planner
    from airflow_provider_banksync.sandbox.seed import Seed

STATUSES = ("queued", "in_progress", "completed", "failed", "cancelled")
ACTIVE_STATUSES = frozenset({"queued", "in_progress"})

HISTORY_DAYS = 30
"""How far BankSync's own scheduled jobs reach back before the sandbox's start."""
KEPT = timedelta(days=400)
"""How far back they are told of, however far the clock was moved."""
QUIET = timedelta(days=1)
"""After the sandbox's start BankSync starts no jobs of its own: a test must not depend on the hour it runs at."""


@dataclass
class Job:
    """One run of one feed."""

    id: str
    feed: Feed
    user_id: str
    type: str
    first: date | None
    last: date | None
    created_at: datetime
    moment: Moment
    """What there was to read when it was born."""
    planner: Planner
    brings: int = 0
    """Rows that come to each account when it completes."""
    cancelled_at: datetime | None = None
    _known: tuple[int, Course] | None = field(default=None, init=False, repr=False)

    @property
    def course(self) -> Course:
        """The way that the job takes, as far as it can be known now."""
        age = self.planner.age
        if self._known is None or self._known[0] != age:
            self._known = age, self.planner.course(self.feed, self.id, self.created_at)
        return self._known[1]

    @cached_property
    def rows(self) -> int:
        """How many rows there are for it to read. Not counted before they are asked for: that takes a while."""
        course = self.course
        day = (self.created_at + course.queued + course.planned).date()
        in_time = (self.first is None or self.first <= day) and (self.last is None or day <= self.last)
        brought = self.brings * len(self.feed.accounts) if in_time else 0
        return self.planner.rows(self.feed, self.first, self.last, self.moment) + brought

    def status(self, now: datetime) -> str:
        """Say where the job stands at this moment."""
        return self._status(self.course, now)

    def _status(self, course: Course, now: datetime) -> str:
        if self.cancelled_at is not None and now >= self.cancelled_at:
            return "cancelled"
        age = now - self.created_at
        if age < course.queued:
            return "queued"
        if age < course.total:
            return "in_progress"
        return "failed" if course.failure else "completed"

    def row(self, now: datetime) -> Row:
        """Show the job as it stands at this moment."""
        course = self.course
        status = self._status(course, now)
        ended = None if status in ACTIVE_STATUSES else self.cancelled_at or self.created_at + course.total
        seen = ended or now
        started = self.created_at + course.queued
        has_started = seen >= started
        row: Row = {
            "id": self.id,
            "userId": self.user_id,
            "feedId": self.feed.id,
            "workspaceId": self.feed.workspace_id,
            "status": status,
            "type": self.type,
            **({"startDate": self.first.isoformat()} if self.first else {}),
            **({"endDate": self.last.isoformat()} if self.last else {}),
            **self._progress(course, seen - started),
        }
        if status == "failed" and course.failure:
            row["errorCategory"] = course.failure.category
        row["createdAt"] = iso(self.created_at)
        row["updatedAt"] = iso(seen if has_started or ended else self.created_at)
        if has_started:
            row["startedAt"] = iso(started)
        if ended is not None:
            row["completedAt"] = iso(ended)
        return row

    def _progress(self, course: Course, done: timedelta) -> Row:
        """Say how far the job has come after so much of its run; a negative time lies before that."""
        begun = course.reads and (done > timedelta() or done >= course.planned)
        rows = self.rows if begun else 0
        unwritten = self.planner.row_errors(self.feed, self.id, course, rows)
        happened = [*unwritten, *([course.failure] if course.failure else [])]
        started = self.created_at + course.queued
        return {
            "transactionsProcessed": _share(rows, done, course.planned),
            "transactionsWritten": _share(rows - len(unwritten), done, course.planned)
            if course.writes
            else 0,
            "errors": [
                {
                    "timestamp": iso(started + trouble.after),
                    "message": trouble.message,
                    "category": trouble.category,
                    "severity": trouble.severity,
                }
                for trouble in happened
                if trouble.after <= done
            ],
        }


class Jobs:
    """The jobs of one sandbox: those that were started through the API, and BankSync's own by its schedules."""

    def __init__(
        self, seed: Seed, clock: SandboxClock, planner: Planner, live: LiveWorld, drift: Drift, brings: int
    ) -> None:
        self._seed = seed
        self._clock = clock
        self._planner = planner
        self._live = live
        self._drift = drift
        self._brings = brings
        self._by_feed: dict[str, list[Job]] = {}
        self._started: list[Job] = []
        self._cancelled: dict[str, datetime] = {}

    def started(self) -> list[Job]:
        """Give the jobs that were started through the API, oldest first."""
        return list(self._started)

    def undone(self) -> list[Job]:
        """Give those of them that would not have ended yet, had nothing disturbed them."""
        now = self._clock.now()
        newest = [jobs[-1] for jobs in self._by_feed.values()]
        return [job for job in newest if job.created_at + job.course.queued + job.course.planned > now]

    def start(self, feed: Feed, user_id: str, first: date | None, last: date | None) -> Job:
        """Start a job of this feed, unless one is under way."""
        now = self._clock.now()
        if self._under_way(feed, now) is not None:
            raise ConflictError("A sync job is already queued or in progress for this feed")
        earlier = self._by_feed.setdefault(feed.id, [])
        job = Job(
            id=self._seed.id("job", feed.id, len(earlier)),
            feed=feed,
            user_id=user_id,
            type="manual",
            first=first,
            last=last,
            created_at=now,
            moment=self._planner.moment(now),
            planner=self._planner,
            brings=self._brings,
        )
        earlier.append(job)
        self._started.append(job)
        return job

    def cancel(self, job: Job) -> Job:
        """Cancel a job that is under way."""
        now = self._clock.now()
        status = job.status(now)
        if status not in ACTIVE_STATUSES:
            raise ConflictError(f"Job has already ended: it is {status}")
        job.cancelled_at = self._cancelled[job.id] = now
        return job

    def end(self, feed: Feed) -> None:
        """Cancel what is under way of a feed that is removed."""
        job = self._under_way(feed, self._clock.now())
        if job is not None:
            self.cancel(job)

    def of_feed(self, feed: Feed) -> Iterator[Job]:
        """Go through the jobs of a feed, newest first."""
        started = reversed(self._by_feed.get(feed.id, []))
        return heapq.merge(started, self._scheduled(feed), key=lambda job: job.created_at, reverse=True)

    def find(self, feed: Feed, job_id: str) -> Job | None:
        """Find a job of this feed."""
        return next((job for job in self.of_feed(feed) if job.id == job_id), None)

    def _under_way(self, feed: Feed, now: datetime) -> Job | None:
        # One at a time, so only the newest can be.
        newest = next(self.of_feed(feed), None)
        return newest if newest is not None and newest.status(now) in ACTIVE_STATUSES else None

    def _scheduled(self, feed: Feed) -> Iterator[Job]:
        today = self._clock.now().date()
        first = max(self._clock.start.date() - timedelta(days=HISTORY_DAYS - 1), today - KEPT)
        for back in range((today - first).days + 1):
            job = self._due(feed, today - timedelta(days=back))
            if job is not None:
                yield job

    def _due(self, feed: Feed, day: date) -> Job | None:
        """Give BankSync's own job of a day, where there was one."""
        late = timedelta(seconds=self._seed.dice("late", feed.id, day).below(20))
        for _, version in self._live.feed_changes.history(feed):
            schedule = None if version is None else version.due(day)
            if version is None or schedule is None:
                continue
            at = time(schedule.hour, schedule.minute, tzinfo=timezone.utc)
            born = datetime.combine(day, at) + late
            if self._live.feed_changes.at(feed, born) is version:
                return self._own_job(version, day, born)
        return None

    def _own_job(self, feed: Feed, day: date, born: datetime) -> Job | None:
        start, job_id = self._clock.start, self._seed.id("job", feed.id, "scheduled", day)
        # Before the sandbox started all had ended; and for a day after that nothing is disturbed.
        if born > self._clock.now() or start <= born < start + QUIET or self._busy(feed, born):
            return None
        job = Job(
            id=job_id,
            feed=feed,
            user_id=self._seed.id("user", feed.workspace_id, "owner"),
            type=self._drift.job_type(job_id, "scheduled"),
            first=None,
            last=None,
            created_at=born,
            moment=self._planner.moment(born),
            planner=self._planner,
            cancelled_at=self._cancelled.get(job_id),
        )
        return None if born < start < born + job.course.total else job

    def _busy(self, feed: Feed, moment: datetime) -> bool:
        """Say whether a job that was started through the API was under way; BankSync then leaves its own out."""
        return any(
            job.created_at <= moment and job.status(moment) in ACTIVE_STATUSES
            for job in self._by_feed.get(feed.id, ())
        )


def _share(rows: int, done: timedelta, whole: timedelta) -> int:
    if done >= whole:
        return rows
    return rows * (done // timedelta(milliseconds=1)) // max(whole // timedelta(milliseconds=1), 1)
