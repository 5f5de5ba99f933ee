"""Sync many feeds on the triggerer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_banksync.exceptions import BankSyncError
from airflow_provider_banksync.triggers import BankSyncTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_banksync.api.family.sync import FamilySync, Feed


@dataclass(kw_only=True, eq=False, repr=False)
class BankSyncFamilyJobsTrigger(BankSyncTrigger):
    """Starts the syncs of these feeds, polls their jobs, and fires one event when all have ended or timed out.

    The triggerer may stop it at any moment, and another may start it again. It then asks BankSync for the
    jobs that it started before, and starts no feed twice.

    The event is a dict: ``status`` (``ended`` or ``error``), ``results`` (of each feed, as JSON text), ``limit``,
    ``timed_out`` (whether the deadline passed before that), and with ``error`` the ``type`` and ``message`` of an
    error that concerns all feeds, such as a wrong key.

    :param feeds: JSON text: a list of ``[feed_id, workspace_id, name of the portal, name of the feed]``. For many
        feeds, only fingerprints: the trigger then reads the listing again.
    :param known: JSON text: results of other feeds, which the event repeats.
    :param scope: scope of that listing.
    :param own_jobs: JSON text: the jobs, by feed, that the task certainly started before. On Airflow 3.3 and later, the
        trigger records the jobs that it starts. Other jobs of an earlier process are resumed, but not cancelled.
    :param since: when the first job of the family sync was created, by BankSync's clock, in seconds since the epoch.
    :param attempt_since: the same for this try of the task.

    The other parameters are those of `BankSyncJobTrigger` and `BankSyncFamilySyncOperator`.
    """

    feeds: str
    deadline: float
    since: float | None
    attempt_since: float | None
    limit: str = "timeout"
    known: str = "[]"
    own_jobs: str = "{}"
    banksync_conn_id: str = "banksync_default"
    workspace_id: str | None = None
    from_date: str | None = None
    to_date: str | None = None
    if_running: str = "attach"
    max_active: int | None = None
    poll_interval: float = 5
    max_poll_interval: float = 60
    cancel_on_timeout: bool = True
    fail_on_job_errors: bool = False
    cancel_on_kill: bool = False
    scope: str = "family"
    _family_sync: FamilySync | None = field(default=None, init=False)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sync the feeds, and yield the event."""
        from airflow_provider_banksync.tasks.trigger_client import load_client_modules

        await load_client_modules()
        from airflow_provider_banksync.api import codec
        from airflow_provider_banksync.api.family import runner
        from airflow_provider_banksync.tasks.family_plan import named_feeds, read_plan
        from airflow_provider_banksync.tasks.started_jobs import StartedJobs
        from airflow_provider_banksync.tasks.trigger_events import encode_rows, error_to_event
        from airflow_provider_banksync.tasks.xcom import storable

        event: dict[str, Any] = {"status": "ended", "limit": self.limit}
        record = StartedJobs(self.task_instance, self.log)
        try:
            async with await self.open_client() as client:
                feeds = await read_plan(self.feeds, self.scope, self.workspace_id, client)
                self._family_sync = self._new_sync(feeds, await asyncio.to_thread(record.load))
                async with record.recording(self._family_sync):
                    await runner.run_concurrently(self._family_sync, client)
        except BankSyncError as error:
            event |= {"status": "error", "error": error_to_event(error)}
        sync = self._family_sync or self._new_sync(named_feeds(self.feeds))
        await asyncio.to_thread(record.save, sync.own_jobs())
        results = [*codec.loads(self.known), *(result.to_json() for result in sync.results())]
        event |= {"timed_out": sync.timed_out, "results": encode_rows(results)}
        yield TriggerEvent(storable(event))

    async def on_kill(self) -> None:
        """Cancel the jobs that this task started. Airflow does not call this when the triggerer restarts."""
        if self.cancel_on_kill:
            await self.cancel_if_killed(self._cancel_started)

    async def _cancel_started(self) -> None:
        try:
            config = (await self.open_client()).config
            from airflow_provider_banksync.api.family import runner
            from airflow_provider_banksync.api.http import async_client
            from airflow_provider_banksync.tasks.family_plan import read_plan
            from airflow_provider_banksync.tasks.started_jobs import StartedJobs

            if (sync := self._family_sync) is None:
                async with async_client.AsyncClient(config.for_cancel()) as client:
                    feeds = await read_plan(self.feeds, self.scope, self.workspace_id, client)
                record = StartedJobs(self.task_instance, self.log)
                sync = self._new_sync(feeds, await asyncio.to_thread(record.load))
            in_time = await runner.cancel_started_jobs(sync, config)
        except BankSyncError as error:
            self.log.warning("The task was killed. Could not cancel all of its jobs: %s", error)
        else:
            self.log.info("The task was killed. %s", sync.describe_cancellation(in_time=in_time))

    def _new_sync(self, feeds: list[Feed], started: dict[str, str] | None = None) -> FamilySync:
        from airflow_provider_banksync.api import codec
        from airflow_provider_banksync.api.family.sync import FamilySettings, FamilySync

        return FamilySync(
            feeds,
            FamilySettings(**{each.name: getattr(self, each.name) for each in fields(FamilySettings)}),
            clock=time.time,
            log=self.log,
            own_jobs={**codec.loads(self.own_jobs), **(started or {})},
        )
