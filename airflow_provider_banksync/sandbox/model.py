"""The things of the sandbox's world, as the rules see them. How they look to a client is in ``rows``."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, datetime

Row = dict[str, object]
"""One JSON object that is sent to a client."""


@dataclass(frozen=True)
class Currency:
    """A currency, with what a US cent is worth in its smallest unit."""

    code: str
    digits: int
    per_cent: tuple[int, int]

    def money(self, cents: int) -> Decimal:
        """Turn an amount thought of in US cents into this currency, with exactly its digits."""
        return self.minor(self.units(cents))

    def units(self, cents: int) -> int:
        """Turn an amount thought of in US cents into a number of this currency's smallest units."""
        numerator, denominator = self.per_cent
        return cents * numerator // denominator

    def minor(self, units: int) -> Decimal:
        """Turn a number of smallest units into an amount."""
        return Decimal(units).scaleb(-self.digits)


@dataclass(frozen=True)
class Country:
    """Where a client keeps its accounts: its currency, its banks, and who connects them."""

    code: str
    currency: Currency
    sources: tuple[str, ...]
    institutions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Workspace:
    """The firm's own workspace, or one client portal under it."""

    id: str
    name: str
    icon: str | None
    parent_id: str | None
    deleted: bool
    country: Country
    created_at: datetime

    @property
    def is_portal(self) -> bool:
        """Whether this is a client of the firm."""
        return self.parent_id is not None


@dataclass(frozen=True, eq=False)
class Bank:
    """A connected bank. A broken one wants its owner to sign in again."""

    id: str
    workspace_id: str
    name: str
    source: str
    currency: Currency
    institution_id: str
    order: int
    broken: bool
    created_at: datetime
    updated_at: datetime

    @property
    def reauth_message(self) -> str:
        """What a broken bank is told about, everywhere in the same words."""
        return f"{self.name} requires re-authentication: the owner of the connection must sign in again"


class Kind(Enum):
    """What sort of account it is; the value is what the API calls it."""

    CHECKING = "checking"
    SAVINGS = "savings"
    CREDIT = "credit card"
    INVESTMENT = "investment"
    LOAN = "loan"


@dataclass(frozen=True, eq=False)
class Account:
    """An account at a bank. ``opened`` is the first day it has rows for."""

    id: str
    bank: Bank
    kind: Kind
    name: str
    number: str
    balance: Decimal
    available: Decimal
    opened: date
    created_at: datetime
    updated_at: datetime

    @property
    def currency(self) -> Currency:
        """The currency of every amount in this account."""
        return self.bank.currency


@dataclass(frozen=True, eq=False)
class Integration:
    """A destination that a workspace is connected to."""

    id: str
    workspace_id: str
    name: str
    type: str
    order: int
    created_at: datetime


@dataclass(frozen=True)
class Schedule:
    """When BankSync syncs a feed of its own accord (UTC; day 0 of the week is Sunday)."""

    enabled: bool
    frequency: str
    hour: int
    minute: int
    day_of_week: int | None = None
    day_of_month: int | None = None

    def due(self, day: date) -> bool:
        """Say whether the feed runs on this day. In a short month, the last day stands in for those that lack."""
        if not self.enabled:
            return False
        if self.frequency == "weekly":
            return day.isoweekday() % 7 == (self.day_of_week or 0)
        if self.frequency == "monthly":
            return day.day == min(self.day_of_month or 1, monthrange(day.year, day.month)[1])
        return True


@dataclass(frozen=True, eq=False)
class Feed:
    """What is read from which accounts and written where."""

    id: str
    workspace_id: str
    data_type: str
    source: str
    accounts: tuple[Account, ...]
    integration: Integration | None
    schedule: Schedule | None
    settings: Row
    """Everything that a client may write, the way that it is written."""
    order: object
    created_at: datetime
    updated_at: datetime

    def due(self, day: date) -> Schedule | None:
        """Give the schedule by which the feed is synced on this day; None where it is not."""
        # Only what is read from accounts can be synced, by whomever.
        runs = self.source == "sync" and self.schedule is not None and self.schedule.due(day)
        return self.schedule if runs else None


@dataclass(frozen=True, eq=False)
class Enrichment:
    """A rule, an alert or a memory that works on the rows of feeds."""

    id: str
    workspace_id: str
    settings: Row
    """Everything that a client may write, the way that it is written."""
    created_by: str
    created_at: datetime
    updated_at: datetime
