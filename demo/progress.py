"""How far a run is, read from the states of its task instances."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from demo.airflow_rest import TaskInstance

SYNC_OPERATOR = "BankSyncTriggerSyncOperator"
EXPORT_OPERATOR = "BankSyncToObjectStorageOperator"

DONE = frozenset({"success", "skipped"})
FAILED = frozenset({"failed", "upstream_failed", "removed"})
WAITING = frozenset({"deferred", "up_for_reschedule"})


@dataclass(frozen=True)
class Counts:
    """How many task instances of one kind are where."""

    total: int = 0
    to_start: int = 0
    in_worker: int = 0
    waiting: int = 0
    done: int = 0
    failed: int = 0

    @property
    def started(self) -> int:
        """How many have left the queue at least once."""
        return self.total - self.to_start

    @property
    def ended(self) -> int:
        """How many will not change any more."""
        return self.done + self.failed

    @property
    def complete(self) -> bool:
        """Whether there were any and all of them have ended."""
        return self.total > 0 and self.ended == self.total

    def __str__(self) -> str:
        return (
            f"{self.started}/{self.total} started, {self.waiting} in the triggerer, "
            f"{self.done} done, {self.failed} failed"
        )


def count(tasks: Iterable[TaskInstance]) -> Counts:
    """Count task instances by what they are doing."""
    states = Counter(_place(task) for task in tasks)
    return Counts(total=states.total(), **states)


def _place(task: TaskInstance) -> str:
    for place, states in (("done", DONE), ("failed", FAILED), ("waiting", WAITING)):
        if task.state in states:
            return place
    # one whose trigger has fired and that is about to go on in a worker counts as being there
    return "in_worker" if task.has_started else "to_start"


def syncs(tasks: Iterable[TaskInstance]) -> list[TaskInstance]:
    """Pick the sync tasks, one for each feed; none until the feeds are known."""
    return [task for task in tasks if task.operator == SYNC_OPERATOR and task.map_index >= 0]


def all_listed(tasks: Iterable[TaskInstance]) -> bool:
    """Say whether every feed has its sync task: a mapped task that still awaits its list is one without a number."""
    found = [task for task in tasks if task.operator == SYNC_OPERATOR]
    return bool(found) and all(task.map_index >= 0 or task.state in DONE | FAILED for task in found)


def exports(tasks: Iterable[TaskInstance]) -> list[TaskInstance]:
    """Pick the export tasks, one for each resource."""
    return [task for task in tasks if task.operator == EXPORT_OPERATOR]
