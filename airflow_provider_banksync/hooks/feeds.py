"""The hook's methods for feeds, their syncs and their jobs."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.flows import listings, polling, syncs, writes
from airflow_provider_banksync.api.redaction import redact
from airflow_provider_banksync.api.validation import validate_seconds
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncNotFoundError
from airflow_provider_banksync.hooks.workspaces import HookMethods

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import timedelta

    from airflow_provider_banksync.api.jobs import Ownership
    from airflow_provider_banksync.api.messages import Row
    from airflow_provider_banksync.api.validation import Scope, Status

#: Maximum names or ids in a message.
_MAX_SHOWN = 20


def feeds_named(feeds: list[Row], name: str) -> list[Row]:
    """Return the feeds with a name. BankSync allows several.

    If none has exactly this name, spaces around a name do not matter, because BankSync may remove them.
    """
    exact = [feed for feed in feeds if feed.get("name") == name]
    return exact or [feed for feed in feeds if str(feed.get("name")).strip() == name.strip()]


class FeedMethods(HookMethods):
    """Feeds, syncs, jobs."""

    def list_feeds(self, scope: Scope = "self", *, workspace_id: str | None = None) -> list[Row]:
        """Return the feeds. `scope` works as in `list_banks`."""
        return self._send(endpoints.list_feeds(scope, workspace_id=workspace_id))

    def get_feed(self, feed_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one feed."""
        return self._send(endpoints.get_feed(feed_id, workspace_id=workspace_id))

    def find_feed(self, name: str, *, workspace_id: str | None = None) -> Row:
        """Return the feed with this name in the workspace.

        :raises BankSyncNotFoundError: there is none. The message lists the names that exist.
        :raises BankSyncConfigError: there are several. The message lists their ids.
        """
        feeds = self.list_feeds(workspace_id=workspace_id)
        found = feeds_named(feeds, name)
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(str(feed["id"]) for feed in found[:_MAX_SHOWN])
            raise BankSyncConfigError(
                f"{len(found)} feeds have the name {name!r}: {ids}.", hint="Pass feed_id."
            )
        names = sorted(repr(redact(feed.get("name"))) for feed in feeds)
        more = [f"and {len(names) - _MAX_SHOWN} more"] if len(names) > _MAX_SHOWN else []
        raise BankSyncNotFoundError(
            f"no feed has the name {name!r}. The workspace has: {', '.join([*names[:_MAX_SHOWN], *more]) or 'none'}.",
            method="GET",
            path=self.get_conn().config.path("/v1/feeds"),
            hint="Use the name as BankSync shows it. For a portal's feed, pass workspace_id.",
        )

    def trigger_sync(
        self,
        feed_id: str,
        from_date: str | None = None,
        to_date: str | None = None,
        *,
        workspace_id: str | None = None,
    ) -> Row:
        """Start a sync of the feed and return its job, without waiting for it.

        A retry never starts a second sync: the feed's jobs are listed before the request. If the outcome of the request
        is unknown, a job with a new id counts as the one that it started.

        :param from_date: first day to sync, ``YYYY-MM-DD``. Without dates, the sync is incremental.
        :param to_date: last day to sync, inclusive.
        :raises BankSyncConflictError: a job of this feed is queued or running.
        """
        return self.get_conn().run(syncs.trigger_sync(feed_id, from_date, to_date, workspace_id=workspace_id))

    def start_sync(
        self,
        feed_id: str,
        from_date: str | None = None,
        to_date: str | None = None,
        *,
        known_job_ids: Collection[str],
        workspace_id: str | None = None,
    ) -> tuple[Row, Ownership]:
        """Start a sync as `trigger_sync` does. Return its job, and whether it is proved that this call started it.

        :param known_job_ids: ids of the feed's jobs before this call. If the answer is lost, a job with another id is
            inferred to be the new one.
        """
        return self.get_conn().run(
            syncs.start_sync(
                feed_id, from_date, to_date, known_job_ids=known_job_ids, workspace_id=workspace_id
            )
        )

    def find_new_sync(
        self,
        feed_id: str,
        from_date: str | None = None,
        to_date: str | None = None,
        *,
        known_job_ids: Collection[str],
        workspace_id: str | None = None,
    ) -> Row | None:
        """Search about 15 seconds for a job of a lost request with these dates. Return it, or None.

        BankSync's scheduled jobs do not count.

        :param known_job_ids: ids of the feed's jobs before the request.
        """
        return self.get_conn().run(
            syncs.find_new_sync(
                feed_id, from_date, to_date, known_job_ids=known_job_ids, workspace_id=workspace_id
            )
        )

    def create_feed(self, body: Row, *, workspace_id: str | None = None) -> Row:
        """Create a feed and return it. A retry never creates it twice.

        :param body: ``name``, ``source``, ``dataType`` and the other fields, as the API names them.
        :raises BankSyncValidationError: with BankSync's ``errors`` and ``warnings``.
        """
        post = endpoints.create_feed(body, workspace_id=workspace_id)
        listing = endpoints.list_feeds(workspace_id=workspace_id)
        return self.get_conn().run(writes.create_resource(post, listing, name=body.get("name")))

    def update_feed(self, feed_id: str, body: Row, *, workspace_id: str | None = None) -> Row:
        """Replace the given fields of a feed and return it; ``source`` and ``dataType`` cannot be changed."""
        return self._send(endpoints.update_feed(feed_id, body, workspace_id=workspace_id))

    def delete_feed(self, feed_id: str, *, workspace_id: str | None = None) -> None:
        """Delete a feed."""
        self._delete(endpoints.delete_feed(feed_id, workspace_id=workspace_id))

    def trigger_learn(self, feed_id: str, *, workspace_id: str | None = None) -> Row:
        """Let the feed's memory enrichment learn from its destination. Does not wait for it to finish."""
        return self._send(endpoints.trigger_learn(feed_id, workspace_id=workspace_id))

    def list_jobs(
        self,
        feed_id: str,
        status: Status | None = None,
        limit: int | None = None,
        *,
        workspace_id: str | None = None,
    ) -> list[Row]:
        """Return jobs of a feed, newest first.

        :param status: return only jobs with this status: queued, in_progress, completed, failed, cancelled.
        :param limit: maximum number of jobs. None means the API's default, 20.
        """
        return self._send(endpoints.list_jobs(feed_id, status, limit, workspace_id=workspace_id))

    def list_family_jobs(
        self, status: Status | None = None, limit: int | None = None, *, workspace_id: str | None = None
    ) -> list[Row]:
        """Return jobs of the parent and all its portals, newest first, with ``workspaceId`` and ``portal``.

        The internal surface needs one request, the public one a request for the feeds and one for each feed.

        :param limit: maximum number of jobs. None means the API's default (on the public surface: 20 of each feed).
        """
        internal = self.get_conn().config.internal
        return self.get_conn().run(
            listings.list_family_jobs(status, limit, internal=internal, workspace_id=workspace_id)
        )

    def get_job(self, feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one job."""
        return self._send(endpoints.get_job(feed_id, job_id, workspace_id=workspace_id))

    def cancel_job(self, feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Row:
        """Cancel a job and return its last state.

        :raises BankSyncConflictError: it has already ended.
        """
        return self.get_conn().run(syncs.cancel_job(feed_id, job_id, workspace_id=workspace_id))

    def wait_for_job(
        self,
        feed_id: str,
        job_id: str,
        timeout: float | timedelta = 3600,
        poll_interval: float | timedelta = 5,
        *,
        max_poll_interval: float | timedelta = 60,
        workspace_id: str | None = None,
        on_progress: Callable[[Row], None] | None = None,
    ) -> Row:
        """Wait until the job has ended and return it, also if it failed.

        Temporary errors of a poll do not end the wait. All times are seconds or a timedelta.

        :param timeout: maximum time to wait.
        :param poll_interval: time between the first polls. It grows by half each time.
        :param max_poll_interval: maximum time between polls.
        :param on_progress: called with the job after each poll.
        :raises BankSyncJobTimeoutError: the job still runs. `.job` is its last known state.
        """
        policy = polling.PollPolicy(
            initial_interval=validate_seconds("poll_interval", poll_interval),
            max_interval=validate_seconds("max_poll_interval", max_poll_interval),
            deadline=time.monotonic() + validate_seconds("timeout", timeout),
            clock=time.monotonic,
            rng=random.random,
        )
        return self.get_conn().run(
            syncs.wait_for_job(feed_id, job_id, policy, workspace_id=workspace_id, on_progress=on_progress)
        )
