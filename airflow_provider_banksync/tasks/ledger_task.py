"""One run of a ledger: connects the reader of rows with a table."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.http.async_client import AsyncClient
from airflow_provider_banksync.api.redaction import counted
from airflow_provider_banksync.extract.accounts import AccountReader, ReadPlan
from airflow_provider_banksync.extract.listings import fetch_listing
from airflow_provider_banksync.extract.partition import REFUSED
from airflow_provider_banksync.extract.rows import RowBatch
from airflow_provider_banksync.extract.selection import select_accounts
from airflow_provider_banksync.ledger.job import LedgerJob, LedgerSettings
from airflow_provider_banksync.ledger.table import Rules
from airflow_provider_banksync.tasks.data_interval import due_time
from airflow_provider_banksync.tasks.event_loop_thread import EventLoopThread
from airflow_provider_banksync.tasks.unavailable import bound_unavailable, raise_unless_reported

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence
    from datetime import date, tzinfo

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.config import ClientConfig
    from airflow_provider_banksync.extract.accounts import RowSink
    from airflow_provider_banksync.extract.partition import Partition, Unavailable
    from airflow_provider_banksync.extract.selection import AccountSelection
    from airflow_provider_banksync.hooks.banksync import BankSyncHook
    from airflow_provider_banksync.ledger.table import LedgerTable, PartState
    from airflow_provider_banksync.tasks.ledger_request import LedgerRequest

#: Before any transaction. Without a first day, the API chooses one, such as 90 days ago for trades.
_BEGINNING = "1970-01-01"


def today(zone: tzinfo) -> date:
    """Return the day that it is now in a timezone."""
    return datetime.now(zone).date()


class LedgerTask:
    """One run of a ledger.

    :param table: where the rows go.
    :param context: of the task instance.
    """

    def __init__(
        self,
        request: LedgerRequest,
        hook: BankSyncHook,
        table: LedgerTable,
        context: Context,
        log: logging.Logger | Any,
    ) -> None:
        self._request = request
        self._hook = hook
        self._table = table
        self._context = context
        self._log = log
        self._thread = EventLoopThread("banksync-ledger")
        zone = context["dag"].timezone
        start = due_time(context).astimezone(zone).date() - timedelta(days=request.lookback_days)
        # The API returns balances as of now. A run that is cleared later must not write them to an earlier day.
        self._settings = LedgerSettings(
            today(zone),
            max(start, request.first_day or start),
            request.first_day,
            request.is_full_refresh,
            request.include_pending,
        )

    def run(self) -> dict[str, Any]:
        """Read, write, and return the summary.

        :raises LedgerError: if the table cannot be used.
        :raises AirflowFailException: if accounts are unavailable.
        :raises AirflowException: if accounts could not be read, but a retry may succeed; or if `stop` was called.
        """
        states = self._table.open()
        config = self._hook.get_config()
        try:
            job = self._thread.run(lambda: self._fill(config, states))
        except CancelledError:
            raise AirflowException(
                "The task was killed. The clients that it has written are complete. The next try reads all again."
            ) from None
        return self._finish(job)

    def stop(self) -> None:
        """Cancel the run, from any thread or a signal handler. `run` then raises `AirflowException`."""
        self._thread.cancel()

    async def _fill(self, config: ClientConfig, states: Sequence[PartState]) -> LedgerJob:
        async with AsyncClient(config) as client:
            workspace_id = config.workspace_id
            if workspace_id is None:
                workspace_id = str((await client.send(endpoints.whoami())).value["workspaceId"])
                # A key that replaces this one may belong to another workspace.
                client.config = replace(client.config, workspace_id=workspace_id)
            selection = self._request.selection
            if self._request.scope != "family":
                selection = replace(selection, own_workspace_id=workspace_id)
            rules = Rules(
                self._request.resource,
                workspace_id,
                datetime.now(timezone.utc),
                self._request.allows_shrink,
            )
            job = LedgerJob(self._table, self._settings, rules)
            job.begin(states)
            fill = self._fill_accounts if self._request.is_account_data else self._fill_listing
            await fill(client, job, selection)
            await asyncio.to_thread(job.finish)
            return job

    async def _fill_accounts(self, client: AsyncClient, job: LedgerJob, selection: AccountSelection) -> None:
        request = self._request
        selected = await select_accounts(client, selection, request.concurrency, self._log)
        job.result.unavailable += selected.unavailable
        job.plan(selected.partitions, request.rekey or {})
        if job.late_accounts():
            await self._read_late_rows(client, job)
        first = _BEGINNING if self._settings.from_date is None else self._settings.from_date.isoformat()
        start = self._settings.window_start.isoformat()
        for partitions, day in ((job.first_accounts(), first), (job.known_accounts(), start)):
            if partitions:
                since = "" if day == _BEGINNING or not job.table.columns.is_windowed else f" since {day}"
                accounts = counted(len(partitions), "account")
                self._log.info("Reading %s of %s%s.", request.resource, accounts, since)
                job.drop(await self._read(client, partitions, job.open, day))

    async def _read_late_rows(self, client: AsyncClient, job: LedgerJob) -> None:
        """Read what is new or changed since the last run, on any day."""
        accounts = job.late_accounts()
        self._log.info("Reading what is new or changed of %s.", counted(len(accounts), "account"))
        unavailable = await self._read(client, accounts, job.open_late, None, job.cursor_of)
        refused = [each for each in unavailable if each.reason == REFUSED]
        for each in refused:
            self._log.warning(
                "The API does not know the cursor of %s any more. Reading it anew.", each.partition
            )
        job.read_from_beginning(each.partition for each in refused)
        job.drop([each for each in unavailable if each.reason != REFUSED])

    async def _read(
        self,
        client: AsyncClient,
        partitions: Sequence[Partition],
        open_sink: Callable[[Partition], RowSink],
        first: str | None,
        cursor_of: Callable[[Partition], str | None] = lambda _: None,
    ) -> list[Unavailable]:
        reader = AccountReader(
            client,
            ReadPlan(partitions, 0, open_sink, cursor_of, incremental=False),
            self._request.resource,
            (first, None),
            own_workspace=self._request.scope != "family",
            concurrency=self._request.concurrency,
            log=self._log,
        )
        return await reader.read_all()

    async def _fill_listing(self, client: AsyncClient, job: LedgerJob, selection: AccountSelection) -> None:
        resource, concurrency = self._request.resource, self._request.concurrency
        listing = await fetch_listing(client, resource, selection, concurrency, self._log)
        job.result.unavailable += listing.unavailable
        job.plan(listing.partitions.values(), {})
        for partition in listing.partitions.values():
            sink = job.open(partition)
            sink.add(RowBatch.from_rows(listing.rows.get(partition.workspace_id, [])))
            await asyncio.to_thread(sink.finish, "")

    # --- finish ---

    def _finish(self, job: LedgerJob) -> dict[str, Any]:
        result = job.result
        counts = result.counts
        summary = {
            "table": self._table.name,
            "version": self._table.version(),
            "rows_read": result.rows_read,
            "rows_inserted": counts.inserted,
            "rows_updated": counts.updated,
            "rows_deleted": counts.deleted,
            "accounts": result.accounts,
            "workspaces_changed": len(counts.workspaces),
            "unfit": dict(result.unfit),
            **bound_unavailable([each.to_json() for each in result.unavailable]),
            "duplicates": result.special["duplicates"],
            "outside_window": result.special["outside_window"],
        }
        changes = (
            f"{counted(counts.inserted, 'row')} inserted, {counts.updated} updated, {counts.deleted} deleted, in "
            f"{counted(len(counts.workspaces), 'workspace')}"
        )
        self._log.info("%s: %s. Read %s.", self._table.name, changes, counted(result.rows_read, "row"))
        raise_unless_reported(
            result.unavailable,
            self._request.on_unavailable,
            self._context,
            rest=f"Everything else is in {self._table.name} ({changes}).",
            advice="Fix them, then clear this task.",
        )
        return summary
