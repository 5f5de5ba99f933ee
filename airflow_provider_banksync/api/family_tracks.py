"""What a run over many feeds knows of each: the feed, where it stands, what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from airflow_provider_banksync.api import codec, jobs
from airflow_provider_banksync.exceptions import BankSyncAuthError, BankSyncEdgeBlockedError

#: What is wrong with the key or the network path, and so with every feed.
FATAL = (BankSyncAuthError, BankSyncEdgeBlockedError)


@dataclass(frozen=True)
class Feed:
    """A feed, and whose it is.

    :param workspace_id: portal that it lives in; None: the client's own workspace.
    :param portal: name of that portal; None for the parent's own feeds.
    """

    id: str
    workspace_id: str | None
    portal: str | None
    name: str

    @property
    def label(self) -> str:
        """Whose feed it is, for messages."""
        return f"{self.portal or 'own workspace'}, feed {self.name!r} ({self.id})"


@dataclass(frozen=True)
class Settings:
    """How a run goes. All of it survives being stored, and is the same for whoever takes up the run.

    :param since: moment by the server's clock when the run began, earlier tries of the task included; None: the server
        does not tell the time, and only a job that still runs can be recognised as the run's.
    :param attempt_since: the same for this try: what failed before that is started again.
    :param deadline: moment by our clock when to give up, in seconds since the epoch.
    :param max_active: how many jobs run at a time at most; None: no limit.
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

    UNSEEN = "its jobs have not been looked at, or its start is in doubt"
    READY = "to be started"
    STARTING = "being started"
    BLOCKED = "waiting for the end of a job that is not ours"
    FOLLOWED = "waiting for the end of our job, or of one that was joined"
    ENDED = "has its outcome"


@dataclass
class Track:
    """One feed's way through the run.

    :param ours: its job was started by this run, which may therefore cancel it.
    :param busy: a step of it is under way.
    :param failures: of its last steps, in a row, for a passing reason.
    """

    feed: Feed
    phase: Phase = Phase.UNSEEN
    job: dict[str, Any] = field(default_factory=dict)
    ours: bool = False
    how: str = ""
    busy: bool = False
    failures: int = 0
    starts: int = 0
    born: float = 0.0
    status: str = ""
    error: str | None = None
    permanent: bool = False

    @property
    def failed(self) -> bool:
        """Whether it counts as failed."""
        return self.error is not None

    def outcome(self) -> dict[str, Any]:
        """Return what is told of it."""
        synced = self.status not in ("skipped", "not_started")
        return {
            "feed_id": self.feed.id,
            "workspace_id": self.feed.workspace_id or self.job.get("workspaceId"),
            "portal": self.feed.portal,
            "name": self.feed.name,
            "job_id": self.job.get("id"),
            "status": self.status,
            "written": self.job.get("transactionsWritten") if synced else None,
            "error": self.error,
            "permanent": self.permanent,
            "how": self.how,
            "seconds": jobs.seconds_run(self.job) if self.how else None,
            "unwritten": len(jobs.error_lines(self.job)),
        }


def may_join(running: dict[str, Any], settings: Settings) -> bool:
    """Tell whether a job that somebody else started does what is wanted: no dates are, or it has just these."""
    first, last = settings.from_date, settings.to_date
    return not (first or last) or jobs.same_dates(running, first, last)


def current(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out of a feed's jobs, newest first, what has ended in a way that we do not know.

    One job of a feed runs at a time, so only the newest can run with a status that is new to us.
    """
    return [job for at, job in enumerate(rows) if at == 0 or jobs.is_known(job) or jobs.is_ended(job)]


def left_a_trace(rows: list[dict[str, Any]], settings: Settings) -> bool:
    """Tell whether another job may have been in the way of this run's start."""
    ends = (codec.parse_instant(job.get("completedAt") or job.get("updatedAt")) for job in rows)
    return settings.since is not None and any(end is not None and end >= settings.since for end in ends)


def belongs(job: dict[str, Any], settings: Settings) -> bool:
    """Tell whether a job was started by this run, as far as the API tells.

    That is: by the API or the button, for our dates, since the run began.
    """
    if job.get("type", "manual") != "manual" or not jobs.same_dates(
        job, settings.from_date, settings.to_date
    ):
        return False
    born = codec.parse_instant(job.get("createdAt"))
    if born is None or settings.since is None:
        return jobs.is_active(job)
    return born >= settings.since
