"""Days of a firm whose banks behave as real ones: a ledger runs each morning, is killed, and runs twice at once."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.support.ledger_task import LedgerRun

Key = tuple[str, str, str]

#: What happens on a day: a run, a run after one that was killed, a run after two at once, or none.
KINDS = ("run", "killed", "twice", "skip")
#: What is compared of a row.
FIELDS = ("date", "description", "currency", "category", "pending", "pendingTransactionId", "merchantName")
#: Banks send late rows at most this many days late, and change rows within this many.
LOOKBACK_DAYS = 70


@dataclass
class Simulation:
    """Some days of a family.

    :param new_task: returns a task that writes to the table.
    :param rows: returns the rows of the table.
    :param first: the first day of the table.
    :param kill: makes the next run end in the middle, at a random point. Returns how to undo it.
    """

    sandbox: BankSyncSandbox
    new_task: Callable[[], LedgerRun]
    rows: Callable[[], list[dict[str, Any]]]
    kill: Callable[[random.Random], Callable[[], None]]
    seed: int
    first: date
    log: list[str] = field(default_factory=list)

    def run(self, days: int) -> None:
        """Simulate some days, and compare the table with the banks after each completed run."""
        chance = random.Random(self.seed)
        for number in range(days):
            day = self.sandbox.advance(days=1)
            # Each kind once, then by chance.
            kind = KINDS[number] if number < len(KINDS) else chance.choices(KINDS, (70, 10, 10, 10))[0]
            self.log.append(f"{day} {kind}")
            if kind == "skip":
                continue
            if kind == "killed":
                self._run_killed(chance)
            if kind == "twice":
                self._run_twice()
            self.new_task().run(self._now())
            self.compare(day)

    def _now(self) -> datetime:
        return datetime.combine(self.sandbox.today, datetime.min.time(), timezone.utc) + timedelta(hours=6)

    def _run_killed(self, chance: random.Random) -> None:
        undo = self.kill(chance)
        try:
            self.new_task().run(self._now())
        except (Killed, AirflowException):
            pass
        finally:
            undo()

    def _run_twice(self) -> None:
        errors: list[BaseException] = []

        def run() -> None:
            try:
                self.new_task().run(self._now())
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, (errors, self.log)

    def compare(self, day: date) -> None:
        """Compare the table with what the banks have: all rows of the window, and each older row that they have."""
        expected = self.expected()
        found: dict[Key, tuple[Any, ...]] = {}
        for row in self.rows():
            key = row["workspace_id"], row["account_id"], row["id"]
            assert key not in found, f"{key} is there twice: {self.log}"
            found[key] = value_of(row)
        first = day - timedelta(days=LOOKBACK_DAYS)
        for key, value in expected.items():
            assert found.get(key) == value, f"{key}: {found.get(key)} is not {value}: {self.log}"
        extra = [key for key, value in found.items() if key not in expected and value[0] >= first]
        assert not extra, f"{extra[:5]} are in the table, and not in the bank: {self.log}"

    def expected(self) -> dict[Key, tuple[Any, ...]]:
        """Return what the banks have now."""
        workspaces = [self.sandbox.workspace_id, *(portal for portal, _ in self.sandbox.portals)]
        return {
            (workspace, row["accountId"], row["id"]): value_of(row)
            for workspace in workspaces
            for row in self.sandbox.truth.transactions(workspace, first=self.first)
        }


class Killed(BaseException):
    """The worker dies."""


def value_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what is compared of a row of the table, or of the banks."""
    day = row["date"]
    if isinstance(day, str):
        day = datetime.strptime(day, "%Y-%m-%d").date()  # noqa: DTZ007 - a day
    return day, Decimal(row["amount"]), *(row[name] for name in FIELDS[1:])
