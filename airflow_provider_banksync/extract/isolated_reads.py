"""Runs many reads, several at a time, so that a broken bank costs only its own rows."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import retry_policy
from airflow_provider_banksync.api.redaction import counted
from airflow_provider_banksync.exceptions import BankSyncError, BankSyncNotFoundError
from airflow_provider_banksync.extract.partition import (
    RATE_LIMITED,
    RETRYABLE,
    Partition,
    Unavailable,
    unavailable_reason,
)

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

#: After this many failures in a row, a bank is set aside until the end.
MAX_FAILURES_OF_BANK = 3
#: The API counts as down after this many failures in a row, if every bank has failed meanwhile, or this many banks. Of
#: the failures of one bank, at most `MAX_FAILURES_OF_BANK` count.
MAX_FAILURES_IN_A_ROW = 10
MAX_FAILED_BANKS_IN_A_ROW = 25

_Bank = tuple[str, str]


@dataclass(frozen=True)
class Read:
    """One read, for example of an account.

    :param partition: what is unavailable if the read fails. None: the error ends all reads.
    :param run: does the read. It may be called twice.
    :param subject: what is read, for messages; empty if the partition says it.
    """

    partition: Partition | None
    run: Callable[[], Awaitable[None]]
    subject: str = ""

    @property
    def bank(self) -> _Bank:
        """The ids of the bank and its workspace."""
        return ("", "") if self.partition is None else self.partition.key[:2]


class IsolatedReads:
    """Runs reads and collects what is unavailable.

    After three failures in a row, a bank is set aside. When all other reads have ended, what failed or was set aside is
    tried once more. If several banks fail and no read of any bank gets an answer, the API is down.

    :param concurrency: number of reads at the same time.
    :param has_answered: an earlier try of the task has read something, so the API is not down for all banks.
    """

    def __init__(self, concurrency: int, log: logging.Logger | Any, *, has_answered: bool = False) -> None:
        self._concurrency = concurrency
        self._log = log
        self._has_answered = has_answered
        self._is_last_round = False
        self._banks = 0
        self._unavailable: list[Unavailable] = []
        self._again: list[Read] = []
        self._failures = Counter[_Bank]()
        self._failures_in_a_row = Counter[_Bank]()
        self._last_failures: dict[_Bank, tuple[str, str, BankSyncError]] = {}
        self._not_found_at = float("-inf")

    async def run(self, reads: Sequence[Read]) -> list[Unavailable]:
        """Run the reads, one bank after the other in turn.

        :return: what is unavailable.
        :raises BankSyncError: if the error concerns all banks, or the API is down.
        """
        by_bank = _group_by_bank(reads)
        self._banks = len(by_bank)
        await self._run_groups([[read] for read in _take_turns(by_bank)])
        if self._again:
            await self._run_again()
        if not self._has_answered and len(self._last_failures) > 1:
            raise self._api_is_down()
        return self._unavailable

    async def _run_again(self) -> None:
        groups = _group_by_bank(self._again)
        await self._let_replicas_catch_up()
        self._log.info(
            "Trying what failed once more: %s of %s.",
            counted(len(self._again), "read"),
            counted(len(groups), "bank"),
        )
        self._is_last_round = True
        # One more failure of a bank that was set aside is enough to give it up.
        set_aside = [bank for bank, count in self._failures.items() if count >= MAX_FAILURES_OF_BANK]
        self._failures = Counter(dict.fromkeys(set_aside, MAX_FAILURES_OF_BANK - 1))
        await self._run_groups(groups)

    async def _let_replicas_catch_up(self) -> None:
        """Wait until the last 404 is a minute old. A replica may not know yet what the listing had."""
        wait = self._not_found_at + retry_policy.NOT_FOUND_GRACE - time.monotonic()
        if wait > 0:
            self._log.info("Waiting for %.0f s before what was not found is tried once more.", wait)
            await asyncio.sleep(wait)

    async def _run_groups(self, groups: Sequence[Sequence[Read]]) -> None:
        queue = iter(groups)
        await gather_or_cancel(*(self._work(queue) for _ in range(min(self._concurrency, len(groups)))))

    async def _work(self, queue: Iterator[Sequence[Read]]) -> None:
        for group in queue:
            for read in group:
                if self._failures[read.bank] >= MAX_FAILURES_OF_BANK:
                    self._skip(read)
                    continue
                try:
                    await read.run()
                except BankSyncError as error:
                    self._record_failure(read, error)
                else:
                    self._record_answer(read)

    def _record_answer(self, read: Read) -> None:
        self._has_answered = True
        self._failures[read.bank] = 0
        self._failures_in_a_row.clear()

    def _record_failure(self, read: Read, error: BankSyncError) -> None:
        reason = unavailable_reason(error)
        if read.partition is None or reason is None:
            raise error
        may_pass = reason in (RETRYABLE, RATE_LIMITED)
        if may_pass:
            self._record_temporary_failure(read, reason, error)
        else:
            self._record_answer(read)
        self._log.warning("Could not read %s: %s", _describe(read), error)
        if isinstance(error, BankSyncNotFoundError):
            self._not_found_at, may_pass = time.monotonic(), True
        if may_pass and not self._is_last_round:
            self._again.append(read)
        else:
            self._report(read, reason, str(error))

    def _record_temporary_failure(self, read: Read, reason: str, error: BankSyncError) -> None:
        self._failures[read.bank] += 1
        self._failures_in_a_row[read.bank] += 1
        self._last_failures[read.bank] = _describe_bank(read), reason, error
        if self._failures[read.bank] == MAX_FAILURES_OF_BANK and not self._is_last_round:
            self._log.warning(
                "%s failed %d times in a row. What is left of it is tried at the end.",
                _describe_bank(read),
                MAX_FAILURES_OF_BANK,
            )
        counted = sum(min(count, MAX_FAILURES_OF_BANK) for count in self._failures_in_a_row.values())
        enough_banks = len(self._failures_in_a_row) >= min(self._banks, MAX_FAILED_BANKS_IN_A_ROW)
        if counted >= MAX_FAILURES_IN_A_ROW and enough_banks and not self._is_last_round:
            raise self._api_is_down()

    def _skip(self, read: Read) -> None:
        if self._is_last_round:
            _, reason, error = self._last_failures[read.bank]
            self._report(read, reason, f"not read, because other reads of the same bank failed: {error}")
        else:
            self._again.append(read)

    def _report(self, read: Read, reason: str, message: str) -> None:
        if read.partition is not None:
            message = f"{read.subject}: {message}" if read.subject else message
            self._unavailable.append(Unavailable(read.partition, reason, message))

    def _api_is_down(self) -> BankSyncError:
        bank, _, error = list(self._last_failures.values())[-1]
        error.hint = (
            f"{error.hint} This was {bank}. Before it, {len(self._last_failures) - 1} other banks failed, so BankSync "
            "may be down. A retry reads only what is missing."
        ).strip()
        return error


def _group_by_bank(reads: Iterable[Read]) -> list[list[Read]]:
    groups: dict[_Bank, list[Read]] = {}
    for read in reads:
        groups.setdefault(read.bank, []).append(read)
    return list(groups.values())


def _take_turns(groups: Iterable[Sequence[Read]]) -> list[Read]:
    """Return the first read of each bank, then the second of each, and so on."""
    numbered = [(number, read) for group in groups for number, read in enumerate(group)]
    return [read for _, read in sorted(numbered, key=lambda entry: entry[0])]


def _describe(read: Read) -> str:
    return f"{read.partition}, {read.subject}" if read.subject else str(read.partition)


def _describe_bank(read: Read) -> str:
    partition = read.partition
    if partition is None:
        return read.subject
    return str(Partition(partition.workspace_id, partition.portal, partition.bank_id, partition.bank))


async def gather_or_cancel(*coroutines: Any) -> list[Any]:
    """Run coroutines together. If one fails, cancel the others and wait for them."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
