"""The syncs of many feeds as one run: what to do next, without a network, a clock or an event loop.

`FamilyRun` hands out steps, each a conversation on one feed that records what came of it; a driver
(`airflow_provider_banksync.api.crew`) has several of them under way at a time. A feed goes this way::

    UNSEEN ──► READY ──► STARTING ──► FOLLOWED ──► ENDED
                 ▲           │
                 └─ BLOCKED ◄┘  a job that is not ours is waited out

A run can be taken up by another process that knows nothing but what the first one was given, and starts no sync
again. It goes by the API alone: a job of this run is one that the API started, for our dates, since the run began.
So that an undisturbed run need not look at every feed before it starts it, the first feed goes alone: its jobs and
those of the next two are looked at, and it is started. Only when its job is there do the others follow, without a
look. Whoever takes up the run finds that job, and then looks at every feed before it starts any. (A feed that cannot
be the first, because another job is in its way, shows that job also to those who come later, and the next is first.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.api import conversations, endpoints, jobs
from airflow_provider_banksync.api.conversations import Send
from airflow_provider_banksync.api.family_steps import FamilySteps
from airflow_provider_banksync.api.family_tracks import Feed, Phase, Settings, Track
from airflow_provider_banksync.exceptions import BankSyncConflictError

if TYPE_CHECKING:
    from airflow_provider_banksync.api.conversations import Conversation
    from airflow_provider_banksync.api.messages import Reply, Row

__all__ = ["FamilyRun", "Feed", "Settings"]

#: Seconds between two lines on how far the run is.
_PROGRESS_EVERY = 60.0


class FamilyRun(FamilySteps):
    """One run over these feeds.

    :param clock: seconds since the epoch, as `Settings.deadline` counts them.
    :param log: is told of what goes wrong at once, and of the rest once a minute.
    """

    # --- what the driver asks ---

    @property
    def over(self) -> bool:
        """Whether every feed has its outcome."""
        return not self._left

    @property
    def late(self) -> bool:
        """Whether the time was up before every feed had its outcome."""
        return self._closing is not None and not self._killed

    def next_step(self) -> Conversation[None] | None:
        """Return what to do now, beside what is under way; None when there is nothing for the moment.

        Starts come first: they take what they need of the rate budget, and looks what is left.
        """
        if self._closing is None and self._clock() >= self.settings.deadline:
            self._close()
        if self._closing is not None:
            return self._next_close()
        return self._next_unseen() or self._next_start() or self._next_look()

    def seconds_to_next(self) -> float:
        """Return how long there is nothing to do for sure, unless a step that is under way ends before."""
        if self._closing is not None:
            return 0.1
        return max(0.0, min(self.settings.deadline, self._looks.next_at()) - self._clock())

    def kill(self) -> None:
        """Hand out, from now on, only what cancels the jobs of this run; whatever was under way has been dropped.

        A job that was merely joined is left alone. A feed of which we do not know is looked at first.
        """
        self._killed = True
        for track in self.tracks:
            track.busy = False
        doubtful = (Phase.UNSEEN, Phase.STARTING)
        doomed = [
            track
            for track in self.tracks
            if (track.phase is Phase.FOLLOWED and track.ours) or track.phase in doubtful
        ]
        self._left = len(doomed)
        self._closing = doomed

    def withdrawn(self, *, in_time: bool) -> str:
        """Say what came of `kill`."""
        doomed = [track for track in self.tracks if track.ours and track.job]
        cancelled = sum(track.status == jobs.JobStatus.CANCELLED for track in doomed)
        left = [track.job["id"] for track in doomed if track.phase is not Phase.ENDED]
        told = f"{cancelled} of the jobs that it started were cancelled"
        if in_time and not left:
            return f"{told}."
        return f"{told}; there was no time for the others: {', '.join(left) or 'not known'}."

    def report(self) -> None:
        """Log how far the run is, once a minute."""
        if self._clock() - self._reported < _PROGRESS_EVERY:
            return
        self._reported = self._clock()
        ended = [track for track in self.tracks if track.phase is Phase.ENDED]
        followed = sum(track.phase is Phase.FOLLOWED for track in self.tracks)
        self._log.info(
            "%d of %d feeds have ended, %d of them failed; %d jobs run, %d feeds are yet to be started.",
            len(ended),
            len(self.tracks),
            sum(track.failed for track in ended),
            followed,
            len(self.tracks) - len(ended) - followed,
        )

    # --- which step ---

    def _next_unseen(self) -> Conversation[None] | None:
        if not self._unseen or (self._deciding and self._seeing):
            return None
        track = self._unseen.pop()
        self._seeing += 1
        return self._guarded(track, self._see_first(track) if self._deciding else self._see(track), seen=True)

    def _next_start(self) -> Conversation[None] | None:
        limit = self.settings.max_active
        if not self._ready or self._unseen or self._seeing:
            return None
        if limit is not None and len(self._running) >= limit:
            return None
        track = self._ready.pop()
        self._running.add(track.feed.id)
        return self._guarded(track, self._start(track))

    def _next_look(self) -> Conversation[None] | None:
        limit = self.settings.max_active
        pressed = limit is not None and bool(self._ready) and len(self._running) >= limit
        track = self._looks.pop(pressed=pressed)
        if track is None:
            return None
        return self._guarded(track, self._see(track) if track.phase is Phase.UNSEEN else self._look(track))

    # --- the time is up; the task was killed ---

    def _close(self) -> None:
        self._closing = [track for track in self.tracks if track.phase is not Phase.ENDED]
        self._log.warning("The time to wait is over; %d feeds have not ended.", len(self._closing))

    def _next_close(self) -> Conversation[None] | None:
        waiting = self._closing or []
        self._closing = [track for track in waiting if track.phase is not Phase.ENDED and track.busy]
        for number, track in enumerate(waiting):
            if track.phase is not Phase.ENDED and not track.busy:
                self._closing += waiting[number + 1 :]
                return self._guarded(track, self._close_one(track))
        return None

    def _close_one(self, track: Track) -> Conversation[None]:
        """Cancel what is ours, look a last time at what is not, and say what is left."""
        if track.phase in (Phase.UNSEEN, Phase.STARTING):
            reply = yield from self._jobs(track)
            self._recognise(track, reply)
        if track.phase is Phase.FOLLOWED:
            yield from self._close_followed(track)
        elif track.phase is not Phase.ENDED:
            track.job = {} if track.phase is not Phase.BLOCKED else track.job
            blocked = f": job {track.job['id']} was in the way" if track.phase is Phase.BLOCKED else ""
            self._end(track, status="not_started", error=f"the time was up before it was started{blocked}")

    def _close_followed(self, track: Track) -> Conversation[None]:
        feed, job_id = track.feed, track.job["id"]
        reply: Reply[Row]
        if track.ours and (self._killed or self.settings.cancel_on_timeout):
            try:
                cancelled = yield from conversations.cancel_job(
                    feed.id, job_id, workspace_id=feed.workspace_id
                )
            except BankSyncConflictError:
                pass  # it has ended by itself: the look tells how
            else:
                self._end(track, cancelled, error="still running when the time was up; cancelled")
                return
        reply = yield Send(endpoints.get_job(feed.id, job_id, workspace_id=feed.workspace_id))
        ended = jobs.is_ended(reply.value)
        self._end(track, reply.value, error="" if ended else "still running when the time was up")
