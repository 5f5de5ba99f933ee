"""Transactions in the numbers that a benchmark wants: so many a day, spread evenly over time.

Of every group of rows a few variants are written once, for all accounts. An account chooses among them, group by group,
and makes them its own by its part of the ids and by what all its rows share. So a row that nobody has read before costs
little more than its bytes, and none is kept.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_banksync.sandbox.habits import income, purchase
from airflow_provider_banksync.sandbox.model import Kind
from airflow_provider_banksync.sandbox.movement import DAY_MS, LONGEST_PENDING, Movement, day_of, day_start
from airflow_provider_banksync.sandbox.seed import ID_LENGTH
from airflow_provider_banksync.sandbox.stretch import GROUP, Block, some
from airflow_provider_banksync.sandbox.transactions import row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_banksync.sandbox.model import Account
    from airflow_provider_banksync.sandbox.seed import Seed
    from airflow_provider_banksync.sandbox.transactions import TransactionWriter

_ROWS = 256
"""About as many are in a span."""
_VARIANTS = 4
_DRAW_BYTES = 16
_HALF = ID_LENGTH // 2
"""Letters of an id that are the account's; the others are the row's."""
_MINE, _REST = b"\1", b"\2"
"""Stand for the account's part of an id and for what all its rows share. JSON never holds them as they are."""
_TEXTS_KEPT = 2_048
"""About 8 kB each. Three years with one transaction a day have some 1,200."""
_MOVEMENTS_KEPT = 512
_ACCOUNTS_KEPT = 1_024


class _Variant(NamedTuple):
    """Names a variant of a group."""

    spends: bool
    """Whether somebody pays by card."""
    span: int
    number: int
    """Of the group, in its span."""
    choice: int


class Density:
    """The transactions of all accounts, ``per_mille`` in a thousand days."""

    def __init__(self, seed: Seed, writer: TransactionWriter, per_mille: int) -> None:
        self._seed = seed
        self._writer = writer
        # Where none is wanted, one comes long before all accounts, and the next after all time.
        self._step = DAY_MS * 1_000 // per_mille if per_mille else DAY_MS**2
        self.days = max(_ROWS * 1_000 // max(per_mille, 1), 1)
        self._text = lru_cache(maxsize=_TEXTS_KEPT)(self._write)
        self._movements = lru_cache(maxsize=_MOVEMENTS_KEPT)(self._compute)
        self._mine = lru_cache(maxsize=_ACCOUNTS_KEPT)(self._name)

    def block(self, account: Account, span: int) -> Block:
        """Give the rows that are dated in a span once all has settled."""
        sinces, choose = self._sinces(span), self._chooser(account, span)
        mine, rest = self._mine(account), self._writer.rest(account)

        def group(number: int, first: int, last: int) -> bytes:
            text = some(self._text(account.currency.digits, choose(number)), first, last)
            return text.replace(_MINE, mine).replace(_REST, rest)

        return Block(sinces, bisect_left(sinces, day_start(account.opened.toordinal())), group)

    def around(self, account: Account, first: int, last: int) -> Iterator[Movement]:
        """Give all movements that are dated on these days, pending or settled: they settle then or soon after."""
        begin, end = day_start(max(first, account.opened.toordinal())), day_start(last + LONGEST_PENDING + 1)
        own, mine = _MINE.decode(), self._mine(account).decode()
        for span in range(first // self.days, (last + LONGEST_PENDING) // self.days + 1):
            sinces, choose = self._sinces(span), self._chooser(account, span)
            for place in range(bisect_left(sinces, begin), bisect_left(sinces, end)):
                movement = self._movements(choose(place // GROUP))[place % GROUP]
                former = movement.pending_id
                yield movement._replace(
                    id=movement.id.replace(own, mine),
                    pending_id=None if former is None else former.replace(own, mine),
                )

    def count(self, account: Account, first: int, last: int) -> int:
        """Count the rows that are dated on these days once all has settled."""
        begin, end = day_start(max(first, account.opened.toordinal())), day_start(last + 1)
        return max(-(-end // self._step) - -(-begin // self._step), 0)

    def _sinces(self, span: int) -> range:
        """Give the moments at which the rows of a span are dated."""
        begin, end = day_start(span * self.days), day_start((span + 1) * self.days)
        return range(-(-begin // self._step) * self._step, end, self._step)

    def _chooser(self, account: Account, span: int) -> Callable[[int], _Variant]:
        """Give what chooses a variant for each group of a span."""
        spends = account.kind in {Kind.CHECKING, Kind.CREDIT}
        choices = self._seed.digest(len(self._sinces(span)) // GROUP + 1, "variants", account.id, span)
        return lambda number: _Variant(spends, span, number, choices[number] % _VARIANTS)

    def _name(self, account: Account) -> bytes:
        return self._seed.letters(_HALF, "rows", account.id)

    def _write(self, digits: int, variant: _Variant) -> bytes:
        return b"".join([row(each.settled(), digits, _REST) for each in self._movements(variant)])

    def _compute(self, variant: _Variant) -> list[Movement]:
        first = variant.number * GROUP
        sinces = self._sinces(variant.span)[first : first + GROUP]
        names = self._seed.letters(len(sinces) * 2 * _HALF, "names", *variant).decode()
        draws = self._seed.digest(len(sinces) * _DRAW_BYTES, "draws", *variant)
        own, make = _MINE.decode(), purchase if variant.spends else income
        movements = []
        for place, since in enumerate(sinces):
            drawn, sort = divmod(
                int.from_bytes(draws[place * _DRAW_BYTES : (place + 1) * _DRAW_BYTES], "big"), 4
            )
            cents, description, category, kind, _, seconds = make(drawn) if sort else income(drawn)
            pending, half = seconds // 86_400, place * 2 * _HALF
            movements.append(
                Movement(
                    own + names[half : half + _HALF],
                    own + names[half + _HALF : half + 2 * _HALF] if pending else None,
                    cents,
                    description,
                    category,
                    kind,
                    f"REF{since // self._step:05d}",
                    day_of(since) - pending,
                    since - pending * DAY_MS,
                    since if pending else None,
                    first + place,
                )
            )
        return movements
