"""One broken bank costs only its own accounts."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_banksync import exceptions as x
from airflow_provider_banksync.api import retry_policy
from airflow_provider_banksync.extract.isolated_reads import IsolatedReads, Read
from airflow_provider_banksync.extract.partition import Partition

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.extract.partition import Unavailable


class World:
    """Accounts of banks, and what each read of an account raises."""

    def __init__(self, accounts: dict[str, int], concurrency: int = 1) -> None:
        self.reads: Counter[str] = Counter()
        self.done: list[str] = []
        self.error: Callable[[str, str], x.BankSyncError | None] = lambda bank, account: None
        self._concurrency = concurrency
        self._partitions = [
            Partition("w", "Client", bank, f"Bank {bank}", f"{bank}{number}")
            for bank, count in accounts.items()
            for number in range(count)
        ]

    async def _read(self, partition: Partition) -> None:
        await asyncio.sleep(0)
        bank, account = str(partition.bank_id), str(partition.account_id)
        self.reads[account] += 1
        if error := self.error(bank, account):
            raise error
        self.done.append(account)

    def run(self, **settings: Any) -> list[Unavailable]:
        isolated = IsolatedReads(self._concurrency, logging.getLogger(), **settings)
        return asyncio.run(isolated.run([Read(each, partial(self._read, each)) for each in self._partitions]))


def down(message: str = "502, the service failed.") -> x.BankSyncError:
    return x.BankSyncServerError(message)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_broken_bank_is_set_aside_and_tried_once_more(concurrency: int) -> None:
    world = World({"a": 30, "b": 20, "c": 20}, concurrency)
    world.error = lambda bank, account: down() if bank == "a" else None
    unavailable = world.run()
    assert len(world.done) == 40
    assert {each.partition.account_id for each in unavailable} == {f"a{number}" for number in range(30)}
    assert {each.reason for each in unavailable} == {"failed"}
    assert all("502" in each.message for each in unavailable)
    assert sum(count for account, count in world.reads.items() if account[0] == "a") <= 3 + concurrency


def test_a_bank_that_recovers_is_read() -> None:
    world = World({"a": 30, "b": 3})
    world.error = lambda bank, account: down() if bank == "a" and len(world.done) < 3 else None
    assert world.run() == []
    assert len(set(world.done)) == len(world.done) == 33


def test_failures_that_are_not_in_a_row_set_no_bank_aside() -> None:
    world = World({"a": 30})
    world.error = lambda bank, account: down() if int(account[1:]) % 3 else None
    assert {each.partition.account_id for each in world.run()} == {f"a{n}" for n in range(30) if n % 3}
    assert len(world.reads) == 30


def test_one_account_that_fails_is_tried_once_more() -> None:
    world = World({"a": 3, "b": 3})
    world.error = lambda bank, account: down() if account == "a1" else None
    assert [each.partition.account_id for each in world.run()] == ["a1"]
    assert world.reads["a1"] == 2


def test_the_only_bank_does_not_make_the_api_down() -> None:
    world = World({"a": 30})
    world.error = lambda bank, account: down()
    assert len(world.run()) == 30
    assert sum(world.reads.values()) == 4


@pytest.mark.parametrize("broken", ["abc", "abcdefghijklm"])
def test_many_broken_banks_cost_only_their_own_accounts(broken: str) -> None:
    world = World(dict.fromkeys(f"{broken}z", 5), 8)
    world.error = lambda bank, account: down() if bank in broken else None
    unavailable = world.run()
    assert len(world.done) == 5
    assert len(unavailable) == 5 * len(broken)


@pytest.mark.parametrize("accounts", [{"a": 1, "b": 1}, {"a": 30, "b": 1}, {str(n): 4 for n in range(200)}])
def test_an_api_that_is_down_ends_all(accounts: dict[str, int]) -> None:
    world = World(accounts, 8)
    world.error = lambda bank, account: down()
    with pytest.raises(
        x.BankSyncServerError, match=r"502.* This was client 'Client', bank 'Bank \w+'"
    ) as caught:
        world.run()
    assert caught.value.transient
    assert sum(world.reads.values()) <= 40


def test_an_api_that_goes_down_ends_all() -> None:
    world = World({str(number): 4 for number in range(200)}, 8)
    world.error = lambda bank, account: down() if len(world.done) >= 100 else None
    with pytest.raises(x.BankSyncServerError, match="BankSync may be down"):
        world.run()
    assert sum(world.reads.values()) <= 140


def test_what_is_left_of_an_earlier_try_may_be_broken() -> None:
    world = World({"a": 2, "b": 2})
    world.error = lambda bank, account: down()
    assert len(world.run(has_answered=True)) == 4


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (x.BankSyncReauthRequiredError("503, sign in."), "sign_in"),
        (x.BankSyncPermissionError("403, no."), "forbidden"),
        (x.BankSyncValidationError("400, no."), "refused"),
    ],
)
def test_an_answer_about_an_account_is_not_asked_for_again(error: x.BankSyncError, reason: str) -> None:
    world = World({"a": 30, "b": 30})
    world.error = lambda bank, account: error
    unavailable = world.run()
    assert [each.reason for each in unavailable] == [reason] * 60
    assert set(world.reads.values()) == {1}


@pytest.mark.parametrize("appears", [True, False])
def test_a_404_must_last_a_minute(monkeypatch: pytest.MonkeyPatch, appears: bool) -> None:
    slept: list[float] = []
    pause = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            slept.append(seconds)
        await pause(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    world = World({"a": 2})
    missing = x.BankSyncNotFoundError("404, not found.")
    world.error = lambda bank, account: missing if account == "a1" and not (appears and slept) else None
    assert [each.reason for each in world.run()] == ([] if appears else ["not_found"])
    assert slept == [pytest.approx(retry_policy.NOT_FOUND_GRACE, abs=5)]


@pytest.mark.parametrize("error", [x.BankSyncAuthError("401"), x.BankSyncEdgeBlockedError("403")])
def test_an_error_of_the_key_ends_all(error: x.BankSyncError) -> None:
    world = World({"a": 30, "b": 30})
    world.error = lambda bank, account: error
    with pytest.raises(type(error)):
        world.run()
    assert sum(world.reads.values()) == 1
