"""The generated postings of accounts: those of a small business, or at a fixed rate.

``DailyActivity`` (default) draws the postings of each day by the kind of account, such as rent, salaries and purchases.
A card purchase is pending for one to three days. Then it is posted under a new id, with the day of posting as its date.
Every other row is posted immediately. ``banks`` decides what else happens to a row.

A bank that is linked anew has the postings of the account that it replaces, ``account.origin_id``.

``FixedRateActivity`` is for large worlds and benchmarks. Its rows are spread evenly over time. Each group of rows has a
few variants, which are encoded once for all accounts. An account selects a variant for each group, and fills in its
part of the ids and the fields that all its rows share. So a new row costs little more than its bytes.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from calendar import monthrange
from datetime import date
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_banksync.sandbox.world.banks import (
    MAX_PENDING_DAYS,
    NUMBERS_PER_ROW,
    BankRates,
)
from airflow_provider_banksync.sandbox.world.model import Account, Kind
from airflow_provider_banksync.sandbox.world.names import CUSTOMERS, MERCHANTS, STAFF
from airflow_provider_banksync.sandbox.world.seed import ID_LENGTH, RandomDraws, Seed
from airflow_provider_banksync.sandbox.world.transactions import (
    DAY_MS,
    NEVER,
    ROWS_PER_GROUP,
    Posting,
    RowBlock,
    day_of,
    day_start,
    encode_rows,
    slice_group,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_banksync.sandbox.world.api_rows import Drift

_FIRST_MS = 6 * 3_600_000
"""Nothing appears before six in the morning."""
_WORKING_SECONDS = 50_000
_DAY_BYTES = 96
_CACHED_SPANS = 2_048
"""A span of an account has about 20 rows."""
_ROWS_PER_SPAN = 256
_VARIANTS = 4
_DRAW_BYTES = 16
_HALF_ID = ID_LENGTH // 2
"""One half of an id is the account's, the other the row's."""
_ACCOUNT_PART, _SHARED_FIELDS = b"\1", b"\2"
"""Placeholders in the text of a group. JSON never contains these bytes."""
_CACHED_TEXTS = 2_048
"""About 8 kB each. Three years with one transaction a day have some 1,200."""
_CACHED_GROUPS = 512
_CACHED_ACCOUNTS = 1_024


class _Draft(NamedTuple):
    """A posting before it has an id, a currency and a day. ``second`` counts from six in the morning."""

    cents: int
    texts: tuple[str, str, str]
    """Description, category and type."""
    second: int
    pending_seconds: int = 0


class DailyActivity:
    """The postings of all accounts, by the kind of account."""

    days = 28
    """The days of a span. A span is generated at once, because the hashing of single days costs more than the rows."""

    def __init__(self, seed: Seed, rates: BankRates) -> None:
        self._seed = seed
        self._rates = rates
        self._postings = lru_cache(maxsize=_CACHED_SPANS)(self._generate)

    def forget(self) -> None:
        """Forget the cached postings, after the rates have changed."""
        self._postings.cache_clear()

    def postings_between(self, account: Account, first: int, last: int) -> Iterator[Posting]:
        """Return at least the postings that are dated on these days, pending or posted."""
        first = max(first - MAX_PENDING_DAYS, account.opened.toordinal())
        for span in range(first // self.days, last // self.days + 1):
            for posting in self._postings(account, span):
                if posting.day >= first:
                    yield posting

    def _generate(self, account: Account, span: int) -> list[Posting]:
        """Return the postings that appear in a span."""
        days, origin_id = range(span * self.days, (span + 1) * self.days), account.origin_id
        drafts = self._drafts(account, days)
        ids = self._seed.letters(len(drafts) * ID_LENGTH * 2, "ids", origin_id, days.start).decode()
        numbers = _draw_numbers(self._seed, len(drafts), "lives", origin_id, days.start)
        postings, lives, lives_day = [], self._rates.lives_on(days.start), days.start
        for index, (day, order, (cents, texts, second, pending_seconds)) in enumerate(drafts):
            start, middle = ID_LENGTH * 2 * index, ID_LENGTH * (2 * index + 1)
            pending_id = ids[middle : middle + ID_LENGTH] if pending_seconds else None
            units, reference = account.currency.units_of_cents(cents), f"REF{day}{order:03d}"
            appears_at = day_start(day) + _FIRST_MS + second * 1000
            posts_at = appears_at + pending_seconds * 1000
            if day != lives_day:
                lives, lives_day = self._rates.lives_on(day), day
            posting = Posting(
                ids[start:middle],
                pending_id,
                units,
                *texts,
                reference,
                day,
                appears_at,
                posts_at,
                order,
                lives.common(numbers[index]),
                lives.other_fields(texts[0]),
            )
            postings.append(lives.apply(posting, numbers[index]))
        return postings

    def _drafts(self, account: Account, days: range) -> list[tuple[int, int, _Draft]]:
        """Draw the postings of each day, with the day and their order in it."""
        # The words of a path are part of what is hashed: another word generates other data.
        constants = int.from_bytes(self._seed.digest(128, "habits", account.origin_id), "big")
        pool = self._seed.digest(len(days) * _DAY_BYTES, "days", account.origin_id, days.start)
        draft_day, opened = _PROFILES[account.kind], account.opened.toordinal()
        drafts: list[tuple[int, int, _Draft]] = []
        for start, day in zip(range(0, len(pool), _DAY_BYTES), days, strict=True):
            if day >= opened:
                draws = RandomDraws(pool[start : start + _DAY_BYTES])
                drafted = draft_day(RandomDraws(constants), draws, date.fromordinal(day))
                drafts += [(day, order, draft) for order, draft in enumerate(drafted)]
        return drafts


def _draw_numbers(seed: Seed, rows: int, *path: object) -> list[tuple[int, ...]]:
    """Draw the numbers that decide what happens to each of some rows."""
    return list(struct.iter_unpack(f"<{NUMBERS_PER_ROW}H", seed.digest(rows * NUMBERS_PER_ROW * 2, *path)))


def _draw_purchase(draws: RandomDraws) -> tuple[int, str, str]:
    """Draw a purchase: cents, merchant and category."""
    merchant, category, low, high = draws.pick(MERCHANTS)
    return -draws.between(low, high), merchant, category


def _draft(draws: RandomDraws, cents: int, description: str, category: str, type_: str) -> _Draft:
    return _Draft(cents, (description, category, type_), draws.below(_WORKING_SECONDS))


def _purchases(draws: RandomDraws, today: date, at_most: int) -> Iterator[_Draft]:
    for _ in range(draws.below((at_most if today.weekday() < 5 else 1) + 1)):
        cents, merchant, category = _draw_purchase(draws)
        second, days = draws.below(_WORKING_SECONDS), draws.between(1, 2)
        yield _Draft(cents, (merchant, category, "card"), second, days * 86_400 + draws.below(20_000))


def _checking(constants: RandomDraws, draws: RandomDraws, today: date) -> Iterator[_Draft]:
    if today.day == 1:
        rent = constants.between(90_000, 420_000)
        yield _draft(draws, -rent, "Rent Harbour Estates", "Rent", "standing_order")
    elif today.day >= 24:
        salary, payday = constants.between(210_000, 480_000), constants.between(24, 28)
        for name in STAFF[: constants.between(1, 3) if today.day == payday else 0]:
            yield _draft(draws, -salary - draws.below(9_000), f"Salary {name}", "Payroll", "transfer")
        if today.day == monthrange(today.year, today.month)[1]:
            yield _draft(draws, -1_250, "Account maintenance fee", "Bank fees", "fee")
    if today.weekday() == 4:
        yield _draft(draws, -draws.between(10_000, 80_000), "Transfer to reserve", "Transfer", "transfer")
    if today.weekday() < 5 and draws.chance(0.45):
        yield _draft(draws, draws.between(18_000, 640_000), draws.pick(CUSTOMERS), "Revenue", "credit")
    yield from _purchases(draws, today, 2)


def _savings(constants: RandomDraws, draws: RandomDraws, today: date) -> Iterator[_Draft]:
    if today.weekday() == 4:
        cents = draws.between(10_000, 80_000)
        yield _draft(draws, cents, "Transfer from current account", "Transfer", "transfer")
    if today.day == 1:
        yield _draft(draws, constants.between(900, 14_000), "Interest", "Interest", "interest")


def _credit(constants: RandomDraws, draws: RandomDraws, today: date) -> Iterator[_Draft]:
    if today.day == constants.between(15, 22):
        cents = draws.between(60_000, 400_000)
        yield _draft(draws, cents, "Payment received, thank you", "Transfer", "transfer")
    yield from _purchases(draws, today, 3)


def _investment(constants: RandomDraws, draws: RandomDraws, today: date) -> Iterator[_Draft]:
    if today.day == constants.between(2, 6):
        yield _draft(draws, draws.between(50_000, 250_000), "Cash deposit", "Transfer", "transfer")
    if today.month % 3 == 0 and today.day == 20:
        yield _draft(draws, draws.between(1_200, 32_000), "Dividend", "Dividends", "dividend")


def _loan(constants: RandomDraws, draws: RandomDraws, today: date) -> Iterator[_Draft]:
    if today.day == 5:
        yield _draft(draws, constants.between(40_000, 150_000), "Loan repayment", "Loan", "transfer")
        yield _draft(draws, -draws.between(3_000, 20_000), "Interest charged", "Interest", "interest")


_PROFILES: dict[Kind, Callable[[RandomDraws, RandomDraws, date], Iterator[_Draft]]] = {
    Kind.CHECKING: _checking,
    Kind.SAVINGS: _savings,
    Kind.CREDIT: _credit,
    Kind.INVESTMENT: _investment,
    Kind.LOAN: _loan,
}
"""The postings of a day, by the kind of account. ``constants`` draws the same values every day, such as the rent."""


_GroupVariant = tuple[bool, int, int, int]
"""Whether the account has purchases, the span, the group of rows in it, and the number of the variant."""


class FixedRateActivity:
    """The postings of all accounts, ``per_mille`` in a thousand days."""

    def __init__(self, seed: Seed, drift: Drift, rates: BankRates, per_mille: int) -> None:
        self._seed = seed
        self._drift = drift
        self._rates = rates
        # At a rate of 0, all times lie outside of the calendar.
        self._step = DAY_MS * 1_000 // per_mille if per_mille else DAY_MS**2
        self.days = max(_ROWS_PER_SPAN * 1_000 // max(per_mille, 1), 1)
        self._text = lru_cache(maxsize=_CACHED_TEXTS)(self._encode)
        self._postings = lru_cache(maxsize=_CACHED_GROUPS)(self._generate)
        self._account_part = lru_cache(maxsize=_CACHED_ACCOUNTS)(
            lambda account: seed.letters(_HALF_ID, "rows", account.origin_id)
        )

    def forget(self) -> None:
        """Forget the cached postings, after the rates have changed."""
        self._text.cache_clear()
        self._postings.cache_clear()

    def block(self, account: Account, span: int) -> RowBlock:
        """Return the final rows that are dated in a span. Only if no rates move rows."""
        times, variant_of = self._posting_times(span), self._variants(account, span)
        account_part, shared_fields = self._account_part(account), self._drift.shared_fields(account)

        def encode_group(number: int, first: int, last: int) -> bytes:
            text = slice_group(self._text(account.currency.digits, variant_of(number)), first, last)
            return text.replace(_ACCOUNT_PART, account_part).replace(_SHARED_FIELDS, shared_fields)

        first = bisect_left(times, day_start(account.opened.toordinal()))
        return RowBlock(times, encode_group, first, len(times))

    def postings_between(self, account: Account, first: int, last: int) -> Iterator[Posting]:
        """Return at least the postings that are dated on these days, pending or posted."""
        begin = day_start(max(first, account.opened.toordinal()))
        end = day_start(last + MAX_PENDING_DAYS + 1)
        placeholder, account_part = _ACCOUNT_PART.decode(), self._account_part(account).decode()
        for span in range(first // self.days, (last + MAX_PENDING_DAYS) // self.days + 1):
            times, variant_of = self._posting_times(span), self._variants(account, span)
            for index in range(bisect_left(times, begin), bisect_left(times, end)):
                group, row = divmod(index, ROWS_PER_GROUP)
                posting = self._postings(variant_of(group))[row]
                pending_id = posting.pending_id and posting.pending_id.replace(placeholder, account_part)
                yield posting._replace(
                    id=posting.id.replace(placeholder, account_part), pending_id=pending_id
                )

    def _posting_times(self, span: int) -> range:
        """Return the times at which the rows of a span are posted."""
        begin, end = day_start(span * self.days), day_start((span + 1) * self.days)
        return range(-(-begin // self._step) * self._step, end, self._step)

    def _variants(self, account: Account, span: int) -> Callable[[int], _GroupVariant]:
        """Return the function that selects the variant of each group of a span."""
        has_purchases = account.kind in {Kind.CHECKING, Kind.CREDIT}
        groups = len(self._posting_times(span)) // ROWS_PER_GROUP + 1

        @cache
        def numbers() -> bytes:
            return self._seed.digest(groups, "variants", account.origin_id, span)

        return lambda group: (has_purchases, span, group, numbers()[group] % _VARIANTS)

    def _encode(self, digits: int, variant: _GroupVariant) -> bytes:
        rows = [row for each in self._postings(variant) if (row := each.final()) is not None]
        return encode_rows(rows, digits, _SHARED_FIELDS)

    def _generate(self, variant: _GroupVariant) -> list[Posting]:
        has_purchases, span, group, _ = variant
        first = group * ROWS_PER_GROUP
        times = self._posting_times(span)[first : first + ROWS_PER_GROUP]
        names = self._seed.letters(len(times) * ID_LENGTH, "names", *variant).decode()
        pool = self._seed.digest(len(times) * _DRAW_BYTES, "draws", *variant)
        numbers = _draw_numbers(self._seed, len(times), "lives", *variant)
        account_part, postings = _ACCOUNT_PART.decode(), []
        for index, time in enumerate(times):
            draws = RandomDraws(pool[index * _DRAW_BYTES : (index + 1) * _DRAW_BYTES])
            if draws.below(4) and has_purchases:
                cents, merchant, category = _draw_purchase(draws)
                texts, pending_days = (merchant, category, "card"), draws.between(1, 3)
            else:
                texts, pending_days = (draws.pick(CUSTOMERS), "Revenue", "credit"), 0
                cents = draws.between(18_000, 640_000)
            name = names[index * ID_LENGTH : (index + 1) * ID_LENGTH]
            row_id = account_part + name[:_HALF_ID]
            pending_id = account_part + name[_HALF_ID:] if pending_days else None
            reference, day = f"REF{time // self._step:05d}", day_of(time) - pending_days
            appears_at = time - pending_days * DAY_MS
            lives = self._rates.lives_on(day)
            life, extra = lives.common(numbers[index]), lives.other_fields(texts[0])
            posting = Posting(
                row_id,
                pending_id,
                cents,
                *texts,
                reference,
                day,
                appears_at,
                time,
                first + index,
                life,
                extra,
            )
            posting = lives.apply(posting, numbers[index])
            if posting.posts_at == NEVER == posting.life.vanishes_at:
                # Its pending row takes the place of a posted one. So each group keeps its rows, in order.
                posting = posting._replace(day=day_of(time), appears_at=time)
            postings.append(posting)
        return postings
