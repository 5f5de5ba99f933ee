"""A family sync: the syncs of many feeds, without a network, a clock or an event loop.

`FamilySync` returns steps, each a flow over one feed that updates the shared state. A driver (`api.family.runner`) runs
several of them at a time. The phases of a feed::

    WAITING ──► STARTING ──► RUNNING ──► DONE
       ▲           │
       └─ BLOCKED ◄┘  another job of the feed runs

The jobs of each feed are read immediately before its sync is started. So another process can resume the family sync,
or run it at the same time, and no sync is started twice. A job belongs to the family sync if it was created since the
first job of the family sync. These times are by one clock: the one of BankSync that writes ``createdAt``. To get the
first time, the first feed starts alone, see `FamilySync.has_begun`.
"""

from __future__ import annotations

from dataclasses import astuple, fields, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import jobs
from airflow_provider_banksync.api.family import steps
from airflow_provider_banksync.api.family.state import (
    FamilySettings,
    FamilySyncState,
    Feed,
    FeedResult,
    FeedState,
    Phase,
)
from airflow_provider_banksync.api.jobs import Ownership
from airflow_provider_banksync.api.redaction import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_banksync.api.flows.core import Clock, Flow

__all__ = ["FamilySettings", "FamilySync", "Feed", "FeedResult"]

#: Feeds that start one after the other, until the first job exists. After that many, the others start without it.
MAX_FIRST_FEEDS = 3
#: Seconds until the first log line on the progress, and between the next ones.
_FIRST_PROGRESS, _PROGRESS_INTERVAL = 10.0, 60.0
#: Maximum jobs that a message on a kill names.
_MAX_NAMED = 20


class FamilySync:
    """The syncs of these feeds, as steps for a driver.

    :param clock: seconds since the epoch, as in `FamilySettings.deadline`.
    :param log: receives each warning, and the progress after ten seconds and then once a minute.
    :param own_jobs: the jobs, by feed, that an earlier process of this family sync recorded as its own.
    :param known_job_ids: the jobs of feeds that an earlier process recorded before a start whose answer is unknown.
    :param note_start: called with a feed's id and the ids of its jobs before a start, until the first job exists.
    """

    def __init__(
        self,
        feeds: Iterable[Feed],
        settings: FamilySettings,
        *,
        clock: Clock,
        log: Any,
        own_jobs: Mapping[str, str] | None = None,
        known_job_ids: Mapping[str, list[str]] | None = None,
        note_start: Callable[[str, list[str]], None] | None = None,
    ) -> None:
        states = [FeedState(*astuple(feed)) for feed in feeds]
        for feed in states:
            feed.known_job_ids = (known_job_ids or {}).get(feed.record_key)
        self._state = FamilySyncState(states, settings, clock, log, dict(own_jobs or {}), note_start)
        self._next_progress = clock() + _FIRST_PROGRESS

    # --- what the driver asks ---

    @property
    def is_done(self) -> bool:
        """Whether every feed has its result."""
        return not self._state.remaining

    @property
    def timed_out(self) -> bool:
        """Whether the deadline passed before every feed had its result."""
        return self._state.closing is not None and not self._state.cancelling

    @property
    def has_begun(self) -> bool:
        """Whether another process can resume the family sync: its first job exists, or some feeds could not start."""
        return self._state.attempt_since is not None or self._state.tried >= MAX_FIRST_FEEDS

    @property
    def settings(self) -> FamilySettings:
        """The settings for a process that resumes the family sync now."""
        state = self._state
        return replace(state.settings, since=state.since, attempt_since=state.attempt_since)

    def own_jobs(self) -> dict[str, str]:
        """Return the jobs, by feed, that this family sync certainly started."""
        own = {
            feed.record_key: feed.job["id"]
            for feed in self._state.feeds
            if feed.ownership is Ownership.PROVED
        }
        return {**self._state.own_jobs, **own}

    def unfinished(self) -> list[Feed]:
        """Return the feeds without a result."""
        names = [each.name for each in fields(Feed)]
        unfinished = (feed for feed in self._state.feeds if feed.phase is not Phase.DONE)
        return [Feed(*(getattr(feed, name) for name in names)) for feed in unfinished]

    def results(self, *, done_only: bool = False) -> list[FeedResult]:
        """Return the result of each feed, in the order of the feeds. `done_only`: only of feeds that are done."""
        return [feed.result() for feed in self._state.feeds if feed.phase is Phase.DONE or not done_only]

    def next_step(self) -> Flow[None] | None:
        """Return a step to run beside those in flight; None if there is nothing to do now.

        Starts come before polls, so that a poll never delays a start.
        """
        state = self._state
        if state.closing is None and state.clock() >= state.settings.deadline:
            self._begin_closing()
        if state.closing is not None:
            return self._next_to_close(state.closing)
        return self._next_start() or self._next_poll()

    def idle_seconds(self) -> float:
        """Return the seconds until the next new step. A step in flight that ends earlier can also cause one."""
        state = self._state
        if state.closing is not None:
            return 0.1
        return max(0.0, min(state.settings.deadline, state.schedule.next_poll_at()) - state.clock())

    def tick(self) -> None:
        """Note that the process runs. The driver calls this about once a second."""
        self._state.pauses.tick()

    def cancel(self) -> None:
        """From now on, return only steps that cancel the jobs that this started. Drop steps in flight before.

        Jobs that this may not have started are not cancelled. A feed whose sync may have been started is checked first.
        """
        state = self._state
        state.cancelling = True
        to_cancel = []
        for feed in state.feeds:
            feed.in_flight = False
            running = feed.phase is Phase.RUNNING and feed.ownership is Ownership.PROVED
            uncertain = feed.known_job_ids is not None or feed.record_key in state.own_jobs
            if running or (feed.phase in (Phase.WAITING, Phase.STARTING) and uncertain):
                to_cancel.append(feed)
        state.remaining, state.closing = len(to_cancel), to_cancel

    def describe_cancellation(self, *, in_time: bool) -> str:
        """Return sentences on the result of `cancel`."""
        with_job = [feed for feed in self._state.feeds if feed.job]
        own = [feed for feed in with_job if feed.ownership is Ownership.PROVED]
        cancelled = sum(feed.status == jobs.JobStatus.CANCELLED for feed in own)
        failed = [feed.job["id"] for feed in own if feed.phase is not Phase.DONE]
        sentences = [f"Cancelled {cancelled} of its jobs."]
        if failed or not in_time:
            names = ", ".join(failed) or "jobs whose ids are unknown"
            sentences.append(f"Not cancelled in time: {names}.")
        others = [
            feed for feed in with_job if feed.ownership is not Ownership.PROVED and jobs.is_active(feed.job)
        ]
        sentences += [steps.left_running(feed) for feed in others[:_MAX_NAMED]]
        if len(others) > _MAX_NAMED:
            sentences.append(f"{len(others) - _MAX_NAMED} more jobs were left running.")
        return " ".join(sentences)

    def log_progress(self) -> None:
        """Log the progress after ten seconds, and then once a minute."""
        state = self._state
        if state.clock() < self._next_progress:
            return
        self._next_progress = state.clock() + _PROGRESS_INTERVAL
        done = [feed for feed in state.feeds if feed.phase is Phase.DONE]
        running = sum(feed.phase is Phase.RUNNING for feed in state.feeds)
        state.log.info(
            "Done: %d of %s, of which %d failed. Running: %s. Not started yet: %d.",
            len(done),
            counted(len(state.feeds), "feed"),
            sum(feed.error is not None for feed in done),
            counted(running, "sync"),
            len(state.feeds) - len(done) - running,
        )

    # --- which step ---

    def _step(self, feed: FeedState, step: Flow[None]) -> Flow[None]:
        feed.in_flight = True
        return steps.isolate_errors(self._state, feed, step)

    def _next_start(self) -> Flow[None] | None:
        state = self._state
        alone = state.since is None and state.tried < MAX_FIRST_FEEDS
        if not state.waiting or self._is_full() or (alone and any(feed.in_flight for feed in state.feeds)):
            return None
        feed = state.waiting.pop()
        state.active.add(feed.key)
        state.tried += 1
        return self._step(feed, steps.start_feed(state, feed))

    def _next_poll(self) -> Flow[None] | None:
        state = self._state
        feed = state.schedule.pop_due(starts_waiting=bool(state.waiting) and self._is_full())
        if feed is None:
            return None
        if feed.phase is not Phase.WAITING:
            return self._step(feed, steps.poll_job(state, feed))
        state.active.discard(feed.key)  # the delay before another start is over
        state.waiting.append(feed)
        return self.next_step()

    def _is_full(self) -> bool:
        limit = self._state.settings.max_active
        return limit is not None and len(self._state.active) >= limit

    # --- after the timeout, or after `cancel` ---

    def _begin_closing(self) -> None:
        state = self._state
        state.closing = [feed for feed in state.feeds if feed.phase is not Phase.DONE]
        state.log.warning("The task timed out. Not done: %s.", counted(len(state.closing), "feed"))

    def _next_to_close(self, waiting: list[FeedState]) -> Flow[None] | None:
        state = self._state
        state.closing = [feed for feed in waiting if feed.phase is not Phase.DONE and feed.in_flight]
        for number, feed in enumerate(waiting):
            if feed.phase is not Phase.DONE and not feed.in_flight:
                state.closing += waiting[number + 1 :]
                return self._step(feed, steps.close_feed(state, feed))
        return None
