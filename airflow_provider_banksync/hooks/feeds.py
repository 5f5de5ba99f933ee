"""The hook's methods for feeds, their syncs and their jobs."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from airflow_provider_banksync.api import conversations, endpoints
from airflow_provider_banksync.api.checks import seconds
from airflow_provider_banksync.api.redaction import scrub
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncNotFoundError
from airflow_provider_banksync.hooks.base import ApiMethods

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from airflow_provider_banksync.api.messages import Row


#: So many names are in the message that a feed was not found.
_MOST_NAMES = 20


class FeedMethods(ApiMethods):
    """Feeds, syncs, jobs."""

    def list_feeds(self, scope: str = "self", *, workspace_id: str | None = None) -> list[Row]:
        """Return the feeds; `scope` as in `list_banks`."""
        return self._send(endpoints.list_feeds(scope, workspace_id=workspace_id))

    def get_feed(self, feed_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one feed."""
        return self._send(endpoints.get_feed(feed_id, workspace_id=workspace_id))

    def find_feed(self, name: str, *, workspace_id: str | None = None) -> Row:
        """Return the feed of this name in this workspace.

        :raises BankSyncNotFoundError: there is none; the message lists the names that there are.
        :raises BankSyncConfigError: there are several; the message lists their ids.
        """
        feeds = self.list_feeds(workspace_id=workspace_id)
        found = [feed for feed in feeds if feed.get("name") == name]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(str(feed["id"]) for feed in found[:_MOST_NAMES])
            raise BankSyncConfigError(
                f"{len(found)} feeds are named {name!r}: {ids}.", hint="Give the feed_id."
            )
        names = sorted(repr(scrub(feed.get("name"))) for feed in feeds)
        more = [f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
        raise BankSyncNotFoundError(
            f"no feed is named {name!r}; there are: {', '.join([*names[:_MOST_NAMES], *more]) or 'none at all'}.",
            method="GET",
            path=self.get_conn().config.path("/v1/feeds"),
            hint="Give a feed's name as BankSync has it; give workspace_id for a feed of a portal.",
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

        A sync is never started twice: when the outcome of the request is unknown, the feed's jobs are looked at before
        it is sent again.

        :param from_date: first day to sync, ``YYYY-MM-DD``; without dates, the sync is incremental.
        :param to_date: last day to sync, inclusive.
        :raises BankSyncConflictError: a job of this feed is queued or running already.
        """
        return self._run(conversations.trigger_sync(feed_id, from_date, to_date, workspace_id=workspace_id))

    def find_sync(
        self,
        feed_id: str,
        from_date: str | None = None,
        to_date: str | None = None,
        *,
        age: float,
        workspace_id: str | None = None,
    ) -> Row | None:
        """Return the newest job that somebody started with these dates in the last `age` seconds; None without one.

        BankSync's own scheduled jobs do not count. The server's clock judges the age.
        """
        since = time.monotonic() - age  # now: making the client may take seconds
        return self._run(
            conversations.find_sync(feed_id, from_date, to_date, since=since, workspace_id=workspace_id)
        )

    def create_feed(self, body: Row, *, workspace_id: str | None = None) -> Row:
        """Create a feed and return it; it is never created twice by a retry of ours.

        :param body: ``name``, ``source``, ``dataType`` and the other fields of a feed, as the API names them.
        :raises BankSyncValidationError: with the vendor's ``errors`` and ``warnings``.
        """
        post = endpoints.create_feed(body, workspace_id=workspace_id)
        listing = endpoints.list_feeds(workspace_id=workspace_id)
        return self._run(conversations.create(post, listing, name=body.get("name")))

    def update_feed(self, feed_id: str, body: Row, *, workspace_id: str | None = None) -> Row:
        """Replace the given fields of a feed and return it; ``source`` and ``dataType`` cannot be changed."""
        return self._send(endpoints.update_feed(feed_id, body, workspace_id=workspace_id))

    def delete_feed(self, feed_id: str, *, workspace_id: str | None = None) -> None:
        """Delete a feed."""
        self._run(conversations.delete(endpoints.delete_feed(feed_id, workspace_id=workspace_id)))

    def trigger_learn(self, feed_id: str, *, workspace_id: str | None = None) -> Row:
        """Have the feed's memory enrichment learn from its destination; returns that it was dispatched."""
        return self._send(endpoints.trigger_learn(feed_id, workspace_id=workspace_id))

    def list_jobs(
        self,
        feed_id: str,
        status: str | None = None,
        limit: int | None = None,
        *,
        workspace_id: str | None = None,
    ) -> list[Row]:
        """Return jobs of a feed, newest first.

        :param status: only those in this status: queued, in_progress, completed, failed, cancelled.
        :param limit: how many at most; None leaves it to the API, which gives 20.
        """
        return self._send(endpoints.list_jobs(feed_id, status, limit, workspace_id=workspace_id))

    def list_family_jobs(
        self, status: str | None = None, limit: int | None = None, *, workspace_id: str | None = None
    ) -> list[Row]:
        """Return jobs of the parent and all its portals, newest first, with ``workspaceId`` and ``portal``.

        One request on the internal surface; on the public one, one for the feeds and one for each feed.

        :param limit: how many at most; None leaves it to the API (on the public surface: 20 of each feed).
        """
        internal = self.get_conn().config.internal
        return self._run(
            conversations.list_family_jobs(status, limit, internal=internal, workspace_id=workspace_id)
        )

    def get_job(self, feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one job."""
        return self._send(endpoints.get_job(feed_id, job_id, workspace_id=workspace_id))

    def cancel_job(self, feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Row:
        """Cancel a job and return it as it is then.

        :raises BankSyncConflictError: it has ended already.
        """
        return self._run(conversations.cancel_job(feed_id, job_id, workspace_id=workspace_id))

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
        """Block until the job has ended, and return it, whatever its end.

        Looks that fail for a passing reason do not end the wait.

        :param timeout: seconds to wait at most, or a timedelta, as the intervals may be.
        :param poll_interval: seconds between the first looks; grows by half each time.
        :param max_poll_interval: seconds between looks at most.
        :param on_progress: is given the job after each look.
        :raises BankSyncJobTimeoutError: the job still runs; `.job` is its last known state.
        """
        polling = conversations.Polling(
            interval=seconds("poll_interval", poll_interval),
            longest=seconds("max_poll_interval", max_poll_interval),
            deadline=time.monotonic() + seconds("timeout", timeout),
            clock=time.monotonic,
            rng=random.random,
        )
        return self._run(
            conversations.wait_for_job(
                feed_id, job_id, polling, workspace_id=workspace_id, on_progress=on_progress
            )
        )
