"""The steps of a run over many feeds: each a conversation on one feed, which records what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import codec, conversations, endpoints, jobs
from airflow_provider_banksync.api.conversations import Send, Wait
from airflow_provider_banksync.api.family_tracks import (
    FATAL,
    Phase,
    Track,
    belongs,
    current,
    left_a_trace,
    may_join,
)
from airflow_provider_banksync.api.looks import Looks
from airflow_provider_banksync.exceptions import BankSyncConflictError, BankSyncError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_banksync.api.conversations import Clock, Conversation
    from airflow_provider_banksync.api.family_tracks import Feed, Settings
    from airflow_provider_banksync.api.messages import Reply, Row

#: How often a sync is asked for when each time a job runs that has ended when we look for it.
_STARTS = 5
#: Besides the first feed, so many are looked at for a trace of an earlier life of the run.
_PROBES = 2
#: How often the first feed is tried before the others are started without it, each after a look at its jobs.
_FIRST_TRIES = 3
#: A run over so many feeds has a line in the log for each start; a larger one has the table at its end.
_FEW = 50


class FamilySteps:
    """What the steps share; `airflow_provider_banksync.api.family.FamilyRun` decides which comes when."""

    def __init__(
        self,
        feeds: Iterable[Feed],
        settings: Settings,
        *,
        clock: Clock,
        log: Any,
    ) -> None:
        self.settings = settings
        self.tracks = [Track(feed) for feed in feeds]
        self._clock = clock
        self._log = log
        self._left = len(self.tracks)
        self._looks = Looks(settings, clock)
        self._unseen = list(reversed(self.tracks))
        self._ready: list[Track] = []
        #: Feeds that have a job of ours, or may have one.
        self._running: set[str] = set()
        #: Looked at for the first time, at this moment.
        self._seeing = 0
        #: Whether the first feed has yet to tell if this run was begun before.
        self._deciding = True
        self._probed = False
        self._closing: list[Track] | None = None
        self._killed = False
        self._reported = clock()

    # --- which feed's business it is ---

    def _guarded(self, track: Track, steps: Conversation[None], *, seen: bool = False) -> Conversation[None]:
        """Make what goes wrong with one feed that feed's own business; a wrong key is everybody's.

        :param seen: the feed is looked at for the first time.
        """
        track.busy = True
        return self._guard(track, steps, seen)

    def _guard(self, track: Track, steps: Conversation[None], seen: bool) -> Conversation[None]:
        try:
            yield from steps
            track.failures = 0
        except FATAL:
            raise
        except BankSyncError as error:
            if self._closing is not None or not error.transient:
                track.permanent = error.permanent
                self._end(track, error=str(error))
            else:
                self._again_later(track, error)
        finally:
            track.busy = False
            self._seeing -= seen

    def _again_later(self, track: Track, error: BankSyncError) -> None:
        self._log.warning("%s: %s Trying again later.", track.feed.label, error)
        if track.phase is Phase.STARTING:
            track.phase = Phase.UNSEEN  # it may have been started
        if track.phase is Phase.UNSEEN:
            self._running.add(track.feed.id)
        self._looks.later(track)

    # --- the steps ---

    def _see(self, track: Track) -> Conversation[None]:
        """Look whether the feed has a job of this run, or another in its way; if neither, it can be started."""
        reply = yield from self._jobs(track)
        if not self._known(track, reply):
            self._make_ready(track)

    def _see_first(self, track: Track) -> Conversation[None]:
        """Find out whether this run was begun before; if not, start this feed, and let the others follow."""
        if not self._probed:
            yield from self._probe()
        while self._deciding:
            reply = yield from self._jobs(track)
            if self._known(track, reply):
                return
            if left_a_trace(reply.value, self.settings):
                break
            yield from self._until_begun(reply)
            self._running.add(track.feed.id)
            try:
                yield from self._start(track)
            except BankSyncError as error:
                if not error.transient or self._closing is not None:
                    raise
                yield from self._try_first_again(track, error)
            else:
                if track.phase is Phase.FOLLOWED and track.ours:
                    self._all_follow()
                return
        if self._deciding:
            self._make_ready(track)
        else:
            yield from self._see(track)

    def _probe(self) -> Conversation[None]:
        self._probed = True
        for other in self._unseen[: -_PROBES - 1 : -1]:
            try:
                reply = yield from self._jobs(other)
            except FATAL:
                raise
            except BankSyncError:
                continue  # it will be met again, as that feed's own business
            if any(belongs(job, self.settings) for job in reply.value):
                self._deciding = False
                return

    def _try_first_again(self, track: Track, error: BankSyncError) -> Conversation[None]:
        """Leave the first feed some time: no other may go before it is clear whether this one was started."""
        track.phase = Phase.UNSEEN
        track.failures += 1
        if track.failures >= _FIRST_TRIES:
            self._deciding = False
            raise error
        self._log.warning("%s: %s Trying again.", track.feed.label, error)
        yield Wait(self._looks.pause(track))

    def _all_follow(self) -> None:
        self._deciding = False
        for each in self._unseen:
            each.phase = Phase.READY
        self._ready = [*self._unseen, *self._ready]
        self._unseen = []

    def _known(self, track: Track, reply: Reply[list[Row]]) -> bool:
        """Take up the job that is ours, or the one that runs; False if there is none."""
        if self._recognise(track, reply):
            self._deciding = False
            return True
        running = next((job for job in current(reply.value) if jobs.is_active(job)), None)
        if running is not None:
            self._meet(track, running)
        return running is not None

    def _jobs(self, track: Track) -> Conversation[Reply[list[Row]]]:
        reply: Reply[list[Row]] = yield Send(
            endpoints.list_jobs(track.feed.id, workspace_id=track.feed.workspace_id)
        )
        return reply

    def _recognise(self, track: Track, reply: Reply[list[Row]]) -> bool:
        """Take up the job that this run has started earlier, if there is one."""
        mine = next((job for job in current(reply.value) if belongs(job, self.settings)), None)
        if mine is None:
            return False
        ended = codec.parse_instant(mine.get("completedAt") or mine.get("updatedAt"))
        before = ended is not None and ended < (self.settings.attempt_since or 0.0)
        if jobs.is_active(mine):
            self._follow(track, mine, ours=True, how="found again")
        elif before and not self._is_well(mine):
            self._make_ready(track)  # an earlier try of the task saw it fail
        else:
            track.how = "found again"
            self._end(track, mine)
        return True

    def _until_begun(self, reply: Reply[list[Row]]) -> Conversation[None]:
        """Let the second pass in which the run began.

        The server's clock tells whole seconds, and what somebody else started in that one must not look like ours.
        """
        since = self.settings.since
        if since is not None and reply.date is not None and since > reply.date:
            yield Wait(min(since - reply.date, 1.0))

    def _start(self, track: Track) -> Conversation[None]:
        track.phase = Phase.STARTING
        feed, settings = track.feed, self.settings
        try:
            job = yield from conversations.trigger_sync(
                feed.id,
                settings.from_date,
                settings.to_date,
                workspace_id=feed.workspace_id,
            )
        except BankSyncConflictError as error:
            reply = yield from self._jobs(track)
            running = next((job for job in current(reply.value) if jobs.is_active(job)), None)
            if running is not None:
                self._meet(track, running)
                return
            track.starts += 1
            if track.starts >= _STARTS:
                raise BankSyncConflictError(
                    f"another job ran each of {_STARTS} times that a sync was asked for. {error}"
                ) from error
            self._running.discard(feed.id)
            track.phase = Phase.READY
            self._looks.later(track)
        else:
            self._follow(track, job, ours=True, how="started")

    def _meet(self, track: Track, running: Row) -> None:
        """Decide what to do about a job that runs already, and is none of ours."""
        self._running.discard(track.feed.id)
        rule = self.settings.if_running
        track.job, track.ours = running, False
        if rule == "skip":
            self._end(track, running, status="skipped")
        elif rule == "fail":
            self._end(track, running, status="not_started", error=f"job {running['id']} was running already")
        elif rule == "attach" and may_join(running, self.settings):
            self._follow(track, running, ours=False, how="joined")
        else:
            self._log.info("%s: waiting out job %s, which is in the way.", track.feed.label, running["id"])
            track.phase = Phase.BLOCKED
            self._looks.add(track, self._looks.age(running))

    def _make_ready(self, track: Track) -> None:
        self._running.discard(track.feed.id)
        track.phase, track.job = Phase.READY, {}
        self._ready.append(track)

    def _follow(self, track: Track, job: Row, *, ours: bool, how: str) -> None:
        if jobs.is_ended(job):
            track.ours, track.how = ours, how
            self._end(track, job)
            return
        track.phase, track.job, track.ours, track.how = Phase.FOLLOWED, job, ours, how
        self._running.add(track.feed.id)
        tell = self._log.info if len(self.tracks) <= _FEW else self._log.debug
        tell("%s: %s job %s.", track.feed.label, how, job["id"])
        if how == "started":
            self._looks.add_new(track)
        else:
            self._looks.add(track, self._looks.age(job))

    def _look(self, track: Track) -> Conversation[None]:
        if track.phase is Phase.READY:  # its pause is over
            self._ready.append(track)
            return
        feed = track.feed
        try:
            reply: Reply[Row] = yield Send(
                endpoints.get_job(feed.id, track.job["id"], workspace_id=feed.workspace_id)
            )
        except BankSyncError as error:
            if track.phase is not Phase.BLOCKED or error.status != 404:
                raise
            self._make_ready(track)  # the job that was in the way is gone altogether
            return
        track.job = reply.value
        if not jobs.is_ended(track.job):
            self._looks.add(track)
        elif track.phase is Phase.BLOCKED:
            self._make_ready(track)
        else:
            self._looks.learn(track.job)
            self._end(track, track.job)

    # --- outcomes ---

    def _is_well(self, job: Row) -> bool:
        return job.get("status") == jobs.JobStatus.COMPLETED and not (
            self.settings.fail_on_job_errors and jobs.error_lines(job)
        )

    def _end(self, track: Track, job: Row | None = None, *, status: str = "", error: str = "") -> None:
        if track.phase is Phase.ENDED:
            return
        track.job = job if job is not None else track.job
        if job is not None and not (status or error) and not self._is_well(job):
            error = jobs.reason(job)
        track.phase = Phase.ENDED
        track.status = status or str(track.job.get("status") or "not_started")
        track.error = error or None
        self._running.discard(track.feed.id)
        self._left -= 1
        if error and not self._killed:
            self._log.warning("%s: %s: %s", track.feed.label, track.status, error)
