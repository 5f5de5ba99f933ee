"""What a ledger needs of a table, and what it gives to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from airflow_provider_banksync.api.redaction import counted
from airflow_provider_banksync.extract.partition import RETRYABLE, Unavailable
from airflow_provider_banksync.ledger.changes import (
    Changes,
    compute_changes,
    concat,
    count_posted,
    no_changes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date, datetime

    import pyarrow as pa

    from airflow_provider_banksync.extract.partition import Partition
    from airflow_provider_banksync.ledger.changes import Truth
    from airflow_provider_banksync.ledger.columns import Columns

PartitionKey = tuple[str, str, str]

#: If an account has lost more posted rows than this, and more than a tenth, the answer may be incomplete.
_MAX_LOST = 3


class LedgerError(Exception):
    """The table cannot be used, or was changed by another task at the same time.

    :param permanent: no retry helps.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True)
class Part:
    """What a run has read of one account, or of one workspace of a listing.

    :param rows: with the schema of the table, each key once.
    :param truth: the days for which `rows` is complete. None: rows are only inserted and updated.
    :param read_at: when the read began.
    :param cursor: where the next read of late rows continues.
    :param from_date: the first day of the account's first read; None: where the API begins.
    :param is_piece: more rows of the same read follow, so the state of the account is not written yet.
    :param may_shrink: `rows` may be much fewer than the table has.
    """

    partition: Partition
    rows: pa.Table
    truth: Truth | None
    read_at: datetime
    cursor: str | None = None
    from_date: date | None = None
    is_piece: bool = False
    may_shrink: bool = False

    @property
    def key(self) -> PartitionKey:
        """The ids of the workspace, the bank and the account."""
        return self.partition.key

    def owner(self, columns: Columns) -> tuple[str, ...]:
        """Return the ids in the columns `Columns.owner`."""
        return self.key[::2] if columns.is_account_data else self.key[:1]


@dataclass(frozen=True)
class PartState:
    """What the table knows of an account, or of a workspace of a listing.

    :param read_at: when the last read that is in the table began.
    :param from_date: the first day of the first read; None: where the API begins.
    :param family: the id of the parent workspace, or of the single one.
    """

    partition: Partition
    read_at: datetime
    cursor: str | None
    from_date: date | None
    family: str
    resource: str


@dataclass
class Counts:
    """What a run has changed."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    workspaces: set[str] = field(default_factory=set)

    def add(self, changes: Changes) -> None:
        """Add changes that are in the table."""
        self.inserted += changes.inserted
        self.updated += changes.updated
        self.deleted += changes.deleted
        self.workspaces.update(owner[0] for owner in changes.owners())

    def merge(self, other: Counts) -> None:
        """Add the counts of other parts."""
        self.inserted += other.inserted
        self.updated += other.updated
        self.deleted += other.deleted
        self.workspaces |= other.workspaces


class LedgerTable(Protocol):
    """A table, and the state of each account in it.

    `apply` is called from several threads, but never from two at once.
    """

    columns: Columns
    #: For logs and results. Without secrets.
    name: str

    def open(self) -> list[PartState]:
        """Check the table, if it exists, and return what it knows. Changes nothing.

        :raises LedgerError: if it is not such a table.
        """

    def apply(self, parts: Sequence[Part], rules: Rules) -> Applied:
        """Change the table so that it equals the parts. A part that is older than what the table has is left out.

        Either all changes of a workspace are visible, or none.
        """

    def rows_of(self, partition: Partition) -> pa.Table:
        """Return all rows of an account."""

    def version(self) -> int | None:
        """Return the version of the table; None if it has none."""


@dataclass(frozen=True)
class Rules:
    """How parts become changes.

    :param resource: what the table has.
    :param family: the id of the parent workspace, or of the single one.
    :param now: the time of the run, for ``changed_at``.
    :param allow_shrink: accept an answer with much fewer posted rows than the table has.
    """

    resource: str
    family: str
    now: datetime
    allow_shrink: bool = False


@dataclass
class Applied:
    """What `LedgerTable.apply` has done.

    :param unavailable: parts that are not in the table, because they lack too many rows.
    """

    counts: Counts = field(default_factory=Counts)
    unavailable: list[Unavailable] = field(default_factory=list)


@dataclass
class Computed:
    """What a table needs to equal some parts.

    :param parts: those that the changes are of.
    :param unavailable: the parts that lack too many rows. The changes leave them out.
    """

    changes: Changes
    parts: list[Part]
    unavailable: list[Unavailable]


def compute_parts(
    parts: Iterable[Part], read: Callable[[Sequence[Part]], pa.Table], columns: Columns, rules: Rules
) -> Computed:
    """Return the changes of all parts.

    :param read: returns the rows of the table for some parts with the same truth: those of the days of the truth, and
        those whose key a part has.
    """
    computed = Computed(no_changes(columns.schema), [], [])
    ordered = sorted(parts, key=_truth_order)
    for truth, group in groupby(ordered, key=lambda part: part.truth):
        some = list(group)
        existing = read(some)
        if truth is not None and not columns.is_daily and not rules.allow_shrink:
            shrunken = _find_shrunken(some, existing, truth, columns)
            computed.unavailable += shrunken
            lost = {each.partition.key for each in shrunken}
            if lost:
                some = [part for part in some if part.key not in lost]
                existing = read(some)
        incoming = concat([part.rows for part in some], columns.schema)
        changes = compute_changes(
            existing, incoming, truth, key=columns.primary_key, day=columns.day, now=rules.now
        )
        computed.changes += changes
        computed.parts += some
    return computed


def _truth_order(part: Part) -> tuple[bool, str, str]:
    truth = part.truth
    return truth is None, str(truth and truth.first), str(truth and truth.last)


def _find_shrunken(
    parts: Sequence[Part], existing: pa.Table, truth: Truth, columns: Columns
) -> list[Unavailable]:
    """Return the parts that have much fewer posted rows than the table."""
    had = count_posted(existing, truth, columns.day, columns.owner)
    shrunken = []
    for part in parts:
        owner = part.owner(columns)
        before = had.get(owner, 0)
        if before > _MAX_LOST and not part.may_shrink:
            has = count_posted(part.rows, truth, columns.day, columns.owner).get(owner, 0)
            if before - has > _MAX_LOST and (before - has) * 10 > before:
                shrunken.append(_shrunken(part, before, has))
    return shrunken


def _shrunken(part: Part, had: int, has: int) -> Unavailable:
    return Unavailable(
        part.partition,
        RETRYABLE,
        f"the table has {counted(had, 'row')} of it for the days that were read, and the API sends {has}. The answer "
        "may be incomplete, so the table keeps its rows. If it is right, run this task once with allow_shrink=True.",
    )
