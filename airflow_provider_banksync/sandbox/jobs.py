"""Sync jobs: how they are born, what becomes of them, and what they look like at any moment.

A job's whole life is fixed when it is born; its state is worked out from that and the time. Looking at a job never
moves it, and only ``start`` and ``cancel`` write anything.

    queued ──► in_progress ──► completed   (perhaps with rows that could not be written)
       │            │      └─► failed      (a bank that wants a new sign-in, a destination that refuses)
       └────────────┴────────► cancelled
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from itertools import chain
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.clock import SandboxClock, iso
from airflow_provider_banksync.sandbox.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.model import Feed, Row
    from airflow_provider_banksync.sandbox.seed import Dice, Seed

STATUSES = ("queued", "in_progress", "completed", "failed", "cancelled")
ACTIVE_STATUSES = frozenset({"queued", "in_progress"})

HISTORY_DAYS = 30
"""How far BankSync's own scheduled jobs reach back before the sandbox's start."""
BROKEN_FOR = timedelta(days=3)
"""A broken bank was fine before that: its older scheduled jobs completed."""


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
    """The jobs of one sandbox: those that were started through the API, and BankSync's own before its start."""

    def __init__(self, seed: Seed, clock: SandboxClock, rules: JobRules) -> None:
        self._seed = seed
        self._clock = clock
        self._rules = rules
        self._by_feed: dict[str, list[Job]] = {}
        self._started: list[Job] = []

    def started(self) -> list[Job]:
        """Give the jobs that were started through the API, oldest first."""
        return list(self._started)

    def start(self, feed: Feed, user_id: str, first: date | None, last: date | None) -> Job:
        """Start a job of this feed, unless one is under way."""
        now = self._clock.now()
        earlier = self._by_feed.setdefault(feed.id, [])
        # One at a time, so only the newest can be under way.
        if earlier and earlier[-1].status(now) in ACTIVE_STATUSES:
            raise ConflictError("A sync job is already queued or in progress for this feed")
        job_id = self._seed.id("job", feed.id, len(earlier))
        job = Job(
            id=job_id,
            feed=feed,
            user_id=user_id,
            type="manual",
            first=None if first is None else first.isoformat(),
            last=None if last is None else last.isoformat(),
            created_at=now,
            plan=self._plan(feed, job_id, days=_days(first, last, now), signed_out=_signed_out(feed)),
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
        job.cancelled_at = now
        return job

    def of_feed(self, feed: Feed) -> Iterator[Job]:
        """Go through the jobs of a feed, newest first."""
        return chain(reversed(self._by_feed.get(feed.id, [])), self._history(feed))

    def find(self, feed: Feed, job_id: str) -> Job | None:
        """Find a job of this feed."""
        return next((job for job in self.of_feed(feed) if job.id == job_id), None)

    def _history(self, feed: Feed) -> Iterator[Job]:
        start = self._clock.start
        for back in range(HISTORY_DAYS):
            day = start.date() - timedelta(days=back)
            if not feed.schedule.due(day):
                continue
            at = time(feed.schedule.hour, feed.schedule.minute, tzinfo=timezone.utc)
            born = datetime.combine(day, at) + timedelta(
                seconds=self._seed.dice("late", feed.id, day).below(20)
            )
            job_id = self._seed.id("job", feed.id, "scheduled", day)
            signed_out = _signed_out(feed) if born > start - BROKEN_FOR else None
            plan = self._plan(feed, job_id, days=1, signed_out=signed_out)
            # All of it lies in the past when the sandbox starts: no feed is busy before somebody makes it so.
            if born + plan.total < start:
                owner = self._seed.id("user", feed.workspace_id, "owner")
                yield Job(job_id, feed, owner, "scheduled", None, None, born, plan)

    def _plan(self, feed: Feed, job_id: str, *, days: int, signed_out: str | None) -> Plan:
        dice = self._seed.dice("plan", job_id)
        low, high = (round(seconds * 1000) for seconds in self._rules.seconds)
        total = dice.between(low, high)
        queued = timedelta(milliseconds=total * dice.between(10, 25) // 100)
        running = timedelta(milliseconds=total) - queued
        luck = self._seed.dice("luck", feed.id)
        refuses, stumbles = luck.chance(self._rules.failure_share), luck.chance(self._rules.row_error_share)
        if signed_out is not None:
            return _failing(queued, running, 0, signed_out, "authentication")
        processed = _expected_rows(feed, dice, days)
        if refuses:
            message = f"{feed.integration.name}: the destination refused the write (permission was withdrawn)"
            return _failing(queued, running, processed, message, "destination")
        troubles = tuple(_row_errors(dice, running, processed)) if stumbles else ()
        return Plan(queued, running, False, processed, processed - len(troubles), troubles)


def _signed_out(feed: Feed) -> str | None:
    for account in feed.accounts:
        if account.bank.broken:
            return account.bank.reauth_message
    return None


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
