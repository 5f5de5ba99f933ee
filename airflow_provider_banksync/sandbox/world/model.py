"""The objects of the sandbox's world. ``api_rows`` turns them into JSON objects."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, cast

Row = dict[str, object]
"""A JSON object that the sandbox sends."""


@dataclass(frozen=True)
class Currency:
    """A currency: its decimals, and the value of a US cent in its smallest unit, as a fraction."""

    code: str
    digits: int
    per_cent: tuple[int, int]

    def amount_of_cents(self, cents: int) -> Decimal:
        """Convert US cents to an amount with exactly the currency's decimals."""
        return self.amount(self.units_of_cents(cents))

    def units_of_cents(self, cents: int) -> int:
        """Convert US cents to smallest units."""
        numerator, denominator = self.per_cent
        return cents * numerator // denominator

    def amount(self, units: int) -> Decimal:
        """Convert smallest units to an amount."""
        return Decimal(units).scaleb(-self.digits)


@dataclass(frozen=True)
class Country:
    """A country of clients: its currency, its banks, and the sources that connect them."""

    currency: Currency
    sources: tuple[str, ...]
    institutions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Workspace:
    """The firm's own workspace, or a client portal under it."""

    id: str
    name: str
    icon: str | None
    parent_id: str | None
    deleted: bool
    country: Country
    created_at: datetime

    @property
    def is_portal(self) -> bool:
        """Whether this is a client portal."""
        return self.parent_id is not None


@dataclass(frozen=True, eq=False)
class Bank:
    """A connected bank. A broken bank needs a new sign-in."""

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
    origin: Bank | None = None
    """The first connection of a bank that was linked anew."""

    @property
    def reauth_message(self) -> str:
        """The error of a broken bank, the same everywhere."""
        return f"{self.name} requires re-authentication: the owner of the connection must sign in again"


class Kind(Enum):
    """The kind of an account. The values are the API's."""

    CHECKING = "checking"
    SAVINGS = "savings"
    CREDIT = "credit card"
    INVESTMENT = "investment"
    LOAN = "loan"


@dataclass(frozen=True, eq=False)
class Account:
    """An account at a bank. ``opened`` is the first day with rows."""

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
    origin_id: str
    """Its own id. If its bank was linked anew: its id at the first connection."""

    @property
    def currency(self) -> Currency:
        """The currency of all amounts of the account."""
        return self.bank.currency


@dataclass(frozen=True, eq=False)
class Integration:
    """A destination of a workspace."""

    id: str
    workspace_id: str
    name: str
    type: str
    order: int
    created_at: datetime


@dataclass(frozen=True, eq=False)
class Feed:
    """A feed. ``settings`` has the fields that a client may write, as the client wrote them."""

    id: str
    workspace_id: str
    data_type: str
    source: str
    accounts: tuple[Account, ...]
    integration: Integration | None
    settings: Row
    order: object
    created_at: datetime
    updated_at: datetime

    def scheduled_at(self, day: date) -> datetime | None:
        """Return when BankSync itself syncs the feed on a day; None if it does not."""
        schedule = cast("dict[str, Any] | None", self.settings.get("schedule"))
        if self.source != "sync" or schedule is None or not schedule["enabled"]:
            return None
        # Day 0 of the week is Sunday. In a short month, its last day replaces the missing ones.
        if schedule["frequency"] == "weekly" and day.isoweekday() % 7 != schedule.get("dayOfWeek", 0):
            return None
        last_day = monthrange(day.year, day.month)[1]
        if schedule["frequency"] == "monthly" and day.day != min(schedule.get("dayOfMonth", 1), last_day):
            return None
        return datetime.combine(day, time.fromisoformat(schedule["timeOfDay"]), timezone.utc)


@dataclass(frozen=True, eq=False)
class Enrichment:
    """A rule, an alert or a memory. ``settings`` has the fields that a client may write."""

    id: str
    workspace_id: str
    settings: Row
    created_by: str
    created_at: datetime
    updated_at: datetime
