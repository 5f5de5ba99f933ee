"""What the API would answer, read without HTTP: for tests that compare tables with it row by row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_banksync.sandbox.clock import SandboxClock, to_milliseconds
from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.world.transactions import day_of, json_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_banksync.sandbox.world.balances import Balances
    from airflow_provider_banksync.sandbox.world.current import CurrentWorld
    from airflow_provider_banksync.sandbox.world.ledger import TransactionLedger
    from airflow_provider_banksync.sandbox.world.model import Account

TransactionRow = dict[str, Any]


@dataclass(frozen=True)
class Truth:
    """The current answers of the API. Amounts are decimals. Banks that need a new sign-in are included."""

    clock: SandboxClock
    current: CurrentWorld
    ledger: TransactionLedger
    balances: Balances

    def transactions(
        self,
        workspace_id: str | None = None,
        *,
        account_id: str | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> list[TransactionRow]:
        """Return the rows of all accounts, of a workspace, or of one account, between two dates (both included)."""
        accounts = self._accounts(workspace_id, account_id)
        encoded = b"".join(self._encoded_rows(accounts, first, last))
        rows: list[TransactionRow] = json.loads(b"[%b]" % encoded[:-1], parse_float=Decimal)
        return rows

    def encoded(self, workspace_id: str) -> list[bytes]:
        """Return a JSON array of the rows of a workspace, in pieces."""
        return list(json_array([*self._encoded_rows(self._accounts(workspace_id, None))]).pieces)

    def balance(self, account_id: str, day: date | None = None) -> Decimal:
        """Return the balance of an account now, or at the end of a day.

        It has the rows whose date has come, also those that arrive late, and not those that the bank removes later.
        """
        account = self.current.find_account(account_id)
        if day is None:
            return self.balances.account_at(account, self.clock.now())[0].balance
        end = datetime.combine(day, datetime.min.time(), timezone.utc) + timedelta(days=1, milliseconds=-1)
        change = self.balances.change_at(account, to_milliseconds(end))
        return account.balance + account.currency.amount(change)

    def unexplained(self, account_id: str, after: date, until: date) -> Decimal:
        """Return the part of a balance's change that the posted rows do not explain.

        The change is that from the end of the day ``after`` to the end of the day ``until``. The rows are those that
        the API lists now, dated after the first day and up to the second.
        """
        rows = self.transactions(account_id=account_id, first=after + timedelta(days=1), last=until)
        explained = sum((cast("Decimal", row["amount"]) for row in rows if not row["pending"]), Decimal(0))
        return self.balance(account_id, until) - self.balance(account_id, after) - explained

    def _encoded_rows(
        self, accounts: Iterable[Account], first: date | None = None, last: date | None = None
    ) -> Iterator[bytes]:
        now = self.ledger.snapshot_at(to_milliseconds(self.clock.now()))
        end = day_of(now.ms) if last is None else min(day_of(now.ms), last.toordinal())
        for account in accounts:
            day = self.ledger.first_day(account)
            day = day if first is None else max(day, first.toordinal())
            while day <= end:
                block, day = self.ledger.rows_from(account, day, end, now)
                yield from block.encode(0, len(block))

    def _accounts(self, workspace_id: str | None, account_id: str | None) -> Iterator[Account]:
        family = self.current.world.family()
        workspaces = [each for each in family if workspace_id in {None, each.id}]
        if not workspaces:
            raise SandboxError(f"there is no live workspace {workspace_id!r}")
        if account_id is not None:
            yield self.current.find_account(account_id)
            return
        for workspace in workspaces:
            yield from self.current.accounts(workspace)
