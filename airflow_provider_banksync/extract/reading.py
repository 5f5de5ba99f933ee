"""Read the data of many accounts, several at a time, into an export that is under way."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import endpoints, pages
from airflow_provider_banksync.exceptions import (
    BankSyncError,
    BankSyncNotFoundError,
    BankSyncResponseError,
    BankSyncValidationError,
)
from airflow_provider_banksync.export.batches import BatchRun
from airflow_provider_banksync.export.manifest import Unavailable
from airflow_provider_banksync.export.rows import Batch
from airflow_provider_banksync.extract.outcomes import FAILED, reason_of

if TYPE_CHECKING:
    import logging

    from airflow_provider_banksync.api.aio import AsyncClient
    from airflow_provider_banksync.api.messages import Reply, Row
    from airflow_provider_banksync.api.pages import RawPage
    from airflow_provider_banksync.export.manifest import Owner
    from airflow_provider_banksync.export.run import Run
    from airflow_provider_banksync.export.unit import Unit

#: How often (seconds) the log tells how far it is.
_TELL = 30.0
#: So many accounts on end that failed for no reason of their own: the API is down, and the others can wait.
_GIVE_UP = 10


@dataclass
class Progress:
    """How far a read is."""

    accounts: int
    done: int = 0
    rows: int = 0
    began: float = 0.0

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self.began, 0.001)
        told = (
            f"{self.done} of {self.accounts} accounts, {self.rows} rows, {self.rows / seconds:.0f} a second"
        )
        if 0 < self.done < self.accounts:
            left = (self.accounts - self.done) * seconds / self.done
            told += f"; some {left / 60:.0f} min left" if left > 90 else f"; some {left:.0f} s left"
        return told


class Reader:
    """Reads what is missing of an export.

    :param resource: transactions, balances, holdings, trades or loans.
    :param days: first and last day, both included; where they matter.
    :param own: the client addresses the one workspace itself.
    :param width: how many accounts are read at once.
    """

    def __init__(
        self,
        client: AsyncClient,
        run: Run,
        resource: str,
        days: tuple[str | None, str | None],
        *,
        own: bool,
        width: int,
        log: logging.Logger | Any,
    ) -> None:
        self._client = client
        self._run = run
        self._resource = resource
        self._days = days
        self._own = own
        self._width = width
        self._log = log
        self._unavailable: list[Unavailable] = []
        self._failures = 0
        self._progress = Progress(0)

    async def read(self) -> list[Unavailable]:
        """Read all that is missing.

        :return: those whose data could not be had.
        :raises BankSyncError: one that concerns all of them, or the last of many.
        :raises ExportError: the destination cannot be written.
        """
        missing = self._run.missing()
        before = len(self._run.receipts)
        self._progress = Progress(len(missing), began=time.monotonic())
        if before:
            self._log.info("%d accounts were done by an earlier try; %d are left.", before, len(missing))
        waiting = iter(missing)
        workers = [asyncio.ensure_future(self._work(waiting)) for _ in range(min(self._width, len(missing)))]
        telling = asyncio.ensure_future(self._tell())
        try:
            await asyncio.gather(*workers)
        finally:
            for task in (telling, *workers):
                task.cancel()
            await asyncio.gather(telling, *workers, return_exceptions=True)
        self._log.info("%s.", self._progress)
        return self._unavailable

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_TELL)
            self._log.info("%s.", self._progress)

    async def _work(self, waiting: Any) -> None:
        for owner in waiting:
            try:
                await self._read(owner)
            except BankSyncError as error:
                self._note(owner, error)
            else:
                self._failures = 0
            self._progress.done += 1

    def _note(self, owner: Owner, error: BankSyncError) -> None:
        reason = reason_of(error)
        self._failures = self._failures + 1 if reason == FAILED else 0
        if reason is None or self._failures >= _GIVE_UP:
            raise error
        self._unavailable.append(Unavailable(owner, reason, str(error)))
        self._log.warning("%s", self._unavailable[-1])

    async def _read(self, owner: Owner) -> None:
        unit = self._run.unit(owner)
        read_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        try:
            if self._resource == "transactions":
                cursor = await self._transactions(owner, unit)
            else:
                cursor = None
                rows = await self._rows(owner)
                pages.check_owner(rows, {"accountId": str(owner.account_id)})
                await self._write(unit, Batch.of(rows))
            await asyncio.to_thread(unit.done, read_at, cursor)
        except BaseException as error:
            unit.abandon()
            if isinstance(error, BankSyncError):  # what is found in a row says what is in it
                error.hide(self._client.config.secret)
            raise

    async def _write(self, unit: Unit, batch: Batch) -> None:
        self._progress.rows += len(batch)
        # What only has to be computed is done at once: in a thread beside this one it would wait for Python's lock.
        if not unit.hold(batch):
            await asyncio.to_thread(unit.write, batch)

    # --- what is asked ---

    def _whose(self, owner: Owner) -> dict[str, Any]:
        return {
            "bank_id": owner.bank_id,
            "account_id": owner.account_id,
            "workspace_id": None if self._own else owner.workspace_id,
        }

    async def _rows(self, owner: Owner) -> list[Row]:
        whose, send = self._whose(owner), self._client.send
        if self._resource == "balances":
            return [(await send(endpoints.get_balance(**whose))).value]
        if self._resource == "holdings":
            return (await send(endpoints.list_holdings(**whose))).value
        if self._resource == "trades":
            first, last = self._days
            return (await send(endpoints.list_trades(from_date=first, to_date=last, **whose))).value
        try:
            return [(await send(endpoints.get_loan(**whose))).value]
        except BankSyncNotFoundError:  # the account carries none
            return []

    async def _transactions(self, owner: Owner, unit: Unit) -> str | None:
        """Write the account's transactions while the next page is on its way; return the last cursor."""
        begin = self._run.cursor(owner) if isinstance(self._run, BatchRun) else None
        first, last = (None, None) if begin else self._days
        call = pages.list_transactions(
            from_date=first,
            to_date=last,
            cursor=begin,
            # Of a page that is refused, nothing is written: not even what fills a file before the row in question.
            unchecked=self._run.made.takes_apart and self._run.settings.max_rows is None,
            **self._whose(owner),
        )
        seen: set[int] = set()
        rows = 0
        fetching: asyncio.Task[Reply[RawPage]] = asyncio.ensure_future(self._client.send(call))
        try:
            while True:
                page = (await fetching).value
                following = endpoints.next_page(page, call, seen)
                if following is not None:
                    call = following
                    fetching = asyncio.ensure_future(self._client.send(call))
                rows += len(page.raw)
                await self._write(unit, Batch(page.raw, owner=page.owner))
                if following is None:
                    return self._resume(page.cursor, begin, rows)
        except BankSyncValidationError as error:
            if begin:
                error.hint = (
                    "If it does not know the cursor that the last batch ended with, full_refresh=True reads this "
                    "account from its beginning again."
                )
            raise
        except BankSyncResponseError as error:
            if error.path is None:
                error.method, error.path = call.request.method, self._client.config.path(call.request.path)
            raise
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    def _resume(self, cursor: str | None, begin: str | None, rows: int) -> str | None:
        if isinstance(self._run, BatchRun) and cursor is None:
            if rows:
                raise BankSyncResponseError(
                    "the API gave transactions but no cursor after them, so that nobody could go on from there.",
                    hint="Read this account by windows: incremental=False.",
                )
            return begin
        return cursor if isinstance(self._run, BatchRun) else None
