"""The progress of a run, from the states of its task instances."""

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
    """The number of task instances in each state."""

    total: int = 0
    to_start: int = 0
    in_worker: int = 0
    waiting: int = 0
    done: int = 0
    failed: int = 0

    @property
    def started(self) -> int:
        """How many have started."""
        return self.total - self.to_start

    @property
    def ended(self) -> int:
        """How many have ended."""
        return self.done + self.failed

    @property
    def complete(self) -> bool:
        """Whether all have ended, and there is at least one."""
        return self.total > 0 and self.ended == self.total

    def __str__(self) -> str:
        return (
            f"{self.started}/{self.total} started, {self.waiting} in the triggerer, "
            f"{self.done} done, {self.failed} failed"
        )


def count(tasks: Iterable[TaskInstance]) -> Counts:
    """Count task instances by state."""
    states = Counter(_group(task) for task in tasks)
    return Counts(total=states.total(), **states)


def _group(task: TaskInstance) -> str:
    for group, states in (("done", DONE), ("failed", FAILED), ("waiting", WAITING)):
        if task.state in states:
            return group
    # a task whose trigger has fired counts as in a worker
    return "in_worker" if task.has_started else "to_start"


def syncs(tasks: Iterable[TaskInstance]) -> list[TaskInstance]:
    """Return the sync tasks, one for each feed. Empty until the feeds are listed."""
    return [task for task in tasks if task.operator == SYNC_OPERATOR and task.map_index >= 0]


def all_listed(tasks: Iterable[TaskInstance]) -> bool:
    """Return whether every feed has its sync task. A mapped task without an index still waits for its list."""
    found = [task for task in tasks if task.operator == SYNC_OPERATOR]
    return bool(found) and all(task.map_index >= 0 or task.state in DONE | FAILED for task in found)


def exports(tasks: Iterable[TaskInstance]) -> list[TaskInstance]:
    """Return the export tasks, one for each resource."""
    return [task for task in tasks if task.operator == EXPORT_OPERATOR]
