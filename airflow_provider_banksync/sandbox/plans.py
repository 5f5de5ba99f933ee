"""What becomes of a job: how long it takes, how far it comes, and what goes wrong on the way.

Nothing of it is decided by looking. A course follows from the seed, and from what happened to the feed's banks and its
destination while the job ran: a bank that is deleted in the middle of a run ends it there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.clock import from_ms, to_ms
from airflow_provider_banksync.sandbox.investments import holdings_of, loan_of, trades_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.ledger import Ledger
    from airflow_provider_banksync.sandbox.live import LiveWorld
    from airflow_provider_banksync.sandbox.model import Feed
    from airflow_provider_banksync.sandbox.movement import Moment
    from airflow_provider_banksync.sandbox.seed import Dice, Seed

NEW_DAYS = 7
"""Days that a job reads again where it was given none: what is new, and what was pending."""


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
class Course:
    """The way that a job takes from its birth to its end, as far as it can be known now."""

    queued: timedelta
    planned: timedelta
    """How long the run takes where nothing disturbs it."""
    running: timedelta
    """How long it does take."""
    failure: Trouble | None = None
    reads: bool = True
    writes: bool = True

    @property
    def total(self) -> timedelta:
        """From birth to end."""
        return self.queued + self.running


class Planner:
    """Plans the jobs of one sandbox."""

    def __init__(self, seed: Seed, rules: JobRules, live: LiveWorld, ledger: Ledger) -> None:
        self._seed = seed
        self._rules = rules
        self._live = live
        self._ledger = ledger
        self._luck = lru_cache(maxsize=4_096)(self._draw_luck)

    @property
    def age(self) -> int:
        """Give a number that is another once a course may be another."""
        return self._live.age

    def course(self, feed: Feed, job_id: str, born: datetime) -> Course:
        """Say which way a job takes."""
        dice = self._seed.dice("plan", job_id)
        low, high = (round(seconds * 1000) for seconds in self._rules.seconds)
        total = dice.between(low, high)
        queued = timedelta(milliseconds=total * dice.between(10, 25) // 100)
        planned = timedelta(milliseconds=total) - queued
        started = born + queued
        failure = self._cannot_read(feed, started)
        if failure is not None:
            return Course(queued, planned, planned, _failure(planned, *failure), reads=False, writes=False)
        failure = self._cannot_write(feed, started)
        if failure is not None:
            return Course(queued, planned, planned, _failure(planned, *failure), writes=False)
        for moment in self._live.changes(feed, started, started + planned):
            failure = self._cannot_read(feed, moment) or self._cannot_write(feed, moment)
            if failure is not None:
                return Course(queued, planned, moment - started, _failure(moment - started, *failure))
        return Course(queued, planned, planned)

    def row_errors(self, feed: Feed, job_id: str, course: Course, rows: int) -> tuple[Trouble, ...]:
        """Give the rows of a job that cannot be written, though others are."""
        if not (rows and course.writes and self._luck(feed.id)[1]):
            return ()
        return tuple(_row_errors(self._seed.dice("row errors", job_id), course.planned, rows))

    def moment(self, now: datetime) -> Moment:
        """Give what there is to read now."""
        return self._ledger.moment(to_ms(now))

    def rows(self, feed: Feed, first: date | None, last: date | None, moment: Moment) -> int:
        """Count what a job reads that begins at this moment."""
        today = from_ms(moment.ms).date()
        last = today if last is None else min(last, today)
        first = _earlier(last, NEW_DAYS - 1) if first is None else first
        seed, accounts = self._seed, feed.accounts
        if feed.data_type == "transactions":
            return sum(
                self._ledger.count(each, first.toordinal(), last.toordinal(), moment) for each in accounts
            )
        if feed.data_type == "trades":
            return sum(1 for account in accounts for _ in trades_of(seed, account, first, last))
        if feed.data_type == "holdings":
            return sum(len(holdings_of(seed, account)) for account in accounts)
        if feed.data_type == "loans":
            return sum(loan_of(seed, account) is not None for account in accounts)
        return len(accounts) if feed.data_type == "balances" else 0

    def _draw_luck(self, feed_id: str) -> tuple[bool, bool]:
        """Say whether a feed's destination refuses, and whether it rejects some of the rows."""
        luck = self._seed.dice("luck", feed_id)
        return luck.chance(self._rules.failure_share), luck.chance(self._rules.row_error_share)

    def _cannot_read(self, feed: Feed, moment: datetime) -> tuple[str, str] | None:
        if not feed.accounts:
            return "The feed has no accounts to read from", "configuration"
        unread = self._live.trouble_with_sources(feed, moment)
        return None if unread is None else (unread, "authentication")

    def _cannot_write(self, feed: Feed, moment: datetime) -> tuple[str, str] | None:
        if feed.integration is None:
            return "The feed has no destination to write to", "configuration"
        unwritten = self._live.trouble_with_destination(feed, moment)
        if unwritten is None and self._luck(feed.id)[0]:
            unwritten = (
                f"{feed.integration.name}: the destination refused the write (permission was withdrawn)"
            )
        return None if unwritten is None else (unwritten, "destination")


def _failure(after: timedelta, message: str, category: str) -> Trouble:
    return Trouble(after, message, category, severity="error")


def _row_errors(dice: Dice, running: timedelta, processed: int) -> Iterator[Trouble]:
    for number in range(min(processed, dice.between(1, 3))):
        row = dice.between(1, processed)
        message = f"Row {row} was not written: the destination rejected the value of 'Category'"
        yield Trouble(running * (number + 1) / 4, message, "validation", "warning")


def _earlier(day: date, days: int) -> date:
    # Counted in ordinals: a day too early for the calendar is then the calendar's first.
    return date.fromordinal(max(day.toordinal() - days, 1))
