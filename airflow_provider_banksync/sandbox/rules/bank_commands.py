"""Commands to banks: what a test does to single rows, balances, accounts and connections."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.sandbox.clock import SandboxClock, to_milliseconds
from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.rules.added_transactions import to_minor_units
from airflow_provider_banksync.sandbox.validation import check_flag, check_text
from airflow_provider_banksync.sandbox.world.banks import BankRates, Banks, parse_banks
from airflow_provider_banksync.sandbox.world.transactions import NEVER, day_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from airflow_provider_banksync.sandbox.world.balances import Balances
    from airflow_provider_banksync.sandbox.world.current import CurrentWorld
    from airflow_provider_banksync.sandbox.world.ledger import TransactionLedger
    from airflow_provider_banksync.sandbox.world.model import Account
    from airflow_provider_banksync.sandbox.world.transactions import Posting


@dataclass(frozen=True)
class BankCommands:
    """What you can make banks do, from now on: ``sandbox.banks.vanish(account_id, transaction_id)``.

    The commands for rows take the id that the API lists now.
    """

    clock: SandboxClock
    current: CurrentWorld
    ledger: TransactionLedger
    balances: Balances
    known_rates: BankRates
    refresh_jobs: Callable[[], None]

    @property
    def rates(self) -> Banks:
        """The rates that apply to new rows."""
        return self.known_rates.latest

    def set_rates(self, profile: str | None = None, **rates: Any) -> Banks:
        """Change rates, for the rows that appear from tomorrow on. ``profile`` replaces all of them."""
        if profile is not None:
            rates["profile"] = profile
        banks = parse_banks(rates, self.rates)
        self.ledger.change_rates(banks, day_of(self._now()) + 1)
        return banks

    def vanish(self, account_id: str, transaction_id: str) -> None:
        """Make a pending row vanish. It does not post."""
        account, posting = self._find(account_id, transaction_id, pending=True)
        life = posting.life._replace(vanishes_at=self._now())
        self.ledger.edit(account, posting, posting._replace(posts_at=NEVER, life=life))

    def keep_pending(self, account_id: str, transaction_id: str) -> None:
        """Keep a pending row pending for ever."""
        account, posting = self._find(account_id, transaction_id, pending=True)
        life = posting.life._replace(vanishes_at=NEVER)
        self.ledger.edit(account, posting, posting._replace(posts_at=NEVER, life=life))

    def post(
        self,
        account_id: str,
        transaction_id: str,
        *,
        amount: Decimal | int | str | None = None,
        day: date | None = None,
        link: bool = False,
    ) -> str:
        """Post a pending row now, under a new id, which is returned.

        :param amount: another amount than that of the pending row.
        :param day: its date; today by default.
        :param link: whether ``pendingTransactionId`` names the pending row.
        """
        check_flag("link", link)
        account, posting = self._find(account_id, transaction_id, pending=True)
        now = self._now()
        posted_on = self._day(day)
        units = posting.units if amount is None else to_minor_units(amount, account)
        life = posting.life._replace(
            linked=link,
            added_units=units - posting.units,
            days_back=day_of(now) - posted_on,
            vanishes_at=NEVER,
            changed_at=NEVER,
            removed_at=NEVER,
            booked_at=now,
        )
        self.ledger.edit(account, posting, posting._replace(posts_at=now, life=life))
        return self.ledger.row_id(account, posting)

    def change(
        self,
        account_id: str,
        transaction_id: str,
        *,
        description: str | None = None,
        category: str | None = None,
    ) -> None:
        """Change the description or the category of a posted row."""
        if description is None and category is None:
            raise SandboxError("give the new description or the new category")
        account, posting = self._find(account_id, transaction_id, pending=False)
        now, life = self._now(), posting.life
        if life.changed_at <= now:
            posting_texts = life.description or posting.description, life.category or posting.category
        else:
            posting_texts = posting.description, posting.category
        texts = (
            check_text("description", posting_texts[0] if description is None else description),
            check_text("category", posting_texts[1] if category is None else category),
        )
        life = life._replace(changed_at=now, description=texts[0], category=texts[1])
        self.ledger.edit(account, posting, posting._replace(life=life))

    def remove(self, account_id: str, transaction_id: str) -> None:
        """Remove a posted row. The balance no longer contains it."""
        account, posting = self._find(account_id, transaction_id, pending=False)
        was_booked = posting.life.removed_at == NEVER
        life = posting.life._replace(removed_at=self._now(), is_reversed=was_booked)
        self.ledger.edit(account, posting, posting._replace(life=life))

    def plant_difference(self, account_id: str, amount: Decimal | int | str, day: date | None = None) -> None:
        """Add an amount that no row explains to the balance of an account, from a day on; today by default."""
        account = self.current.find_account(account_id)
        self.balances.plant(account, to_minor_units(amount, account), self._day(day))

    def make_stale(self, account_id: str) -> None:
        """Stop the delivery of an account: no new rows, no changes, and the balance of now."""
        self.ledger.make_stale(self.current.find_account(account_id), self._now())

    def refresh(self, account_id: str) -> None:
        """Deliver what a stale account has missed, and what is new from now on."""
        self.ledger.end_stale(self.current.find_account(account_id), self._now())

    def relink(self, bank_id: str) -> str:
        """Replace a bank by a new connection to the same institution. Returns the id of the new bank.

        The new bank has the accounts and the whole history of the old one, under new ids. The old one is gone.
        """
        log, now = self.current.banks, self.clock.now()
        workspace, bank = self.current.find_bank(bank_id)
        new_id = self.current.world.seed.id("bank", workspace.id, "linked anew", log.added(workspace.id))
        origin = bank.origin or bank
        new = replace(bank, id=new_id, broken=False, created_at=now, updated_at=now, origin=origin)
        log.record(bank, None, now)
        log.add(new)
        self.refresh_jobs()
        return new_id

    def _now(self) -> int:
        return to_milliseconds(self.clock.now())

    def _day(self, day: date | None) -> int:
        today = day_of(self._now())
        if day is None:
            return today
        if not isinstance(day, date):
            raise SandboxError(f"day must be a date, not {day!r}")
        if day.toordinal() > today:
            raise SandboxError(f"day must not be after the sandbox's today, but {day} is")
        return day.toordinal()

    def _find(self, account_id: str, transaction_id: str, *, pending: bool) -> tuple[Account, Posting]:
        account = self.current.find_account(account_id)
        found = self.ledger.find(account, transaction_id, self._now())
        if found is None:
            raise SandboxError(f"account {account_id!r} lists no transaction {transaction_id!r} now")
        posting, row = found
        if row.pending is not pending:
            state = "pending" if row.pending else "posted"
            raise SandboxError(
                f"transaction {transaction_id!r} must be {'pending' if pending else 'posted'}, but is {state}"
            )
        return account, posting
