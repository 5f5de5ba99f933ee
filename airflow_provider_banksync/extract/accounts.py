"""Reads the data of many accounts, several at a time, and hands each row to a sink."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_banksync.api import endpoints, raw_pages
from airflow_provider_banksync.api.page_check import CountCheck, PageCheck, day_of, id_of
from airflow_provider_banksync.api.redaction import counted
from airflow_provider_banksync.exceptions import (
    BankSyncError,
    BankSyncNotFoundError,
    BankSyncResponseError,
    BankSyncValidationError,
)
from airflow_provider_banksync.extract.isolated_reads import IsolatedReads, Read
from airflow_provider_banksync.extract.progress import Progress
from airflow_provider_banksync.extract.rows import RowBatch

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence

    from airflow_provider_banksync.api.http.async_client import AsyncClient
    from airflow_provider_banksync.api.messages import RawPage, Reply, Row
    from airflow_provider_banksync.extract.partition import Partition, Unavailable

#: Resources that not every account has.
PRODUCTS = ("holdings", "trades", "loans")
_NOT_SUPPORTED = re.compile(r"\b(not|n't) (currently )?support|\bunsupported\b", re.IGNORECASE)
#: An account is read again if a row that is written already comes again.
_MAX_READS = 3


class RowSink(Protocol):
    """Takes the rows of one partition."""

    def add(self, batch: RowBatch) -> bool:
        """Add rows without I/O. Return whether a flush is due."""

    def flush(self) -> None:
        """Write what is due. If `add` returned True, call this before the next `add`. Blocks."""

    def finish(self, read_at: str, cursor: str | None, counts: dict[str, int]) -> object:
        """Write the rest, and complete the partition. Blocks.

        :param read_at: when the read began, ISO 8601.
        :param cursor: where the next incremental read continues.
        :param counts: what was special about the answers.
        """

    def restart(self) -> None:
        """Remove all rows, because the partition is read again. Blocks."""

    def abort(self) -> None:
        """Drop what is not complete. Another thread may be in `flush`."""


@dataclass(frozen=True)
class ReadPlan:
    """What to read, and where the rows go.

    :param partitions: the accounts to read.
    :param resumed: number of accounts that an earlier try has completed.
    :param cursor_of: where an incremental read of an account continues; None for its beginning.
    """

    partitions: Sequence[Partition]
    resumed: int
    open_sink: Callable[[Partition], RowSink]
    cursor_of: Callable[[Partition], str | None]
    incremental: bool


class AccountReader:
    """Reads the accounts of a plan.

    :param resource: transactions, balances, holdings, trades or loans.
    :param days: the first and the last day, both included, for a resource that has days.
    :param own_workspace: the client addresses the accounts' workspace itself.
    :param concurrency: number of accounts that are read at the same time.
    """

    def __init__(
        self,
        client: AsyncClient,
        plan: ReadPlan,
        resource: str,
        days: tuple[str | None, str | None],
        *,
        own_workspace: bool,
        concurrency: int,
        log: logging.Logger | Any,
    ) -> None:
        self._client = client
        self._plan = plan
        self._resource = resource
        self._days = days
        self._own_workspace = own_workspace
        self._concurrency = concurrency
        self._log = log
        self._progress = Progress(len(plan.partitions), "accounts")

    async def read_all(self) -> list[Unavailable]:
        """Read all accounts of the plan. Errors of a sink pass through.

        :return: the accounts that could not be read.
        :raises BankSyncError: if it concerns all accounts, or if the API is down.
        """
        partitions = self._plan.partitions
        if self._plan.resumed:
            done, left = counted(self._plan.resumed, "account"), counted(len(partitions), "account")
            self._log.info("Complete already: %s. Left to read: %s.", done, left)
        reads = [Read(partition, partial(self._read, partition)) for partition in partitions]
        isolated = IsolatedReads(self._concurrency, self._log, has_answered=self._plan.resumed > 0)
        self._progress.started = time.monotonic()
        async with self._progress.logged(self._client, self._log):
            unavailable = await isolated.run(reads)
        self._log.info("%s", self._progress)
        return unavailable

    async def _read(self, partition: Partition) -> None:
        sink = self._plan.open_sink(partition)
        read_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        try:
            cursor: str | None = None
            if self._resource == "transactions":
                cursor, counts = await self._read_transactions(partition, sink)
            else:
                rows, counts = await self._fetch_rows(partition)
                self._progress.rows += len(rows)
                sink.add(RowBatch.from_rows(rows))
            await asyncio.to_thread(sink.finish, read_at, cursor, counts)
            self._progress.done += 1
        except BaseException as error:
            sink.abort()
            if isinstance(error, BankSyncError):  # the message may quote a row, and the row the key
                error.hide(self._client.config.secret)
            raise

    # --- requests ---

    def _account_arguments(self, partition: Partition) -> dict[str, Any]:
        return {
            "bank_id": partition.bank_id,
            "account_id": partition.account_id,
            "workspace_id": None if self._own_workspace else partition.workspace_id,
        }

    async def _fetch_rows(self, partition: Partition) -> tuple[list[Row], dict[str, int]]:
        try:
            rows = await self._fetch_product(self._account_arguments(partition))
        except BankSyncValidationError as error:
            if self._resource not in PRODUCTS or not is_not_supported(error):
                raise
            return [], {"not_supported": 1}
        if self._resource not in ("holdings", "trades"):
            return rows, {}
        days = self._days if self._resource == "trades" else (None, None)
        with closing(PageCheck[dict[str, Any]](days)) as check:
            check.add(rows, list(map(id_of, rows)), list(map(day_of, rows)))
            return check.finish(), _counts(check)

    async def _fetch_product(self, account: dict[str, Any]) -> list[Row]:
        send = self._client.send
        if self._resource == "balances":
            return [(await send(endpoints.get_balance(**account))).value]
        if self._resource == "holdings":
            return (await send(endpoints.list_holdings(**account))).value
        if self._resource == "trades":
            first, last = self._days
            return (await send(endpoints.list_trades(from_date=first, to_date=last, **account))).value
        try:
            return [(await send(endpoints.get_loan(**account))).value]
        except BankSyncNotFoundError:
            # The account has no loan. Or the workspace, bank or account is gone: then this raises the same error.
            await send(endpoints.get_account(**account))
            return []

    async def _read_transactions(
        self, partition: Partition, sink: RowSink
    ) -> tuple[str | None, dict[str, int]]:
        """Read the account's transactions. Return the cursor after the last page, and what was special."""
        start = self._plan.cursor_of(partition)
        days = (None, None) if start else self._days
        repeated: set[int] = set()
        for _ in range(_MAX_READS):
            with closing(PageCheck[bytes](days, repeated)) as check:
                rows_before = self._progress.rows
                cursor = await self._fetch_transactions(partition, start, sink, check)
                again = await asyncio.to_thread(check.repeated) if check.is_large else check.repeated()
                if not again:
                    sink.add(RowBatch(check.finish()))
                    return cursor, _counts(check)
            # The rows of these ids are in the files already. The next read writes only their last versions.
            repeated |= again
            self._progress.rows = rows_before
            await asyncio.to_thread(sink.restart)
        raise BankSyncResponseError(
            f"other transactions came twice in each of {_MAX_READS} reads of the account.",
            hint="The account may change while it is read. The next try reads it again.",
        )

    async def _fetch_transactions(
        self, partition: Partition, start: str | None, sink: RowSink, check: PageCheck[bytes]
    ) -> str | None:
        """Add the account's transactions while the next page is in flight. Return the cursor after the last page."""
        first, last = (None, None) if start else self._days
        account = self._account_arguments(partition)
        call = raw_pages.keep_raw(
            endpoints.list_transactions(from_date=first, to_date=last, cursor=start, **account),
            {
                "workspaceId": partition.workspace_id,
                "bankId": partition.bank_id,
                "accountId": partition.account_id,
            },
        )
        seen: set[int] = set()
        counts = CountCheck()
        rows = 0
        fetching: asyncio.Task[Reply[RawPage]] = asyncio.ensure_future(self._client.send(call))
        try:
            while True:
                page = (await fetching).value
                checked, is_new = check.add(page.raw, page.ids, page.days, page.has_more)
                # If the API does not say whether more follows, a page without a new row is the last.
                is_last = page.has_more is None and not is_new
                following = None if is_last else endpoints.next_page(page, call, seen)
                if following is not None:
                    call = following
                    fetching = asyncio.ensure_future(self._client.send(call))
                rows += len(page.raw)
                self._progress.rows += len(page.raw)
                # Work without I/O runs here. In another thread it would wait for the interpreter lock.
                if sink.add(RowBatch(checked)):
                    await asyncio.to_thread(sink.flush)
                counts.add(len(page.raw), page.count)
                if following is None:
                    counts.finish()
                    return self._next_cursor(page.cursor, start, rows)
        except BankSyncValidationError as error:
            if start:
                error.hint = (
                    "If the API no longer knows the cursor of the last batch, read this account from its beginning "
                    "again with full_refresh=True."
                )
            raise
        except BankSyncResponseError as error:
            if error.path is None:
                error.method, error.path = call.request.method, self._client.config.path(call.request.path)
            raise
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    def _next_cursor(self, cursor: str | None, start: str | None, rows: int) -> str | None:
        if cursor is None and rows and self._plan.incremental:
            raise BankSyncResponseError(
                "the API sent transactions without a cursor after them, so the next batch could not continue there.",
                hint="Read this account by windows: incremental=False.",
            )
        return start if cursor is None else cursor


def is_not_supported(error: BankSyncValidationError) -> bool:
    """Return whether the API says that an account does not support a product, such as holdings."""
    return error.status == 400 and _NOT_SUPPORTED.search(str(error)) is not None


def _counts(check: PageCheck[Any]) -> dict[str, int]:
    return {"duplicates": check.duplicates, "outside_window": check.outside_window}
