"""The state of a family sync: its settings, each feed and its phase, and each feed's result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import jobs
from airflow_provider_banksync.api.family.poll_schedule import PollSchedule
from airflow_provider_banksync.api.jobs import Ownership
from airflow_provider_banksync.api.parsing import whole_number
from airflow_provider_banksync.api.redaction import show_name
from airflow_provider_banksync.api.retry_policy import NotFoundGrace
from airflow_provider_banksync.exceptions import BankSyncAuthError, BankSyncEdgeBlockedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.api.flows.core import Clock
    from airflow_provider_banksync.api.messages import Row

#: Errors of the key or of the network path. They concern every feed and end the family sync.
ERRORS_FOR_ALL_FEEDS = (BankSyncAuthError, BankSyncEdgeBlockedError)
#: A process that did not run for longer (seconds) reads a feed's jobs again before it starts a sync.
MAX_PAUSE = 3.0


@dataclass
class Feed:
    """A feed and its client.

    :param workspace_id: the client's portal; None: the workspace that the API client addresses.
    :param portal: name of the portal; None for the parent's own feeds.
    """

    feed_id: str
    workspace_id: str | None
    portal: str | None
    name: str

    @property
    def key(self) -> tuple[str, str]:
        """Workspace and id. Two workspaces may have feeds with the same id."""
        return self.workspace_id or "", self.feed_id

    @property
    def record_key(self) -> str:
        """The key of the feed in a record: workspace and id."""
        return "/".join(self.key)

    @property
    def display_name(self) -> str:
        """The feed's name and client, then its id, for messages."""
        client = f"client {show_name(self.portal)}" if self.portal else "own workspace"
        return f'"{show_name(self.name)}" ({client}, feed {self.feed_id})'


@dataclass
class FeedResult(Feed):
    """How a feed's sync ended.

    :param status: the job's last status, or ``skipped`` or ``not_started``.
    :param written: rows that reached the destination.
    :param error: why the feed counts as failed; None if it does not.
    :param permanent: a retry would fail with the same error.
    :param origin: how the family sync got the job: ``started``, ``attached``, ``resumed`` or ``from an earlier try``.
    :param duration_seconds: how long the job ran, by BankSync's clock.
    :param error_count: errors that the job carries, such as rows that were not written.
    """

    status: str
    job_id: str | None = None
    written: int | None = None
    error: str | None = None
    permanent: bool = False
    origin: str = ""
    duration_seconds: float | None = None
    error_count: int = 0

    @property
    def needs_sign_in(self) -> bool:
        """The job failed because a bank needs a new sign-in."""
        return self.permanent and self.status in jobs.ENDED_STATUSES

    def to_json(self) -> dict[str, Any]:
        """Return the fields as they stand in a trigger's event."""
        return asdict(self)


@dataclass(frozen=True)
class FamilySettings:
    """Settings of a family sync. Every process that resumes it gets the same, because a deferred task stores them.

    :param deadline: when the task times out, by our clock, in seconds since the epoch.
    :param since: when the family sync created its first job, in this try or an earlier one, by the clock that writes
        the ``createdAt`` of jobs. None: it has created none that we know.
    :param attempt_since: the same for this try. Jobs that failed before are started again.
    :param max_active: maximum jobs that run at a time; None: no limit.
    """

    deadline: float
    since: float | None = None
    attempt_since: float | None = None
    from_date: str | None = None
    to_date: str | None = None
    if_running: str = "attach"
    max_active: int | None = None
    poll_interval: float = 5.0
    max_poll_interval: float = 60.0
    cancel_on_timeout: bool = True
    fail_on_job_errors: bool = False


class Phase(Enum):
    """Where a feed stands."""

    WAITING = "its jobs are read next, then its sync is started"
    STARTING = "its sync is being started"
    BLOCKED = "it waits for the end of another job"
    RUNNING = "it waits for the end of its job"
    DONE = "it has its result"


@dataclass
class FeedState(Feed):
    """A feed and where it stands.

    :param ownership: how sure it is that this family sync started the job.
    :param known_job_ids: the feed's jobs before a start whose answer was lost or has not arrived; None: there is none.
    :param others: jobs of the feed that somebody else started.
    :param in_flight: one of the feed's steps is running.
    :param failures: transient errors of its last steps, in a row.
    :param start_attempts: how often BankSync refused a start because of a job that had ended in the next listing.
    """

    phase: Phase = Phase.WAITING
    job: Row = field(default_factory=dict)
    ownership: Ownership = Ownership.ATTACHED
    known_job_ids: list[str] | None = None
    others: set[str] = field(default_factory=set)
    origin: str = ""
    in_flight: bool = False
    failures: int = 0
    not_found: NotFoundGrace = field(default_factory=NotFoundGrace)
    start_attempts: int = 0
    job_started_at: float = 0.0
    status: str = ""
    error: str | None = None
    permanent: bool = False

    def result(self) -> FeedResult:
        """Return how the feed stands, which is its result once it is done."""
        has_synced = self.status not in ("skipped", "not_started")
        return FeedResult(
            self.feed_id,
            self.workspace_id or self.job.get("workspaceId"),
            self.portal,
            self.name,
            self.status,
            job_id=self.job.get("id"),
            written=whole_number(self.job.get("transactionsWritten")) if has_synced else None,
            error=self.error,
            permanent=self.permanent,
            origin=self.origin,
            duration_seconds=jobs.duration_seconds(self.job) if self.origin else None,
            error_count=len(jobs.error_lines(self.job)),
        )


class PauseWatch:
    """Notices that this process stood still, for example because its machine was suspended.

    The driver calls `tick` about once a second. Before its first call, nothing is noticed.

    :param clock: a clock that goes on meanwhile.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alive_at: float | None = None
        self._count = 0

    def tick(self) -> None:
        """Note that the process runs."""
        self._count = self._pauses()
        self._alive_at = self._clock()

    def guard(self) -> Callable[[], bool]:
        """Return a function that tells whether the process has not stood still since now."""
        count = self._pauses()
        return lambda: self._pauses() == count

    def _pauses(self) -> int:
        silent_for = 0.0 if self._alive_at is None else self._clock() - self._alive_at
        return self._count + (silent_for > MAX_PAUSE)


@dataclass
class FamilySyncState:
    """The state that all steps of a family sync share.

    :param own_jobs: the job of each feed that is recorded as started by this family sync, by an earlier process.
    :param note_start: called before the first starts, with the feed's id and the ids of its jobs.
    :param waiting: feeds whose sync is to be started, the next one last.
    :param active: keys of the feeds that have a job of this family sync, or may have one.
    :param tried: number of feeds whose start was tried in this process.
    :param closing: feeds to close after the timeout or `FamilySync.cancel`; None before.
    :param remaining: number of feeds without a result.
    """

    feeds: list[FeedState]
    settings: FamilySettings
    clock: Clock
    log: Any
    own_jobs: dict[str, str]
    note_start: Callable[[str, list[str]], None] | None
    active: set[tuple[str, str]] = field(default_factory=set)
    tried: int = 0
    closing: list[FeedState] | None = None
    cancelling: bool = False
    since: float | None = field(init=False)
    attempt_since: float | None = field(init=False)
    waiting: list[FeedState] = field(init=False)
    remaining: int = field(init=False)
    schedule: PollSchedule[FeedState] = field(init=False)
    pauses: PauseWatch = field(init=False)

    def __post_init__(self) -> None:
        self.since, self.attempt_since = self.settings.since, self.settings.attempt_since
        self.waiting, self.remaining = self.feeds[::-1], len(self.feeds)
        intervals = self.settings.poll_interval, self.settings.max_poll_interval
        self.schedule = PollSchedule(*intervals, self.clock)
        self.pauses = PauseWatch(self.clock)
