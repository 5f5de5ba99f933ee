"""Sync jobs: their plans, their start, their states, and their end.

A plan depends on the seed, and on what happens to the feed's banks and destination while the job runs. For example, a
bank that is deleted during the job ends it. A job's state at any time follows from its creation, its plan and the time.
Only ``start`` and ``cancel`` write.

    queued ──► in_progress ──► completed   (some rows may not be written)
       │            │      └─► failed      (a bank needs a new sign-in, or a destination rejects the write)
       └────────────┴────────► cancelled
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.clock import (
    SandboxClock,
    format_timestamp,
    from_milliseconds,
    to_milliseconds,
)
from airflow_provider_banksync.sandbox.errors import ApiError
from airflow_provider_banksync.sandbox.world.api_rows import Drift, holdings_of, loan_of, trades_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_banksync.sandbox.world.current import CurrentWorld
    from airflow_provider_banksync.sandbox.world.ledger import TransactionLedger
    from airflow_provider_banksync.sandbox.world.model import Account, Feed, Row
    from airflow_provider_banksync.sandbox.world.seed import Seed
    from airflow_provider_banksync.sandbox.world.transactions import Snapshot

STATUSES = ("queued", "in_progress", "completed", "failed", "cancelled")
ACTIVE_STATUSES = frozenset({"queued", "in_progress"})

HISTORY_DAYS = 30
"""BankSync's own scheduled jobs begin this long before the sandbox's start."""
MAX_JOB_AGE = timedelta(days=400)
"""Older jobs are not listed."""
QUIET_PERIOD = timedelta(days=1)
"""BankSync starts no jobs in this time after the sandbox's start, so that tests do not depend on the time of day."""
NEW_DAYS = 7
"""The days that a job without dates reads."""
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class JobProblem:
    """A problem in a job, some time after its start."""

    after: timedelta
    message: str
    category: str
    severity: str = "error"


@dataclass(frozen=True)
class JobPlan:
    """The course of a job, as currently known."""

    queued: timedelta
    planned: timedelta
    """The time that it runs if there is no problem."""
    running: timedelta
    """The time that it does run."""
    failure: JobProblem | None = None
    reads: bool = True
    writes: bool = True

    @property
    def total(self) -> timedelta:
        """The time from creation to end."""
        return self.queued + self.running


@dataclass(frozen=True)
class JobPlanner:
    """Plans the jobs of a sandbox."""

    seed: Seed
    current: CurrentWorld
    ledger: TransactionLedger
    job_seconds: tuple[float, float]
    row_error_share: float
    failure_share: float

    def plan(self, feed: Feed, job_id: str, created: datetime) -> JobPlan:
        """Return the plan of a job."""
        draws = self.seed.draws("plan", job_id)
        low, high = (round(seconds * 1000) for seconds in self.job_seconds)
        total = draws.between(low, high)
        queued = timedelta(milliseconds=total * draws.between(10, 25) // 100)
        planned = timedelta(milliseconds=total) - queued
        started = created + queued
        for reads, problem_at in ((False, self._read_problem), (True, self._write_problem)):
            problem = problem_at(feed, started)
            if problem is not None:
                return JobPlan(queued, planned, planned, JobProblem(planned, *problem), reads, writes=False)
        for time in self.current.change_times(feed, started, started + planned):
            problem = self._read_problem(feed, time) or self._write_problem(feed, time)
            if problem is not None:
                return JobPlan(queued, planned, time - started, JobProblem(time - started, *problem))
        return JobPlan(queued, planned, planned)

    def row_errors(self, feed: Feed, job_id: str, plan: JobPlan, rows: int) -> list[JobProblem]:
        """Return the rows of a job that are not written, one problem for each."""
        if not (rows and plan.writes and self._draw_failures(feed)[1]):
            return []
        draws, problems = self.seed.draws("row errors", job_id), []
        for number in range(min(rows, draws.between(1, 3))):
            row = draws.between(1, rows)
            message = f"Row {row} was not written: the destination rejected the value of 'Category'"
            problems.append(JobProblem(plan.planned * (number + 1) / 4, message, "validation", "warning"))
        return problems

    def rows(self, feed: Feed, first: date | None, last: date | None, snapshot: Snapshot) -> int:
        """Count the rows that a job reads."""
        today = from_milliseconds(snapshot.ms).date()
        last = today if last is None else min(last, today)
        # In ordinals, because the calendar begins with day 1.
        first = date.fromordinal(max(last.toordinal() - NEW_DAYS + 1, 1)) if first is None else first
        seed, accounts = self.seed, feed.accounts
        if feed.data_type == "transactions":
            days = first.toordinal(), last.toordinal()
            return sum(self.ledger.count(account, *days, snapshot) for account in accounts)
        counts: dict[str, Callable[[Account], int]] = {
            "trades": lambda account: sum(1 for _ in trades_of(seed, account, first, last)),
            "holdings": lambda account: len(holdings_of(seed, account)),
            "loans": lambda account: loan_of(seed, account) is not None,
            "balances": lambda _account: 1,
        }
        return sum(map(counts[feed.data_type], accounts)) if feed.data_type in counts else 0

    def _draw_failures(self, feed: Feed) -> tuple[bool, bool]:
        """Return whether a feed's destination rejects everything, and whether it rejects some rows."""
        draws = self.seed.draws("luck", feed.id)
        return draws.chance(self.failure_share), draws.chance(self.row_error_share)

    def _read_problem(self, feed: Feed, time: datetime) -> tuple[str, str] | None:
        if not feed.accounts:
            return "The feed has no accounts to read from", "configuration"
        message = self.current.source_problem(feed, time)
        return None if message is None else (message, "authentication")

    def _write_problem(self, feed: Feed, time: datetime) -> tuple[str, str] | None:
        if feed.integration is None:
            return "The feed has no destination to write to", "configuration"
        message = self.current.destination_problem(feed, time)
        if message is None and self._draw_failures(feed)[0]:
            message = f"{feed.integration.name}: the destination refused the write (permission was revoked)"
        return None if message is None else (message, "destination")


@dataclass
class Job:
    """A job of a feed."""

    id: str
    feed: Feed
    user_id: str
    type: str
    first: date | None
    last: date | None
    created_at: datetime
    planner: JobPlanner
    rows_per_account: int = 0
    """The rows that each account gets when the job completes."""
    cancelled_at: datetime | None = None
    snapshot: Snapshot = field(init=False)
    _cached_plan: tuple[int, JobPlan] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.snapshot = self.planner.ledger.snapshot_at(to_milliseconds(self.created_at))

    @property
    def plan(self) -> JobPlan:
        """The course of the job, as currently known."""
        revision = self.planner.current.revision
        if self._cached_plan is None or self._cached_plan[0] != revision:
            self._cached_plan = revision, self.planner.plan(self.feed, self.id, self.created_at)
        return self._cached_plan[1]

    @property
    def planned_end(self) -> datetime:
        """When the job ends if there is no problem."""
        return self.created_at + self.plan.queued + self.plan.planned

    @cached_property
    def rows(self) -> int:
        """The number of rows that it reads. Computed on request, because it takes time."""
        day = self.planned_end.date()
        in_window = (self.first is None or self.first <= day) and (self.last is None or day <= self.last)
        added = self.rows_per_account * len(self.feed.accounts) if in_window else 0
        return self.planner.rows(self.feed, self.first, self.last, self.snapshot) + added

    def status(self, now: datetime) -> str:
        """Return the job's status at a time."""
        if self.cancelled_at is not None and now >= self.cancelled_at:
            return "cancelled"
        plan, age = self.plan, now - self.created_at
        if age < plan.total:
            return "queued" if age < plan.queued else "in_progress"
        return "failed" if plan.failure else "completed"

    def row(self, now: datetime) -> Row:
        """Return the job at a time, with the API's field names."""
        plan, status = self.plan, self.status(now)
        ended = None if status in ACTIVE_STATUSES else self.cancelled_at or self.created_at + plan.total
        updated, started = ended or now, self.created_at + plan.queued
        has_started = updated >= started
        row: Row = {
            "id": self.id,
            "userId": self.user_id,
            "feedId": self.feed.id,
            "workspaceId": self.feed.workspace_id,
            "status": status,
            "type": self.type,
            **({"startDate": self.first.isoformat()} if self.first else {}),
            **({"endDate": self.last.isoformat()} if self.last else {}),
            **self._progress(plan, started, updated - started),
        }
        if status == "failed" and plan.failure:
            row["errorCategory"] = plan.failure.category
        row["createdAt"] = format_timestamp(self.created_at)
        row["updatedAt"] = format_timestamp(updated if has_started or ended else self.created_at)
        if has_started:
            row["startedAt"] = format_timestamp(started)
        if ended is not None:
            row["completedAt"] = format_timestamp(ended)
        return row

    def _progress(self, plan: JobPlan, started: datetime, done: timedelta) -> Row:
        """Return the counts and errors after the job has run for ``done``, which is negative before the start."""
        has_begun = plan.reads and (done > timedelta() or done >= plan.planned)
        rows = self.rows if has_begun else 0
        problems = self.planner.row_errors(self.feed, self.id, plan, rows)
        written = rows - len(problems) if plan.writes else 0
        problems += [plan.failure] if plan.failure else []
        return {
            "transactionsProcessed": _progress_share(rows, done, plan.planned),
            "transactionsWritten": _progress_share(written, done, plan.planned),
            "errors": [
                {
                    "timestamp": format_timestamp(started + problem.after),
                    "message": problem.message,
                    "category": problem.category,
                    "severity": problem.severity,
                }
                for problem in problems
                if problem.after <= done
            ],
        }


@dataclass(frozen=True)
class Jobs:
    """The jobs of a sandbox: those started through the API, and BankSync's own scheduled jobs."""

    seed: Seed
    clock: SandboxClock
    planner: JobPlanner
    current: CurrentWorld
    drift: Drift
    rows_per_sync: int
    _by_feed: dict[str, list[Job]] = field(default_factory=dict, init=False)
    _started: list[Job] = field(default_factory=list, init=False)
    _cancelled: dict[str, datetime] = field(default_factory=dict, init=False)

    def started(self) -> list[Job]:
        """Return the jobs that were started through the API, oldest first."""
        return list(self._started)

    def before_planned_end(self) -> list[Job]:
        """Return those of them that would still run without cancellation or problems."""
        now, newest = self.clock.now(), [jobs[-1] for jobs in self._by_feed.values()]
        return [job for job in newest if job.planned_end > now]

    def start(self, feed: Feed, user_id: str, first: date | None, last: date | None) -> Job:
        """Start a job of a feed. Raises ApiError if one is active."""
        if self.active(feed) is not None:
            raise ApiError(409, "A sync job is already queued or in progress for this feed")
        now, jobs = self.clock.now(), self._by_feed.setdefault(feed.id, [])
        job_id = self.seed.id("job", feed.id, len(jobs))
        job = Job(job_id, feed, user_id, "manual", first, last, now, self.planner, self.rows_per_sync)
        jobs.append(job)
        self._started.append(job)
        return job

    def cancel(self, job: Job) -> Job:
        """Cancel an active job."""
        now = self.clock.now()
        status = job.status(now)
        if status not in ACTIVE_STATUSES:
            raise ApiError(409, f"Job has already ended: it is {status}")
        job.cancelled_at = self._cancelled[job.id] = now
        return job

    def of_feed(self, feed: Feed) -> Iterator[Job]:
        """Return the jobs of a feed, newest first."""
        started = reversed(self._by_feed.get(feed.id, []))
        return heapq.merge(started, self._scheduled(feed), key=lambda job: job.created_at, reverse=True)

    def active(self, feed: Feed) -> Job | None:
        """Return the active job of a feed. Only the newest can be active."""
        newest = next(self.of_feed(feed), None)
        return newest if newest is not None and newest.status(self.clock.now()) in ACTIVE_STATUSES else None

    def _scheduled(self, feed: Feed) -> Iterator[Job]:
        today = self.clock.now().date()
        first = max(self.clock.start.date() - timedelta(days=HISTORY_DAYS - 1), today - MAX_JOB_AGE)
        for back in range((today - first).days + 1):
            job = self._scheduled_on(feed, today - timedelta(days=back))
            if job is not None:
                yield job

    def _scheduled_on(self, feed: Feed, day: date) -> Job | None:
        delay = timedelta(seconds=self.seed.draws("late", feed.id, day).below(20))
        for _, version in self.current.feeds.history(feed):
            scheduled = None if version is None else version.scheduled_at(day)
            if version is None or scheduled is None:
                continue
            created = scheduled + delay
            if self.current.feeds.version_at(feed, created) is version:
                return self._scheduled_job(version, day, created)
        return None

    def _scheduled_job(self, feed: Feed, day: date, created: datetime) -> Job | None:
        start = self.clock.start
        if created > self.clock.now() or start <= created < start + QUIET_PERIOD:
            return None
        # BankSync leaves out a scheduled job while another one is active.
        for other in self._by_feed.get(feed.id, ()):
            if other.created_at <= created and other.status(created) in ACTIVE_STATUSES:
                return None
        job_id, owner = self.seed.id("job", feed.id, "scheduled", day), ("user", feed.workspace_id, "owner")
        type_ = self.drift.scheduled_job_type(job_id)
        job = Job(job_id, feed, self.seed.id(*owner), type_, None, None, created, self.planner)
        job.cancelled_at = self._cancelled.get(job_id)
        # All jobs of the time before the start have ended.
        return None if created < start < created + job.plan.total else job


def _progress_share(rows: int, done: timedelta, planned: timedelta) -> int:
    return rows if done >= planned else rows * (done // _MILLISECOND) // max(planned // _MILLISECOND, 1)
