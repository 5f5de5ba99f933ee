"""What was added, changed or removed since the sandbox was made, with the moment at which it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


class _Named(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Named)


class Shelf(Generic[T]):
    """The changes to things of one sort: banks, say. What nobody touched is not in it."""

    def __init__(self) -> None:
        self._versions: dict[str, list[tuple[datetime | None, T | None]]] = {}
        self._added: dict[str, list[str]] = {}
        self.changes = 0
        """How many there were so far."""

    def add(self, workspace_id: str, thing: T, now: datetime) -> None:
        """Put a new thing into a workspace."""
        self._versions[thing.id] = [(now, thing)]
        self._added.setdefault(workspace_id, []).append(thing.id)

    def change(self, old: T, new: T | None, now: datetime) -> None:
        """Let a thing be another from now on; None removes it."""
        self.changes += 1
        self._versions.setdefault(old.id, [(None, old)]).append((now, new))

    def added(self, workspace_id: str) -> int:
        """Count the things that were ever added to a workspace."""
        return len(self._added.get(workspace_id, ()))

    def current(self, workspace_id: str, grown: tuple[T, ...]) -> tuple[T, ...]:
        """Give the things of a workspace as they are now: those that grew there, then those that were added."""
        if not self._versions:
            return grown
        latest = [self._versions[each.id][-1][1] if each.id in self._versions else each for each in grown]
        latest += [self._versions[each][-1][1] for each in self._added.get(workspace_id, ())]
        return tuple(each for each in latest if each is not None)

    def history(self, thing: T) -> Iterable[tuple[datetime | None, T | None]]:
        """Give the versions of a thing, oldest first, each with the moment since when; None is "always"."""
        return self._versions.get(thing.id, [(None, thing)])

    def at(self, thing: T, moment: datetime) -> T | None:
        """Give the version of a thing that was in force at a moment; None where it was not there."""
        found: T | None = None
        for since, version in self.history(thing):
            if since is None or since <= moment:
                found = version
        return found
