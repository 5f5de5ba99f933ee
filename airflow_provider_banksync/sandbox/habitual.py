"""The transactions of a small business: what accounts are used for, day by day.

A card purchase appears as pending, vanishes one to three days later and comes back settled: under a new id, dated the
day it settled, naming the id it had. Everything else is settled from the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.habits import PATTERNS, Draft
from airflow_provider_banksync.sandbox.movement import (
    DAY_MS,
    LONGEST_PENDING,
    Movement,
    day_start,
)
from airflow_provider_banksync.sandbox.seed import ID_LENGTH, Dice
from airflow_provider_banksync.sandbox.stretch import GROUP, Block, Spans, some

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.model import Account
    from airflow_provider_banksync.sandbox.seed import Seed
    from airflow_provider_banksync.sandbox.transactions import TransactionWriter

_FIRST_MS = 6 * 3_600_000
"""Nothing appears before six in the morning."""
_DAY_BYTES = 96


class Habits:
    """The transactions of all accounts, by the kind of account."""

    days = 28
    """Computed at once: one by one, the hashing of each would cost more than its rows."""

    def __init__(self, seed: Seed, writer: TransactionWriter) -> None:
        self._seed = seed
        self._writer = writer
        self._movements: Spans[list[Movement]] = Spans()
        self._blocks: Spans[Block] = Spans()

    def block(self, account: Account, span: int) -> Block:
        """Give the rows that are dated in a span once all has settled."""
        found = self._blocks.get(account, span)
        if found is None:
            made = self._settle(account, span)
            found = self._blocks.keep(account, span, made, len(made.sinces))
        return found

    def around(self, account: Account, first: int, last: int) -> Iterator[Movement]:
        """Give all movements that are dated on these days, pending or settled: they appeared then or shortly before."""
        first = max(first - LONGEST_PENDING, account.opened.toordinal())
        for span in range(first // self.days, last // self.days + 1):
            yield from self._span(account, span)

    def count(self, account: Account, first: int, last: int) -> int:
        """Count the rows that are dated on these days once all has settled."""
        if last < first:
            return 0
        begin, end = day_start(first), day_start(last + 1)
        return sum(
            begin <= (each.settles or each.appears) < end for each in self.around(account, first, last)
        )

    def _settle(self, account: Account, span: int) -> Block:
        begin = day_start(span * self.days)
        end = begin + self.days * DAY_MS
        # What is dated in this span was seen first in it or in the one before.
        movements = (*self._span(account, span - 1), *self._span(account, span))
        sightings = sorted(
            each.settled() for each in movements if begin <= (each.settles or each.appears) < end
        )
        groups: dict[int, bytes] = {}

        # Rows that are only counted are never written.
        def group(number: int, first: int, last: int) -> bytes:
            found = groups.get(number)
            if found is None:
                rows = sightings[number * GROUP : (number + 1) * GROUP]
                found = groups[number] = b"".join(self._writer.write(account, rows))
            return some(found, first, last)

        return Block([each.since for each in sightings], 0, group)

    def _span(self, account: Account, span: int) -> list[Movement]:
        """Give the movements that first appear in a span."""
        found = self._movements.get(account, span)
        if found is None:
            made = list(self._compute(account, span))
            found = self._movements.keep(account, span, made, len(made))
        return found

    def _compute(self, account: Account, span: int) -> Iterator[Movement]:
        days = range(span * self.days, (span + 1) * self.days)
        drafts = self._drafts(account, days)
        ids = self._seed.letters(
            sum(map(len, drafts)) * ID_LENGTH * 2, "ids", account.id, days.start
        ).decode()
        place = 0
        for day, drafted in zip(days, drafts, strict=True):
            begin = day_start(day) + _FIRST_MS
            for order, draft in enumerate(drafted):
                appears = begin + draft.second * 1000
                is_card = draft.type == "card"
                half = place + ID_LENGTH
                yield Movement(
                    ids[place:half],
                    ids[half : half + ID_LENGTH] if is_card else None,
                    account.currency.units(draft.cents),
                    draft.description,
                    draft.category,
                    draft.type,
                    f"REF{day}{order:03d}",
                    day,
                    appears,
                    appears + draft.pending_seconds * 1000 if is_card else None,
                    order,
                )
                place = half + ID_LENGTH

    def _drafts(self, account: Account, days: range) -> list[list[Draft]]:
        """Draft what each day brings."""
        opened = account.opened.toordinal()
        habits, pattern = self._seed.dice("habits", account.id), PATTERNS[account.kind]
        pool = self._seed.digest(len(days) * _DAY_BYTES, "days", account.id, days.start)
        drafts: list[list[Draft]] = []
        for start, day in zip(range(0, len(pool), _DAY_BYTES), days, strict=True):
            dice = Dice(int.from_bytes(pool[start : start + _DAY_BYTES], "big"))
            drafts.append([] if day < opened else list(pattern(habits.copy(), dice, day)))
        return drafts
