"""Whether the rows of an account explain its balances: pure functions over the rows of one account and currency.

A balance minus the sum of the rows before it is the account's opening amount. If all rows are there, every balance
gives the same opening amount. If it changes from one balance to the next, the rows between them do not explain the
balances.

Which rows a balance contains is not known exactly. A transaction has a day but no time, so a row of the day of a
balance may be on either side of it. A row that comes late may have been in the balance before, or not. So each balance
has several possible opening amounts, and a difference is reported only if no choice explains the balances:

1. the rows that the table had when the balance was read,
2. those, and all of earlier days,
3. those that had come with the next run, that had their last form, all of the day, or none of the day,
4. if at most `MAX_UNCERTAIN` rows are uncertain, every choice of them.

If a later balance takes a difference back, it is not reported: it was a row that the bank counted on another day.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

_ZERO = Decimal(0)
#: Up to this many uncertain rows at one balance, every choice of them is tried: 1,024 choices. With more, some choice
#: would explain almost any amount.
MAX_UNCERTAIN = 10
#: The simplest explanation costs least. It costs something if the opening amount changes (less if it changes later), if
#: a balance stays unexplained between others that agree, and if a choice of rows is less likely. A single balance that
#: agrees with none is left out. Two that agree with each other are not.
_CHANGE, _UNEXPLAINED = 2_000_000_000, 1_500_000_000
_AS_READ, _OTHER, _CHOICE = 0, 10_000, 20_000


class PostedRow(NamedTuple):
    """A posted transaction.

    :param day: its date.
    :param seen_at: when it came into the table.
    :param changed_at: when it changed last in the table. Until then it may have been pending.
    """

    day: date
    amount: Decimal
    seen_at: datetime
    changed_at: datetime


class Balance(NamedTuple):
    """A balance of an account.

    :param day: the day that it is of.
    :param read_at: when it was read from the API.
    """

    day: date
    amount: Decimal
    read_at: datetime


class Span(NamedTuple):
    """Two balances, and what the rows between them sum to."""

    before: Balance
    after: Balance
    sum_of_rows: Decimal
    #: What the rows do not explain, in the direction of the balance.
    difference: Decimal


@dataclass(frozen=True)
class Explanation:
    """How the rows explain the balances.

    :param span: without differences, the first balance and the last one that is explained. Otherwise
        the balance before the first difference and the one after the last.
    :param differences: the spans of consecutive explained balances in which an unexplained amount arises.
    """

    span: Span
    differences: tuple[Span, ...]


class _Visit(NamedTuple):
    """A balance that an opening amount explains. A path of them is a linked list, the newest first."""

    before: _Visit | None
    number: int
    opening: Decimal
    rows: Decimal


#: Each possible opening amount of a balance, with how likely it is, and the sum of the rows before the balance.
_Options = dict[Decimal, tuple[int, Decimal]]


def explain_balances(
    balances: Sequence[Balance],
    rows: Sequence[PostedRow],
    *,
    last_day: date,
    runs: Sequence[datetime] = (),
    tolerance: Decimal = _ZERO,
    sign: int = 1,
) -> Explanation | None:
    """Return how the rows explain the balances; None if there are no two balances up to `last_day`.

    :param balances: of one account and currency, at most one for each day, sorted by day.
    :param rows: its posted rows: all since the first balance. Older ones do not matter, if they were in the table when
        the first balance was read.
    :param last_day: the days after it are open. Their balances can explain a difference, but cause none.
    :param runs: when runs wrote the table, sorted.
    :param tolerance: up to which a difference counts as none.
    :param sign: -1 for a liability whose balance grows with each purchase.
    """
    closed = sum(each.day <= last_day for each in balances)
    if closed < 2:
        return None
    sums = _Sums(rows, runs)
    segments: list[list[_Visit]] = []
    for choices in (False, True):
        options = [_options(each, sums, sign, choices=choices) for each in balances]
        segments = _without_loops(_simplest_path(options[:closed], tolerance), tolerance)
        for index in range(closed, len(balances)):
            _take_back(segments, index, options[index], tolerance)
        if len(segments) == 1:
            break
    return _explanation(balances, segments, sign=sign, tolerance=tolerance)


class _Sums:
    """Sums of rows, by day and by when they came."""

    def __init__(self, rows: Sequence[PostedRow], runs: Sequence[datetime]) -> None:
        self.by_day = sorted(rows, key=itemgetter(0))
        self.runs = runs
        self._days = [row.day for row in self.by_day]
        self._day_sums = _sums(row.amount for row in self.by_day)
        seen = sorted(rows, key=itemgetter(2))
        self._seen, self._seen_sums = [row.seen_at for row in seen], _sums(row.amount for row in seen)
        changed = sorted(rows, key=itemgetter(3))
        self._changed = [row.changed_at for row in changed]
        self._changed_sums = _sums(row.amount for row in changed)

    def before(self, day: date) -> Decimal:
        """Return the sum of the rows of earlier days."""
        return self._day_sums[bisect_left(self._days, day)]

    def of(self, day: date) -> list[PostedRow]:
        """Return the rows of a day."""
        return self.by_day[bisect_left(self._days, day) : bisect_right(self._days, day)]

    def seen(self, moment: datetime) -> Decimal:
        """Return the sum of the rows that the table had at a time."""
        return self._seen_sums[bisect_right(self._seen, moment)]

    def changed(self, moment: datetime) -> Decimal:
        """Return the sum of the rows that the table had in their last form at a time."""
        return self._changed_sums[bisect_right(self._changed, moment)]

    def next_run(self, moment: datetime) -> datetime:
        """Return when the next run after a time wrote the table."""
        at = bisect_right(self.runs, moment)
        return self.runs[at] if at < len(self.runs) else moment


def _sums(amounts: Iterable[Decimal]) -> list[Decimal]:
    return list(accumulate(amounts, initial=_ZERO))


def _options(balance: Balance, sums: _Sums, sign: int, *, choices: bool) -> _Options:
    """Return the possible opening amounts of a balance."""
    before, of_day = sums.before(balance.day), sums.of(balance.day)
    seen_of_day = sum((row.amount for row in of_day if row.seen_at <= balance.read_at), _ZERO)
    base = before + seen_of_day
    found: _Options = {}

    def add(rows: Decimal, rank: int) -> None:
        opening = balance.amount - sign * rows
        if opening not in found or rank < found[opening][0]:
            found[opening] = rank, rows

    add(sums.seen(balance.read_at), _AS_READ)
    add(base, _AS_READ)
    for rows in (
        sums.seen(sums.next_run(balance.read_at)),
        sums.changed(balance.read_at),
        before + sum((row.amount for row in of_day), _ZERO),
        before,
    ):
        add(rows, _OTHER)
    if choices:
        for rows in _choices(base, _uncertain(balance, sums)):
            add(rows, _CHOICE)
    return found


def _uncertain(balance: Balance, sums: _Sums) -> list[Decimal]:
    """Return what each uncertain row adds to the sum of `_options`, if it is moved to the other side of the balance."""
    moved = []
    for row in sums.by_day:
        was_seen = row.seen_at <= balance.read_at
        is_in = row.day < balance.day or (row.day == balance.day and was_seen)
        is_certain = (
            is_in is was_seen and row.day != balance.day and was_seen is (row.changed_at <= balance.read_at)
        )
        if row.amount and not is_certain:
            moved.append(-row.amount if is_in else row.amount)
    return moved


def _choices(base: Decimal, moved: Sequence[Decimal]) -> set[Decimal]:
    found = {base}
    if len(moved) <= MAX_UNCERTAIN:
        for amount in moved:
            found |= {each + amount for each in found}
    return found


def _simplest_path(options: Sequence[_Options], tolerance: Decimal) -> list[_Visit]:
    """Return the explained balances of the cheapest explanation. The first and the last balance are explained."""
    paths: dict[Decimal, tuple[int, _Visit]] = {}
    for index, possible in enumerate(options):
        cost, best = min(paths.values(), key=itemgetter(0)) if paths else (-_CHANGE, None)
        following = {
            opening: (cost + _CHANGE - index + rank, _Visit(best, index, opening, rows))
            for opening, (rank, rows) in possible.items()
        }
        sorted_openings = sorted(possible) if tolerance else []
        for opening, (cost, visit) in paths.items():
            near = _nearest(opening, possible, sorted_openings, tolerance)
            if near is None:
                extended = cost + _UNEXPLAINED, visit
            else:
                rank, rows = possible[near]
                extended = cost + rank, _Visit(visit, index, opening, rows)
            if opening not in following or extended[0] <= following[opening][0]:
                following[opening] = extended
        most = min(cost for cost, _ in following.values()) + _CHANGE
        paths = {opening: path for opening, path in following.items() if path[0] <= most + _CHOICE}
    ends = [path for path in paths.values() if path[1].number == len(options) - 1]
    last: _Visit | None = min(ends, key=itemgetter(0))[1]
    visits = []
    while last is not None:
        visits.append(last)
        last = last.before
    return visits[::-1]


def _nearest(
    opening: Decimal, possible: _Options, sorted_openings: Sequence[Decimal], tolerance: Decimal
) -> Decimal | None:
    """Return the possible opening amount that is equal, or nearest within the tolerance."""
    if opening in possible or not tolerance:
        return opening if opening in possible else None
    at = bisect_left(sorted_openings, opening)
    near = min(sorted_openings[max(0, at - 1) : at + 1], key=lambda each: abs(each - opening))
    return near if abs(near - opening) <= tolerance else None


def _without_loops(path: Sequence[_Visit], tolerance: Decimal) -> list[list[_Visit]]:
    """Group a path by opening amount. What returns to an earlier amount is left out."""
    segments: list[list[_Visit]] = []
    for visit in path:
        for at, segment in enumerate(segments):
            if abs(segment[0].opening - visit.opening) <= tolerance:
                del segments[at + 1 :]
                segment.append(visit)
                break
        else:
            segments.append([visit])
    return segments


def _take_back(segments: list[list[_Visit]], index: int, possible: _Options, tolerance: Decimal) -> None:
    """Remove the segments that the balance of an open day takes back."""
    sorted_openings = sorted(possible)
    for at in range(len(segments) - 1, -1, -1):
        opening = segments[at][0].opening
        near = _nearest(opening, possible, sorted_openings, tolerance)
        if near is not None:
            if at < len(segments) - 1:
                del segments[at + 1 :]
                segments[at].append(_Visit(None, index, opening, possible[near][1]))
            return


def _explanation(
    balances: Sequence[Balance], segments: Sequence[Sequence[_Visit]], *, sign: int, tolerance: Decimal
) -> Explanation:
    def span(one: _Visit, other: _Visit) -> Span:
        before, after = balances[one.number], balances[other.number]
        rows = other.rows - one.rows
        return Span(before, after, rows, after.amount - before.amount - sign * rows)

    ends = []
    for one, other in zip(segments, segments[1:]):  # noqa: B905, RUF007 - the last has no next
        # Within the tolerance, the opening amount may have moved before.
        after = other[0]
        before = next(each for each in reversed(one) if abs(span(each, after).difference) > tolerance)
        ends.append((before, after))
    if ends:
        return Explanation(span(ends[0][0], ends[-1][1]), tuple(span(*each) for each in ends))
    return Explanation(span(segments[0][0], segments[0][-1]), ())
