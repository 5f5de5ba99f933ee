"""How banks behave: what happens to a row after it appears, and how often.

``Banks`` has the rates. ``PROFILES`` has three sets of them. ``Lives`` decides what happens to each row, from numbers
that the seed gives. So the life of a row is known from the beginning, and nothing is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.validation import check_flag, check_number, check_whole
from airflow_provider_banksync.sandbox.world.names import MERCHANT_NAMES, OTHER_CATEGORIES
from airflow_provider_banksync.sandbox.world.transactions import DAY_MS, NEVER, Life, Posting

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBERS_PER_ROW = 8
"""The numbers from 0 to 65,535 that decide about one row."""
MAX_PENDING_DAYS = 3
"""After this many days, a purchase is posted, has vanished, or stays pending."""
MAX_DAYS_LATE = 60
MAX_DAYS_CHANGED = 30
"""After this many days, the bank no longer changes or removes a posted row."""
_RANGE = 65_536


@dataclass(frozen=True)
class Banks:
    """The rates of banks. A share is between 0 and 1. ``docs/sandbox.md`` describes each of them."""

    vanish: float = 0.0
    stay_pending: float = 0.0
    tip: float = 0.0
    other_amount: float = 0.0
    other_day: float = 0.0
    link: float = 1.0
    change: float = 0.0
    remove: float = 0.0
    late: float = 0.0
    zero: float = 0.0
    authorized_day_off: float = 0.0
    resend_days: int = 0
    merchant_names: bool = False
    balance_times: bool = False
    fiskil_loans: bool = True

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(each.default, bool):
                check_flag(each.name, value)
            elif isinstance(each.default, int):
                check_whole(each.name, value, 0, 30)
            else:
                check_number(each.name, value, 0, 1)
        for names in (
            ("vanish", "stay_pending", "tip", "other_amount"),
            ("change", "remove"),
            ("late", "zero"),
        ):
            if sum(getattr(self, name) for name in names) > 1:
                raise SandboxError(f"the sum of {', '.join(names)} must not be above 1")

    @property
    def days_until_final(self) -> int:
        """The days after its date in which a row can still appear, change or disappear."""
        changed = MAX_DAYS_CHANGED if self.change or self.remove else 0
        return MAX_PENDING_DAYS + changed + (MAX_DAYS_LATE if self.late else 0)

    @property
    def sources_without_loans(self) -> frozenset[str]:
        """The sources that do not support loans."""
        return frozenset() if self.fiskil_loans else frozenset({"fiskil"})

    @property
    def moves_rows(self) -> bool:
        """Whether rows can be missing, or be dated on another day than that on which they are posted."""
        return bool(self.vanish or self.remove or self.late or self.other_day)


PROFILES = {
    "documented": Banks(),
    "production": Banks(
        stay_pending=0.005,
        tip=0.4,
        link=0.0,
        zero=0.005,
        authorized_day_off=0.2,
        resend_days=7,
        merchant_names=True,
        balance_times=True,
        fiskil_loans=False,
    ),
}
PROFILES["restless"] = replace(
    PROFILES["production"],
    vanish=0.04,
    other_amount=0.06,
    other_day=0.1,
    link=0.3,
    change=0.05,
    remove=0.02,
    late=0.03,
    stay_pending=0.02,
)
"""What the API documents, what production shows (default), and every kind of change at once."""


def parse_banks(value: Banks | str | dict[str, Any], base: Banks | None = None) -> Banks:
    """Return rates: as they are, of a profile, or of a mapping with ``profile`` and single rates."""
    if isinstance(value, Banks):
        return value
    rates = {"profile": value} if isinstance(value, str) else dict(value)
    profile = rates.pop("profile", None)
    if profile is not None:
        base = PROFILES.get(profile) if isinstance(profile, str) else None
        if base is None:
            raise SandboxError(f"banks must be one of {', '.join(PROFILES)}, or have rates, not {profile!r}")
    known = [each.name for each in fields(Banks)]
    for name in rates:
        if name not in known:
            raise SandboxError(f"banks have no rate {name!r}; the rates are {', '.join(known)}")
    return replace(base or PROFILES["production"], **rates)


class BankRates:
    """The rates of a sandbox. They can change, for the rows that appear from a day on."""

    def __init__(self, banks: Banks) -> None:
        self._since = [(0, banks, Lives(banks))]

    @property
    def latest(self) -> Banks:
        """The rates that apply to new rows."""
        return self._since[-1][1]

    def change(self, banks: Banks, day: int) -> None:
        """Replace the rates from a day on."""
        self._since = [each for each in self._since if each[0] < day] + [(day, banks, Lives(banks))]

    def lives_on(self, day: int) -> Lives:
        """Return what happens to the rows that appear on a day."""
        return next(lives for since, _, lives in reversed(self._since) if since <= day)

    @property
    def days_until_final(self) -> int:
        """The largest of all rates so far."""
        return max(banks.days_until_final for _, banks, _ in self._since)

    @property
    def moves_rows(self) -> bool:
        """Whether any rates so far move rows."""
        return any(banks.moves_rows for _, banks, _ in self._since)


class Lives:
    """Draws what happens to each row, from ``NUMBERS_PER_ROW`` numbers that the seed gives."""

    def __init__(self, banks: Banks) -> None:
        def limit(share: float) -> int:
            return round(share * _RANGE)

        # A number below the first limit, or not below the last, selects a row.
        self._late, self._zero = limit(banks.late), limit(1 - banks.zero)
        self._vanish = limit(banks.vanish)
        self._stay = self._vanish + limit(banks.stay_pending)
        self._other = self._stay + limit(banks.other_amount)
        self._tip = limit(1 - banks.tip)
        self._other_day = limit(banks.other_day)
        self._change, self._remove = limit(banks.change), limit(1 - banks.remove)
        self._link, self._day_off = limit(banks.link), limit(banks.authorized_day_off)
        self._merchant_names = banks.merchant_names

    def common(self, numbers: Sequence[int]) -> Life:
        """Return the life of a row to which nothing rare happens."""
        day_off = numbers[3]
        days = 0 if day_off >= self._day_off else -1 if day_off % 2 else 1
        return _COMMON[numbers[2] < self._link, days]

    def other_fields(self, description: str) -> str:
        """Return the encoded fields of a row beside the documented ones."""
        return _MERCHANT_FIELDS.get(description, _NO_MERCHANT) if self._merchant_names else ""

    def apply(self, posting: Posting, numbers: Sequence[int]) -> Posting:
        """Return a posting with the rare things that happen to it."""
        kind, outcome, _, _, posted, later, first, second = numbers
        if kind < self._late:
            return _arrive_late(posting, first)
        if posting.pending_id is not None:
            if kind >= self._zero:
                posting = posting._replace(units=0)
            if outcome < self._other or outcome >= self._tip:
                posting = self._apply_outcome(posting, outcome, first)
            if posting.posts_at == NEVER:
                return posting
            if posted < self._other_day and posting.posts_at - posting.appears_at > DAY_MS:
                posting = posting._replace(life=posting.life._replace(days_back=1))
        if later < self._change or later >= self._remove:
            return self._change_later(posting, later, first, second)
        return posting

    def _apply_outcome(self, posting: Posting, outcome: int, first: int) -> Posting:
        """Let a pending row vanish, stay pending, or post with another amount."""
        life, units = posting.life, posting.units
        if outcome < self._vanish:
            gone = posting.appears_at + DAY_MS // 2 + first * 3_000
            return posting._replace(posts_at=NEVER, life=life._replace(vanishes_at=gone))
        if outcome < self._stay:
            return posting._replace(posts_at=NEVER)
        if outcome < self._other:
            # Between half and one and a half times the amount, as after a reservation.
            added = units * (first - _RANGE // 2) // _RANGE
        else:
            added = units * (10 + first % 11) // 100 if posting.category == "Meals" else 0
        return posting._replace(life=life._replace(added_units=added))

    def _change_later(self, posting: Posting, later: int, first: int, second: int) -> Posting:
        """Let a posted row change or disappear, up to a month later."""
        at, life = (
            posting.posts_at + (1 + second % (MAX_DAYS_CHANGED - 1)) * DAY_MS + first * 500,
            posting.life,
        )
        if later >= self._remove:
            life = life._replace(removed_at=at)
        elif first % 2:
            life = life._replace(changed_at=at, description=f"{posting.description} {posting.reference}")
        else:
            category = OTHER_CATEGORIES[first // 2 % len(OTHER_CATEGORIES)]
            life = life._replace(changed_at=at, category=category)
        return posting._replace(life=life)


def _arrive_late(posting: Posting, first: int) -> Posting:
    """Return a posting whose row arrives when it has long been posted, with the earlier date."""
    day, arrives = posting.posted_day(), posting.posts_at + (1 + first % MAX_DAYS_LATE) * DAY_MS
    return posting._replace(pending_id=None, day=day, appears_at=arrives, posts_at=arrives)


_COMMON = {
    (linked, days): Life(linked=linked, authorized_days=days)
    for linked in (True, False)
    for days in (-1, 0, 1)
}
_NO_MERCHANT = ',"merchantName":null'
_MERCHANT_FIELDS = {description: f',"merchantName":"{name}"' for description, name in MERCHANT_NAMES.items()}
