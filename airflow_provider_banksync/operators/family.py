"""Sync all feeds of all clients in one task."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperator,
    conf,
)

from airflow_provider_banksync.api.validation import (
    IF_RUNNING,
    SCOPES,
    validate_choice,
    validate_days,
    validate_flags,
    validate_integer,
    validate_literal_data_types,
    validate_literal_days,
    validate_literals,
    validate_seconds,
)
from airflow_provider_banksync.exceptions import BankSyncError, BankSyncJobFailedError
from airflow_provider_banksync.tasks.base import (
    DEFERRAL_GRACE,
    BankSyncTaskMixin,
    TaskDeadline,
    bound_errors,
    fail_on_permanent_errors,
    log_deferral,
)
from airflow_provider_banksync.tasks.literals import validate_literal_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from datetime import date

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.family.state import FamilySettings, Feed, FeedResult
    from airflow_provider_banksync.api.family.sync import FamilySync
    from airflow_provider_banksync.api.validation import DataType, IfRunning, Scope
    from airflow_provider_banksync.tasks.event_loop_thread import EventLoopThread
    from airflow_provider_banksync.tasks.family_state import FamilyState


class BankSyncFamilySyncOperator(BankSyncTaskMixin, BaseOperator):
    """Sync all matching feeds of all clients in one task, and wait until all jobs have ended.

    Returns ``{feed_id: {feed_name, workspace_id, portal, job_id, status, written, not_written, error}}``: ``portal`` is
    the client's name (None for the parent's own feeds), ``status`` is the job's status, or ``skipped`` or
    ``not_started``, ``written`` counts the rows that reached the destination, ``not_written`` those that it refused,
    and ``error`` is the reason if the feed failed. If feeds of two workspaces have the same id, their keys are
    ``workspace_id/feed_id``.

    An error of one feed does not stop the others. The task fails after all have ended, if more than `max_failures`
    feeds failed, and names the clients and reasons. XCom has the result also in this case. If no feed matches, the task
    is skipped.

    If the task is deferrable, the trigger starts the syncs. A retry, or a restarted trigger, resumes the jobs that this
    task started, and starts only the feeds that are not synced. It does not start a feed again whose bank needs a new
    sign-in. If only such feeds failed, the task fails without a retry.

    :param scope: ``family``: feeds of this workspace and all its portals. ``self``: of this workspace (templated).
    :param workspace_ids: sync only feeds of these portals (templated). An unknown id is an error. If the list of this
        parameter or of the next two is empty, as a task upstream may return it, no feed matches.
    :param feed_ids: sync only these feeds (templated). An unknown id is an error.
    :param data_types: sync only feeds of these types: transactions, balances, trades, ... (templated).
    :param from_date: first day to sync for all feeds, ``YYYY-MM-DD`` or a date (templated). Without dates, syncs are
        incremental, and trades feeds, which need dates, fail.
    :param to_date: last day to sync, inclusive (templated).
    :param banksync_conn_id: connection to use.
    :param workspace_id: workspace to work in (templated); None for the connection's.
    :param if_running: what to do about a feed with a queued or running job: ``attach``, ``wait``, ``skip`` or ``fail``,
        as in `BankSyncTriggerSyncOperator`.
    :param max_active: maximum number of running jobs; None for as many as the rate limit allows.
    :param max_failures: how many feeds may fail before the task fails.
    :param deferrable: start the syncs and wait on the triggerer, without a worker.
    :param poll_interval: seconds between the first polls of a job.
    :param max_poll_interval: maximum seconds between polls of a job.
    :param timeout: maximum seconds for all feeds together.
    :param cancel_on_kill: cancel the jobs that this task started if it is killed; while it is deferred, on Airflow
        3.3 and later. Jobs that it attached to continue.
    :param cancel_on_timeout: cancel them if `timeout` or the task's `execution_timeout` has passed.
    :param fail_on_job_errors: a job that completed with errors (rows that were not written) counts as failed.
    :param durable: a retry resumes what earlier tries started. False: each try starts all feeds.
    """

    template_fields: Sequence[str] = (
        "scope",
        "workspace_ids",
        "feed_ids",
        "data_types",
        "from_date",
        "to_date",
        "workspace_id",
        "banksync_conn_id",
    )
    ui_color = "#dcefe6"

    def __init__(
        self,
        *,
        scope: Scope = "family",
        workspace_ids: Sequence[str] | AbstractSet[str] | None = None,
        feed_ids: Sequence[str] | AbstractSet[str] | None = None,
        data_types: Sequence[DataType] | AbstractSet[DataType] | None = None,
        from_date: str | date | None = None,
        to_date: str | date | None = None,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        if_running: IfRunning = "attach",
        max_active: int | None = None,
        max_failures: int = 0,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | timedelta = 5,
        max_poll_interval: float | timedelta = 60,
        timeout: float | timedelta = 3600,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        fail_on_job_errors: bool = False,
        durable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        validate_literals(SCOPES, scope=scope)
        validate_literal_days(from_date, to_date)
        validate_literal_data_types(data_types)
        self.scope: str = scope
        validate_literal_arguments(workspace_ids=workspace_ids, feed_ids=feed_ids, workspace_id=workspace_id)
        self.workspace_ids, self.feed_ids, self.data_types = workspace_ids, feed_ids, data_types
        self.from_date, self.to_date = from_date, to_date
        self.banksync_conn_id, self.workspace_id = banksync_conn_id, workspace_id
        self.if_running = validate_choice("if_running", if_running, IF_RUNNING)
        validate_flags(cancel_on_kill=cancel_on_kill, cancel_on_timeout=cancel_on_timeout)
        validate_flags(fail_on_job_errors=fail_on_job_errors, durable=durable, deferrable=deferrable)
        self.max_active = None if max_active is None else validate_integer("max_active", max_active, least=1)
        self.max_failures = validate_integer("max_failures", max_failures, least=0)
        self.deferrable = deferrable
        self.poll_interval = validate_seconds("poll_interval", poll_interval, least=0.01)
        self.max_poll_interval = validate_seconds("max_poll_interval", max_poll_interval, least=0.01)
        self.timeout = validate_seconds("timeout", timeout)
        self.cancel_on_kill, self.cancel_on_timeout = cancel_on_kill, cancel_on_timeout
        self.fail_on_job_errors, self.durable = fail_on_job_errors, durable
        self._family_sync: FamilySync | None = None
        self._thread: EventLoopThread | None = None
        self._killed = False

    def execute(self, context: Context) -> dict[str, Any]:
        """List the feeds, start their syncs and wait for their jobs, here or on the triggerer."""
        from airflow_provider_banksync.api.family.state import FamilySettings
        from airflow_provider_banksync.api.redaction import counted
        from airflow_provider_banksync.tasks.feed_selection import select_feeds

        with fail_on_permanent_errors():
            deadline = TaskDeadline.for_try(context, self.timeout, self.execution_timeout, self.deferrable)
            selected = select_feeds(
                self.hook,
                self.scope,
                self.from_date,
                self.to_date,
                workspace_ids=self.workspace_ids,
                feed_ids=self.feed_ids,
                data_types=self.data_types,
            )
            if not selected.feeds:
                raise AirflowSkipException("No feed matches, so there is nothing to sync.")
            state = self._family_state(context)
            synced = state.start_try(selected.server_time, selected.received_at)
            results = [result for result in synced if selected.key_of(result) is not None]
            if results:
                self.log.info(
                    "%s: an earlier try of this task has the result.", counted(len(results), "feed")
                )
            results += selected.not_startable
            done = {selected.key_of(result) for result in results}
            feeds = [feed for key, feed in selected.feeds.items() if key not in done]
            workspaces = len({feed.workspace_id for feed in feeds})
            self.log.info("Syncing %s of %s.", counted(len(feeds), "feed"), counted(workspaces, "workspace"))
            settings = FamilySettings(
                deadline=deadline.deadline,
                since=state.since,
                from_date=selected.from_date,
                to_date=selected.to_date,
                if_running=self.if_running,
                max_active=self.max_active,
                poll_interval=self.poll_interval,
                max_poll_interval=self.max_poll_interval,
                cancel_on_timeout=self.cancel_on_timeout,
                fail_on_job_errors=self.fail_on_job_errors,
            )
            if feeds:
                results += self._sync(feeds, settings, state, results, deadline)
            return self._finish(context, results)

    def execute_complete(
        self, context: Context, event: Any, feeds: str = "[]", known: str = "[]"
    ) -> dict[str, Any]:
        """Return the results that the triggerer waited for, or fail as the event says.

        :param feeds: the feeds of a large family, as JSON text.
        :param known: results of its other feeds, as JSON text.
        """
        from airflow_provider_banksync.tasks.family_plan import results_of_missing
        from airflow_provider_banksync.tasks.trigger_events import (
            decode_results,
            raise_event_error,
            results_from_event,
        )

        with fail_on_permanent_errors():
            results = results_from_event(event) + decode_results(known)
            if event["status"] == "error":
                self._log_results(results)
                raise_event_error(event["error"])
            results += results_of_missing(feeds, results)
            out_of_time = event.get("timed_out", False) and event.get("limit") == "execution_timeout"
            return self._finish(context, results, out_of_time=out_of_time)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the trigger. If the task fails, keep for a retry which jobs the trigger started."""
        with self._family_state(context).keeping_started_jobs():
            return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Cancel the jobs that this task started, all at the same time."""
        self._killed = True
        if self._thread is not None:
            self._thread.cancel()
        if self.cancel_on_kill and self._family_sync is not None:
            self._cancel_jobs(self._family_sync, "The task was killed.")

    def _family_state(self, context: Context) -> FamilyState:
        from airflow_provider_banksync.tasks.family_state import FamilyState

        from_date, to_date = validate_days(self.from_date, self.to_date)
        request = {
            "conn_id": self.banksync_conn_id,
            "workspace_id": self.workspace_id or None,
            "from_date": from_date,
            "to_date": to_date,
            "fail_on_job_errors": self.fail_on_job_errors,
        }
        return FamilyState(context, self.log, request, retries=self.retries or 0, durable=self.durable)

    def _sync(
        self,
        feeds: list[Feed],
        settings: FamilySettings,
        state: FamilyState,
        results: list[FeedResult],
        deadline: TaskDeadline,
    ) -> list[FeedResult]:
        """Sync the feeds and return their results, or defer.

        The first sync is started here also if the task is deferrable, because a trigger cannot store its job.
        """
        from airflow_provider_banksync.api.family.sync import FamilySync

        sync = self._family_sync = FamilySync(
            feeds,
            settings,
            clock=time.time,
            log=self.log,
            own_jobs=state.own_jobs,
            known_job_ids=state.known_job_ids,
            note_start=state.note_start,
        )
        client = self.hook.get_conn()
        try:
            while not (sync.has_begun or sync.is_done or self._killed):
                step = sync.next_step()
                if step is None:
                    time.sleep(min(sync.idle_seconds(), 1.0))
                else:
                    client.run(step)
        except AirflowTaskTimeout:
            self._cancel_after_timeout(sync)
            raise
        except BankSyncError:
            self._log_results(sync.results())
            raise
        state.note_first_job(sync.settings.since, sync.own_jobs())
        if self.deferrable and not sync.is_done and not self._killed:
            self._family_sync = None
            self._defer(sync, state, results, deadline)
        return self._run_here(sync, state)

    def _run_here(self, sync: FamilySync, state: FamilyState) -> list[FeedResult]:
        """Sync the remaining feeds in this process and return all results."""
        from airflow_provider_banksync.api.family.runner import run_concurrently
        from airflow_provider_banksync.api.http.async_client import AsyncClient
        from airflow_provider_banksync.tasks.event_loop_thread import EventLoopThread

        # Some versions of Airflow let only this thread read the connection.
        config = self.hook.get_conn().config

        async def main() -> None:
            async with AsyncClient(config) as client, state.recording(sync):
                await run_concurrently(sync, client)

        self._thread = EventLoopThread("banksync-family")
        try:
            if not self._killed:
                self._thread.run(main)
        except CancelledError:
            self._killed = True
        except AirflowTaskTimeout:
            self._cancel_after_timeout(sync)
            raise
        except BankSyncError:
            self._log_results(sync.results())
            raise
        if self._killed:
            raise BankSyncError("the task was killed.")
        return sync.results()

    def _cancel_after_timeout(self, sync: FamilySync) -> None:
        self._thread = self._family_sync = None  # Airflow also calls on_kill after this
        if self.cancel_on_timeout:
            self._cancel_jobs(sync, "The execution_timeout has passed.")

    def _cancel_jobs(self, sync: FamilySync, reason: str) -> None:
        """Cancel the jobs that this task started, for as long as Airflow allows, and log the result."""
        from airflow_provider_banksync.api.family.runner import CANCEL_DEADLINE, cancel_started_jobs
        from airflow_provider_banksync.tasks.event_loop_thread import EventLoopThread

        config, in_time = self.hook.get_conn().config, False
        with suppress(BankSyncError, CancelledError, FutureTimeoutError):
            thread = EventLoopThread("banksync-family-cancel")
            in_time = thread.run(lambda: cancel_started_jobs(sync, config), timeout=CANCEL_DEADLINE)
        self.log.info("%s %s", reason, sync.describe_cancellation(in_time=in_time))

    def _defer(
        self, sync: FamilySync, state: FamilyState, results: list[FeedResult], deadline: TaskDeadline
    ) -> None:
        from airflow_provider_banksync.tasks.family_plan import encode_plan
        from airflow_provider_banksync.triggers.family import BankSyncFamilyJobsTrigger

        feeds, known = sync.unfinished(), [*results, *sync.results(done_only=True)]
        for_trigger, for_task = encode_plan(feeds, known)
        # At the deadline, the trigger may need two requests for each feed.
        minutes = 2 * len(feeds) / self.hook.get_conn().config.rate_limit
        log_deferral(self.log, f"{len(feeds)} of the feeds")
        self.defer(
            trigger=BankSyncFamilyJobsTrigger(
                **for_trigger,
                own_jobs=state.started_jobs.pass_to_trigger(sync.own_jobs()),
                scope=self.scope,
                banksync_conn_id=self.banksync_conn_id,
                workspace_id=self.workspace_id or None,
                cancel_on_kill=self.cancel_on_kill,
                limit=deadline.source,
                **asdict(sync.settings),
            ),
            method_name="execute_complete",
            kwargs=for_task,
            timeout=timedelta(seconds=deadline.seconds_left + DEFERRAL_GRACE + 60 * minutes),
        )

    def _finish(
        self, context: Context, results: list[FeedResult], *, out_of_time: bool = False
    ) -> dict[str, Any]:
        from airflow_provider_banksync.tasks.family_report import describe_failures, rows_of_results

        self._log_results(results)
        returned = self.to_xcom(bound_errors(rows_of_results(results)))
        failed = [result for result in results if result.error is not None]
        out_of_time = out_of_time and bool(failed)
        if len(failed) > self.max_failures or out_of_time:
            # Airflow keeps no result of a failed task, and a report on the clients needs it most then.
            context["ti"].xcom_push(key="return_value", value=returned)
            self._family_state(context).store_results(
                [result for result in results if result.status == "completed" or result.needs_sign_in]
            )
            message = describe_failures(failed, len(results), self.max_failures)
            if out_of_time:
                raise AirflowTaskTimeout(f"the execution_timeout of the task has passed. {message}")
            if all(result.permanent for result in failed):
                raise AirflowFailException(message)
            raise BankSyncJobFailedError(message)
        if all(result.status == "skipped" for result in results):
            raise AirflowSkipException("Every feed already had a running job, so nothing was started.")
        return returned  # type: ignore[no-any-return]  # a dict stays a dict

    def _log_results(self, results: list[FeedResult]) -> None:
        from airflow_provider_banksync.tasks.family_report import log_results

        log_results(self.log, results)
