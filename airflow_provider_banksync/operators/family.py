"""Sync every feed of every client, in one task."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperator,
    conf,
)

from airflow_provider_banksync.api.checks import check_days, one_of, whole
from airflow_provider_banksync.exceptions import BankSyncError, BankSyncJobFailedError
from airflow_provider_banksync.task import (
    IF_RUNNING,
    BankSyncTaskMixin,
    for_xcom,
    permanent_errors_fail,
    raise_error,
    seconds,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from datetime import date

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.crew import Crew
    from airflow_provider_banksync.api.family import FamilyRun
    from airflow_provider_banksync.family.memory import Memory
    from airflow_provider_banksync.limits import Limit

#: Airflow's own timeout of a deferral comes this much (seconds) after the trigger's deadline, and two requests a feed
#: later: so long may the trigger need to cancel what still runs.
DEFERRAL_GRACE = 600
#: A failure names so many feeds; the log names them all.
_MOST_NAMED = 20
_RESULT = ("workspace_id", "portal", "job_id", "status", "written", "error")


class BankSyncFamilySyncOperator(BankSyncTaskMixin, BaseOperator):
    """Sync every matching feed of every client in one task, and wait until all have ended.

    Returns ``{feed_id: {workspace_id, portal, job_id, status, written, error}}``, the same in every mode: ``portal`` is
    the client's name (None for the parent's own feeds), ``status`` the job's, or ``skipped`` or ``not_started``,
    ``written`` the rows that reached the destination, ``error`` the reason where the feed counts as failed. When feeds
    failed, the result is in XCom all the same. What goes wrong with one client is that feed's outcome and stops no
    other; the task fails after all have ended, and names client and reason. Where no feed matches, it is skipped.

    Deferred, one trigger does everything: it starts the syncs, too. A retry of the task, and a trigger that was moved
    or restarted, take up the jobs that this run has started, and start only what has not been synced.

    :param scope: ``family``: feeds of this workspace and of all its portals. ``self``: of this workspace (templated).
    :param workspace_ids: only feeds of these portals (templated). One that is unknown is an error; where the list is
        empty, as one from a task upstream may be, no feed matches. The same goes for the next two.
    :param feed_ids: only these feeds (templated). One that is unknown is an error.
    :param data_types: only feeds of these types: transactions, balances, trades, ... (templated).
    :param from_date: first day to sync, ``YYYY-MM-DD`` or a date, for every matching feed (templated). Without dates,
        syncs are incremental, and trades feeds, which need dates, fail.
    :param to_date: last day to sync, inclusive (templated).
    :param banksync_conn_id: connection to use.
    :param workspace_id: workspace to work in (templated); None: the connection's.
    :param if_running: what to do about a feed of which a job is queued or running already; ``attach``, ``wait``,
        ``skip`` or ``fail``, as in `BankSyncTriggerSyncOperator`.
    :param max_active: how many jobs run at a time at most; None: as many as the rate limit lets start.
    :param max_failures: how many feeds may fail before the task does.
    :param deferrable: start and wait on the triggerer, without a worker.
    :param poll_interval: seconds to the first looks at a job.
    :param max_poll_interval: seconds between looks at the same job at most.
    :param timeout: seconds that all of it may take.
    :param cancel_on_kill: cancel the jobs that this run started when the task is killed. A deferred task is told so by
        Airflow 3.3 and later. Jobs that were merely joined go on.
    :param cancel_on_timeout: cancel them when `timeout` or the task's `execution_timeout` has passed.
    :param fail_on_job_errors: a job that completed with errors (rows that did not write) counts as failed.
    :param durable: a retry takes up what earlier tries have started. False: each try begins anew.
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
        scope: str = "family",
        workspace_ids: Sequence[str] | AbstractSet[str] | None = None,
        feed_ids: Sequence[str] | AbstractSet[str] | None = None,
        data_types: Sequence[str] | AbstractSet[str] | None = None,
        from_date: str | date | None = None,
        to_date: str | date | None = None,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        if_running: str = "attach",
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
        self.scope = scope
        self.workspace_ids = workspace_ids
        self.feed_ids = feed_ids
        self.data_types = data_types
        self.from_date = from_date
        self.to_date = to_date
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id
        self.if_running = one_of("if_running", if_running, IF_RUNNING)
        self.max_active = None if max_active is None else whole("max_active", max_active, least=1)
        self.max_failures = whole("max_failures", max_failures, least=0)
        self.deferrable = deferrable
        self.poll_interval = seconds("poll_interval", poll_interval, least=0.01)
        self.max_poll_interval = seconds("max_poll_interval", max_poll_interval, least=0.01)
        self.timeout = seconds("timeout", timeout)
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.fail_on_job_errors = fail_on_job_errors
        self.durable = durable
        self._run: FamilyRun | None = None
        self._crew: Crew | None = None
        self._killed = False

    def execute(self, context: Context) -> dict[str, Any]:
        """List the feeds, then start and follow their syncs, here or on the triggerer."""
        from airflow_provider_banksync.family.selection import Selection
        from airflow_provider_banksync.limits import Limit

        with permanent_errors_fail():
            limit = Limit.of_try(context, self)
            selection = Selection(self).choose()
            if not selection.rows:
                raise AirflowSkipException("No feed matches: there is nothing to sync.")
            memory = self._memory(context)
            since, attempt_since, known = memory.begin(selection.date, selection.received)
            known = [row for row in known if row["feed_id"] in selection.rows]
            done = {row["feed_id"] for row in known} | {row["feed_id"] for row in selection.refused}
            feeds = [feed for feed_id, feed in selection.rows.items() if feed_id not in done]
            rows = [*known, *selection.refused]
            if known:
                self.log.info("%d feeds were synced by an earlier try of this task.", len(known))
            self.log.info("Syncing %d feeds of %d workspaces.", len(feeds), len({feed[1] for feed in feeds}))
            settings = {
                "deadline": limit.deadline,
                "since": since,
                "attempt_since": attempt_since,
                "from_date": selection.from_date,
                "to_date": selection.to_date,
                "if_running": self.if_running,
                "max_active": self.max_active,
                "poll_interval": self.poll_interval,
                "max_poll_interval": self.max_poll_interval,
                "cancel_on_timeout": self.cancel_on_timeout,
                "fail_on_job_errors": self.fail_on_job_errors,
            }
            if feeds and self.deferrable:
                self._defer(feeds, settings, rows, limit)
            if feeds:
                rows += self._drive(feeds, settings)
            return self._finish(context, rows)

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Come back from the triggerer when all have ended."""
        from airflow_provider_banksync.triggers.family import rows_of_event

        with permanent_errors_fail():
            outcomes = rows_of_event(event)
            if event["status"] == "error":
                self._tell(outcomes)
                raise_error(event["error"])
            late = event.get("late", False) and event.get("limit") == "execution_timeout"
            return self._finish(context, outcomes, out_of_time=late)

    def on_kill(self) -> None:
        """Cancel the jobs that this run has started: all at once, and for as long as Airflow leaves us."""
        self._killed = True
        if self._crew is None or self._run is None:
            return
        if self.cancel_on_kill:
            in_time = self._crew.withdraw()
            self.log.info("The task was killed. %s", self._run.withdrawn(in_time=in_time))
        else:
            self._crew.stop()

    def _memory(self, context: Context) -> Memory:
        from airflow_provider_banksync.family.memory import Memory

        from_date, to_date = check_days(self.from_date, self.to_date)
        wanted = {
            "conn_id": self.banksync_conn_id,
            "workspace_id": self.workspace_id or None,
            "from_date": from_date,
            "to_date": to_date,
            "fail_on_job_errors": self.fail_on_job_errors,
        }
        return Memory(context, self.log, wanted, durable=self.durable)

    def _drive(self, feeds: list[list[Any]], settings: dict[str, Any]) -> list[dict[str, Any]]:
        from concurrent.futures import CancelledError

        from airflow_provider_banksync.api.crew import Crew
        from airflow_provider_banksync.api.family import FamilyRun, Feed, Settings

        self._run = FamilyRun(
            [Feed(*feed) for feed in feeds],
            Settings(**settings),
            clock=time.time,
            log=self.log,
        )
        # The connection is read here: not every version of Airflow lets another thread ask for it.
        self._crew = Crew(self._run, self.hook.get_conn().config)
        try:
            if not self._killed:
                self._crew.drive()
        except CancelledError:
            self._killed = True
        except AirflowTaskTimeout:
            crew, self._crew = (
                self._crew,
                None,
            )  # Airflow calls on_kill after this: there is nothing left to do
            if self.cancel_on_timeout:
                in_time = crew.withdraw()
                self.log.info("The execution_timeout was over. %s", self._run.withdrawn(in_time=in_time))
            raise
        except BankSyncError:
            self._tell([track.outcome() for track in self._run.tracks])
            raise
        if self._killed:
            raise BankSyncError("the task was killed.")
        return [track.outcome() for track in self._run.tracks]

    def _defer(
        self, feeds: list[list[Any]], settings: dict[str, Any], known: list[dict[str, Any]], limit: Limit
    ) -> None:
        from airflow_provider_banksync.api import codec
        from airflow_provider_banksync.triggers.family import BankSyncFamilyJobsTrigger

        minutes = 2 * len(feeds) / self.hook.get_conn().config.rate_limit
        left = max(0.0, limit.deadline - time.time())
        self.defer(
            trigger=BankSyncFamilyJobsTrigger(
                feeds=codec.dumps(feeds).decode(),
                known=codec.dumps(known).decode(),
                banksync_conn_id=self.banksync_conn_id,
                workspace_id=self.workspace_id or None,
                cancel_on_kill=self.cancel_on_kill,
                limit=limit.name,
                **settings,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=left + DEFERRAL_GRACE + 60 * minutes),
        )

    def _finish(
        self, context: Context, rows: list[dict[str, Any]], *, out_of_time: bool = False
    ) -> dict[str, Any]:
        self._tell(rows)
        result = for_xcom({row["feed_id"]: {name: row[name] for name in _RESULT} for row in rows})
        failed = [row for row in rows if row["error"] is not None]
        out_of_time = out_of_time and bool(failed)
        if len(failed) > self.max_failures or out_of_time:
            # Airflow keeps no result of a task that fails; whoever reports on the clients needs it most then.
            context["ti"].xcom_push(key="return_value", value=result)
            self._memory(context).keep([row for row in rows if row["status"] == "completed"])
            message = self._complaint(failed, len(rows))
            if out_of_time:
                raise AirflowTaskTimeout(f"the task's execution_timeout was over. {message}")
            if all(row["permanent"] for row in failed):
                raise AirflowFailException(message)
            raise BankSyncJobFailedError(message)
        if all(row["status"] == "skipped" for row in rows):
            raise AirflowSkipException("Each of the feeds had a job that was running already.")
        return result  # type: ignore[no-any-return]  # a dict stays a dict

    def _complaint(self, failed: list[dict[str, Any]], count: int) -> str:
        lines = [f"{_label(row)}: {row['status']}: {row['error']}" for row in failed[:_MOST_NAMED]]
        if len(failed) > _MOST_NAMED:
            lines.append(f"and {len(failed) - _MOST_NAMED} more, which the log names")
        more = f", more than max_failures={self.max_failures}" if len(failed) > self.max_failures else ""
        head = f"{len(failed)} of {count} feeds failed{more}:"
        return "\n- ".join([head, *lines])

    def _tell(self, rows: list[dict[str, Any]]) -> None:
        """Log a line for each feed, client by client, and the sum."""
        for row in sorted(rows, key=lambda row: (row["portal"] or "", row["name"])):
            said = [row["status"]]
            if row["written"] is not None:
                said.append(f"{row['written']} rows")
            if row["seconds"] is not None:
                said.append(f"{row['seconds']:.0f} s")
            if row["job_id"]:
                said.append(f"job {row['job_id']} {row['how']}".rstrip())
            if row["unwritten"] and row["error"] is None:
                said.append(f"{row['unwritten']} errors")
            why = f": {row['error']}" if row["error"] is not None else ""
            self.log.info("%s: %s%s", _label(row), ", ".join(said), why)
        counts: dict[str, int] = {}
        for row in rows:
            counts[row["status"]] = counts.get(row["status"], 0) + 1
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        written = sum(row["written"] or 0 for row in rows)
        self.log.info("%d feeds: %s; %s rows written.", len(rows), told, written)


def _label(row: dict[str, Any]) -> str:
    return f"{row['portal'] or 'own workspace'}, feed {row['name']!r} ({row['feed_id']})"
