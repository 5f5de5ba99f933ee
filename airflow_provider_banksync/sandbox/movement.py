"""Money that moves in an account, and how it is seen. Days are ordinals, moments milliseconds: there are many."""

from __future__ import annotations

from typing import NamedTuple

DAY_MS = 86_400_000
LONGEST_PENDING = 3
"""Days after which the last purchase of a day has settled."""
EPOCH_DAY = 719_163


def day_start(day: int) -> int:
    """Give the moment at which a day begins."""
    return (day - EPOCH_DAY) * DAY_MS


def day_of(moment: int) -> int:
    """Give the day that a moment lies in."""
    return moment // DAY_MS + EPOCH_DAY


class Movement(NamedTuple):
    """Money going in (positive) or out, in the smallest units of the account's currency."""

    id: str
    pending_id: str | None
    """The id that it had, or has, while it is pending."""
    units: int
    description: str
    category: str
    type: str
    reference: str
    day: int
    appears: int
    settles: int | None
    order: int

    def days(self) -> set[int]:
        """Give the days that it is dated, pending and settled."""
        return {self.day} if self.settles is None else {self.day, day_of(self.settles)}

    def seen(self, now: int) -> Sighting | None:
        """Give it as it is seen at a moment: not yet, pending or settled."""
        if now < self.appears:
            return None
        if self.settles is not None and now < self.settles:
            return Sighting(self.appears, self.order, self.day, True, self)
        return self.settled()

    def settled(self) -> Sighting:
        """Give it as it is seen once it has settled."""
        if self.settles is None:
            return Sighting(self.appears, self.order, self.day, False, self)
        return Sighting(self.settles, self.order, day_of(self.settles), False, self)


class Sighting(NamedTuple):
    """One row as it is seen at a moment. Sorts by when it came to look like that."""

    since: int
    order: int
    day: int
    pending: bool
    movement: Movement


class Moment(NamedTuple):
    """When somebody looked: the time, and which row had been added last by then.

    Where the clock stands still, only the second tells what is new from what was there.
    """

    ms: int
    added: int

    def precedes(self, row: Sighting) -> bool:
        """Say whether the row came to look like that after this moment."""
        return row.since > self.ms or row.order > self.added
