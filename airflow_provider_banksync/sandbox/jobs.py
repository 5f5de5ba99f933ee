"""Sync jobs: how they are born, what becomes of them, and what they look like at any moment.

A job's whole life is fixed when it is born; its state is worked out from that and the time. Looking at a job never
moves it, and only ``start`` and ``cancel`` write anything.

    queued ──► in_progress ──► completed   (perhaps with rows that could not be written)
       │            │      └─► failed      (a bank that wants a new sign-in, a destination that refuses)
       └────────────┴────────► cancelled
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.clock import SandboxClock, iso
from airflow_provider_banksync.sandbox.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.drift import Drift
    from airflow_provider_banksync.sandbox.live import LiveWorld
    from airflow_provider_banksync.sandbox.model import Feed, Row
    from airflow_provider_banksync.sandbox.seed import Dice, Seed

STATUSES = ("queued", "in_progress", "completed", "failed", "cancelled")
ACTIVE_STATUSES = frozenset({"queued", "in_progress"})

HISTORY_DAYS = 30
"""How far BankSync's own scheduled jobs reach back before the sandbox's start."""
QUIET = timedelta(days=1)
"""After the sandbox's start BankSync starts no jobs of its own: a test must not depend on the hour it runs at."""


@dataclass(frozen=True)
class JobRules:
    """How long jobs take, in sandbox seconds, and what share of the feeds has trouble with its destination."""

    seconds: tuple[float, float] = (8.0, 45.0)
    row_error_share: float = 0.05
    failure_share: float = 0.0


@dataclass(frozen=True)
class Trouble:
    """Something that goes wrong in a job, some way through its run."""

    after: timedelta
    message: str
    category: str
    severity: str


@dataclass(frozen=True)
class Plan:
    """The life of a job as it was fixed at its birth."""

    queued: timedelta
    running: timedelta
    fails: bool
    processed: int
    written: int
    troubles: tuple[Trouble, ...]

    @property
    def total(self) -> timedelta:
        """From birth to end."""
        return self.queued + self.running


@dataclass
class Job:
    """One run of one feed."""

    id: str
    feed: Feed
    user_id: str
    type: str
    first: str | None
    last: str | None
    created_at: datetime
    plan: Plan
    cancelled_at: datetime | None = None

    def status(self, now: datetime) -> str:
        """Say where the job stands at this moment."""
        if self.cancelled_at is not None and now >= self.cancelled_at:
            return "cancelled"
        age = now - self.created_at
        if age < self.plan.queued:
            return "queued"
        if age < self.plan.total:
            return "in_progress"
        return "failed" if self.plan.fails else "completed"

    def ended_at(self, now: datetime) -> datetime | None:
        """Give the moment at which the job ended; None while it has not."""
        if self.status(now) in ACTIVE_STATUSES:
            return None
        return self.cancelled_at or self.created_at + self.plan.total

    def row(self, now: datetime) -> Row:
        """Show the job as it stands at this moment."""
        ended = self.ended_at(now)
        seen = ended or now
        started = self.created_at + self.plan.queued
        has_started = seen >= started
        done, whole = max(seen - started, timedelta()), self.plan.running
        status = self.status(now)
        row: Row = {
            "id": self.id,
            "userId": self.user_id,
            "feedId": self.feed.id,
            "workspaceId": self.feed.workspace_id,
            "status": status,
            "type": self.type,
            **({"startDate": self.first} if self.first else {}),
            **({"endDate": self.last} if self.last else {}),
            "transactionsProcessed": _share(self.plan.processed, done, whole),
            "transactionsWritten": _share(self.plan.written, done, whole),
            "errors": [
                {
                    "timestamp": iso(started + trouble.after),
                    "message": trouble.message,
                    "category": trouble.category,
                    "severity": trouble.severity,
                }
                for trouble in self.plan.troubles
                if started + trouble.after <= seen
            ],
        }
        if status == "failed":
            row["errorCategory"] = self.plan.troubles[-1].category
        row["createdAt"] = iso(self.created_at)
        row["updatedAt"] = iso(seen if has_started or ended else self.created_at)
        if has_started:
            row["startedAt"] = iso(started)
        if ended is not None:
            row["completedAt"] = iso(ended)
        return row


class Jobs:
    """The jobs of one sandbox: those that were started through the API, and BankSync's own by its schedules."""

    def __init__(
        self, seed: Seed, clock: SandboxClock, rules: JobRules, live: LiveWorld, drift: Drift
    ) -> None:
        self._seed = seed
        self._clock = clock
        self._rules = rules
        self._live = live
        self._drift = drift
        self._by_feed: dict[str, list[Job]] = {}
        self._started: list[Job] = []
        self._cancelled: dict[str, datetime] = {}

    def started(self) -> list[Job]:
        """Give the jobs that were started through the API, oldest first."""
        return list(self._started)

    def start(self, feed: Feed, user_id: str, first: date | None, last: date | None) -> Job:
        """Start a job of this feed, unless one is under way."""
        now = self._clock.now()
        # One at a time, so only the newest can be under way.
        newest = next(self.of_feed(feed), None)
        if newest is not None and newest.status(now) in ACTIVE_STATUSES:
            raise ConflictError("A sync job is already queued or in progress for this feed")
        earlier = self._by_feed.setdefault(feed.id, [])
        job_id = self._seed.id("job", feed.id, len(earlier))
        job = Job(
            id=job_id,
            feed=feed,
            user_id=user_id,
            type="manual",
            first=None if first is None else first.isoformat(),
            last=None if last is None else last.isoformat(),
            created_at=now,
            plan=self._plan(feed, job_id, now, days=_days(first, last, now)),
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

    def of_feed(self, feed: Feed) -> Iterator[Job]:
        """Go through the jobs of a feed, newest first."""
        started = reversed(self._by_feed.get(feed.id, []))
        return heapq.merge(started, self._scheduled(feed), key=lambda job: job.created_at, reverse=True)

    def find(self, feed: Feed, job_id: str) -> Job | None:
        """Find a job of this feed."""
        return next((job for job in self.of_feed(feed) if job.id == job_id), None)

    def _scheduled(self, feed: Feed) -> Iterator[Job]:
        today, first = self._clock.now().date(), self._clock.start.date() - timedelta(days=HISTORY_DAYS - 1)
        for back in range((today - first).days + 1):
            job = self._due(feed, today - timedelta(days=back))
            if job is not None:
                yield job

    def _due(self, feed: Feed, day: date) -> Job | None:
        """Give BankSync's own job of a day, where there was one."""
        late = timedelta(seconds=self._seed.dice("late", feed.id, day).below(20))
        for _, version in self._live.feed_changes.history(feed):
            if version is None or version.schedule is None or not version.schedule.due(day):
                continue
            at = time(version.schedule.hour, version.schedule.minute, tzinfo=timezone.utc)
            born = datetime.combine(day, at) + late
            if self._live.feed_changes.at(feed, born) is version:
                return self._own_job(version, day, born)
        return None

    def _own_job(self, feed: Feed, day: date, born: datetime) -> Job | None:
        start, job_id = self._clock.start, self._seed.id("job", feed.id, "scheduled", day)
        plan = self._plan(feed, job_id, born, days=1)
        # What was before the sandbox started lies all in the past; and for a day after that nothing is disturbed.
        if start - plan.total <= born < start + QUIET or born > self._clock.now() or self._busy(feed, born):
            return None
        owner = self._seed.id("user", feed.workspace_id, "owner")
        sort = self._drift.job_type(job_id, "scheduled")
        return Job(job_id, feed, owner, sort, None, None, born, plan, self._cancelled.get(job_id))

    def _busy(self, feed: Feed, moment: datetime) -> bool:
        """Say whether a job that was started through the API was under way; BankSync then leaves its own out."""
        return any(
            job.created_at <= moment and job.status(moment) in ACTIVE_STATUSES
            for job in self._by_feed.get(feed.id, ())
        )

    def _plan(self, feed: Feed, job_id: str, born: datetime, *, days: int) -> Plan:
        dice = self._seed.dice("plan", job_id)
        low, high = (round(seconds * 1000) for seconds in self._rules.seconds)
        total = dice.between(low, high)
        queued = timedelta(milliseconds=total * dice.between(10, 25) // 100)
        running = timedelta(milliseconds=total) - queued
        luck = self._seed.dice("luck", feed.id)
        refuses, stumbles = luck.chance(self._rules.failure_share), luck.chance(self._rules.row_error_share)
        unread = self._live.trouble_with_sources(feed, born)
        if unread is not None:
            return _failing(queued, running, 0, unread, "authentication")
        processed = _expected_rows(feed, dice, days)
        unwritten = self._live.trouble_with_destination(feed, born)
        if refuses and unwritten is None:
            target = "The feed's" if feed.integration is None else f"{feed.integration.name}: the"
            unwritten = f"{target} destination refused the write (permission was withdrawn)"
        if unwritten is not None:
            return _failing(queued, running, processed, unwritten, "destination")
        troubles = tuple(_row_errors(dice, running, processed)) if stumbles else ()
        return Plan(queued, running, False, processed, processed - len(troubles), troubles)


def _failing(queued: timedelta, running: timedelta, processed: int, message: str, category: str) -> Plan:
    trouble = Trouble(after=running, message=message, category=category, severity="error")
    return Plan(queued, running, True, processed, 0, (trouble,))


def _row_errors(dice: Dice, running: timedelta, processed: int) -> Iterator[Trouble]:
    for number in range(min(processed, dice.between(1, 3))):
        row = dice.between(1, processed)
        message = f"Row {row} was not written: the destination rejected the value of 'Category'"
        yield Trouble(running * (number + 1) / 4, message, "validation", "warning")


def _expected_rows(feed: Feed, dice: Dice, days: int) -> int:
    if feed.data_type == "balances":
        return len(feed.accounts)
    per_day = 1 + dice.below(3)
    return max(3, len(feed.accounts) * min(days, 3_650) * per_day)


def _days(first: date | None, last: date | None, now: datetime) -> int:
    """Count the days that a job reads; without dates, what is new since the last one."""
    if first is None and last is None:
        return 2
    last = last or now.date()
    return max((last - (first or last)).days + 1, 1)


def _share(rows: int, done: timedelta, whole: timedelta) -> int:
    if done >= whole:
        return rows
    return rows * (done // timedelta(milliseconds=1)) // max(whole // timedelta(milliseconds=1), 1)
