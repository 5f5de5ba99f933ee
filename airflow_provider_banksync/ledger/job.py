"""One run of a ledger: what to read of each account, and when to write it to the table."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from airflow_provider_banksync.ledger.changes import Truth, concat
from airflow_provider_banksync.ledger.linked_again import find_linked_again, move_rows
from airflow_provider_banksync.ledger.sinks import Collected, RowCollector
from airflow_provider_banksync.ledger.table import Counts, LedgerError, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from airflow_provider_banksync.extract.partition import Partition, Unavailable
    from airflow_provider_banksync.ledger.table import LedgerTable, PartitionKey, PartState, Rules

#: Rows that wait for their commit. Workspaces whose accounts are all read are written when they have this many.
BATCH_ROWS = 100_000
#: The first read of a large account is written in pieces of this many rows.
PIECE_ROWS = 50_000


@dataclass(frozen=True)
class LedgerSettings:
    """What a run reads.

    :param day: today, for resources that have one state a day.
    :param window_start: the first day that is read again.
    :param from_date: the first day of the first read; None: where the API begins.
    :param full_refresh: read each account from `from_date` again.
    """

    day: date
    window_start: date
    from_date: date | None = None
    full_refresh: bool = False
    include_pending: bool = True


@dataclass
class LedgerResult:
    """What a run has done, besides the counts of changes."""

    counts: Counts = field(default_factory=Counts)
    unavailable: list[Unavailable] = field(default_factory=list)
    #: What was special about the answers.
    special: Counter[str] = field(default_factory=Counter)
    unfit: Counter[str] = field(default_factory=Counter)
    accounts: int = 0
    rows_read: int = 0


class LedgerJob:
    """One run.

    Call `begin` and `plan`. Read what `late_accounts` returns into `open_late`, then `first_accounts` and
    `known_accounts` into `open`. Call `finish`.
    """

    def __init__(self, table: LedgerTable, settings: LedgerSettings, rules: Rules) -> None:
        self.table = table
        self.settings = settings
        self.rules = rules
        self.result = LedgerResult()
        self._states: dict[PartitionKey, PartState] = {}
        self._partitions: dict[PartitionKey, Partition] = {}
        self._first: set[PartitionKey] = set()
        #: The known account that a new one replaces, by the id of the new one.
        self._replaced: dict[str, Partition] = {}
        self._in_pieces: set[PartitionKey] = set()
        self._late: dict[PartitionKey, Collected] = {}
        self._waiting: dict[str, set[PartitionKey]] = defaultdict(set)
        self._parts: dict[str, list[Part]] = defaultdict(list)
        # Sinks finish in several threads. The table is changed by one of them at a time.
        self._lock = threading.Lock()

    def begin(self, states: Iterable[PartState]) -> None:
        """Take over what the table knows.

        :param states: what `LedgerTable.open` has returned.
        :raises LedgerError: if the table has another resource, or the rows of another family.
        """
        for state in states:
            if state.resource != self.rules.resource:
                raise LedgerError(
                    f"{self.table.name} is a table of {state.resource}, not of {self.rules.resource}. Use another one.",
                    permanent=True,
                )
            if state.family != self.rules.family:
                raise LedgerError(
                    f"{self.table.name} has the rows of workspace {state.family!r} and its portals, but this task "
                    f"reads {self.rules.family!r}. Use another table, or the connection of that workspace.",
                    permanent=True,
                )
            self._states[state.partition.key] = state

    # --- plan ---

    def plan(self, partitions: Iterable[Partition], rekey: Mapping[str, str]) -> None:
        """Set the accounts to read.

        :param rekey: ids of known accounts, each with the id of the account that replaces it.
        """
        accounts = {each.key: each for each in partitions}
        if self.table.columns.is_account_data:
            found, self._replaced = find_linked_again(accounts.values(), self._states.values(), rekey)
            self.result.unavailable += found
            for waiting in found:
                del accounts[waiting.partition.key]
        self._partitions = accounts
        for each in accounts.values():
            self._waiting[each.workspace_id].add(each.key)
        for key in self._partitions:
            if self._is_first(key):
                self._first.add(key)
        self.result.accounts = len(self._partitions)

    def _is_first(self, key: PartitionKey) -> bool:
        state, wanted = self._states.get(key), self.settings.from_date
        if state is None or self.settings.full_refresh:
            return True
        # An earlier from_date than that of the first read asks for more history.
        return state.from_date is not None and (wanted is None or wanted < state.from_date)

    def late_accounts(self) -> list[Partition]:
        """Return the accounts of which an earlier run has a cursor. Their new and changed rows are read first."""
        return [
            partition
            for key, partition in self._partitions.items()
            if key not in self._first and self._states[key].cursor is not None
        ]

    def first_accounts(self) -> list[Partition]:
        """Return the accounts that are read from their first day."""
        return [each for key, each in self._partitions.items() if key in self._first]

    def known_accounts(self) -> list[Partition]:
        """Return the accounts of which the trailing days are read again."""
        return [each for key, each in self._partitions.items() if key not in self._first]

    def cursor_of(self, partition: Partition) -> str | None:
        """Return where the read of late rows continues."""
        state = self._states.get(partition.key)
        return None if state is None else state.cursor

    def drop(self, unavailable: Sequence[Unavailable]) -> None:
        """Leave accounts out that could not be read. Their rows in the table stay."""
        for each in unavailable:
            key = each.partition.key
            self._partitions.pop(key, None)
            self._waiting[key[0]].discard(key)
        self.result.unavailable += unavailable

    def read_from_beginning(self, partitions: Iterable[Partition]) -> None:
        """Read accounts as if no run had read them: the API does not know their cursor any more."""
        self._first.update(each.key for each in partitions)

    # --- read ---

    def open_late(self, partition: Partition) -> RowCollector:
        """Return a sink for the new and changed rows of an account."""
        return self._collector(partition, partial(self._keep_late, partition))

    def open(self, partition: Partition) -> RowCollector:
        """Return a sink for the rows of an account, or of a workspace of a listing."""
        is_replacing = str(partition.account_id) in self._replaced
        if partition.key not in self._first or self.settings.full_refresh or is_replacing:
            return self._collector(partition, self._collect)
        return self._collector(partition, self._collect, flush_rows=PIECE_ROWS, take=self._write_piece)

    def _collector(self, partition: Partition, done: object, **more: object) -> RowCollector:
        return RowCollector(
            partition,
            self.table.columns,
            self.settings.day,
            done,  # type: ignore[arg-type]
            include_pending=self.settings.include_pending,
            **more,  # type: ignore[arg-type]
        )

    def _keep_late(self, partition: Partition, collected: Collected) -> None:
        self._late[partition.key] = collected
        self.result.special.update(collected.counts)

    def _write_piece(self, collected: Collected) -> None:
        """Write some rows of a first read. The state of the account is written with the last of them."""
        part = Part(collected.partition, collected.rows, None, collected.read_at, is_piece=True)
        with self._lock:
            self._in_pieces.add(part.key)
            self._count(collected)
            self._apply([part])

    def _collect(self, collected: Collected) -> None:
        """Keep what was read, and write the workspaces that are complete if they have many rows."""
        with self._lock:
            self._count(collected)
            parts = self._replace(self._part(collected))
            part = parts[-1]
            workspace_id = part.partition.workspace_id
            self._parts[workspace_id] += parts
            self._waiting[workspace_id].discard(part.key)
            ready = [each for each in self._parts if not self._waiting[each]]
            if sum(each.rows.num_rows for one in ready for each in self._parts[one]) >= BATCH_ROWS:
                self._write(ready)

    def _count(self, collected: Collected) -> None:
        self.result.rows_read += collected.rows.num_rows
        self.result.special.update(collected.counts)
        self.result.unfit.update(collected.unfit)

    def _part(self, collected: Collected) -> Part:
        key = collected.partition.key
        truth = self._truth_of(key)
        part = Part(
            collected.partition,
            collected.rows,
            truth,
            collected.read_at,
            collected.cursor,
            self.settings.from_date,
        )
        state = self._states.get(key)
        if state is not None and key not in self._first:
            part = replace(part, cursor=state.cursor, from_date=state.from_date)
        late = self._late.pop(key, None)
        if late is None:
            return part
        # The read of the days came after the read by the cursor. So it is the truth for its days.
        day = late.rows["date"]
        is_late = pc.less(day, self.settings.window_start)
        if self.settings.from_date is not None:
            is_late = pc.and_(is_late, pc.greater_equal(day, self.settings.from_date))
        is_late = pc.fill_null(is_late, True)
        is_late = pc.and_(is_late, pc.invert(pc.is_in(late.rows["id"], value_set=part.rows["id"])))
        rows = concat([part.rows, late.rows.filter(is_late)], part.rows.schema)
        return replace(part, rows=rows, cursor=late.cursor)

    def _replace(self, part: Part) -> list[Part]:
        """Return the parts that make an account take the place of the known one that it replaces, if it does."""
        old = self._replaced.get(str(part.partition.account_id))
        if old is None:
            return [part]
        rows = self.table.rows_of(old)
        moved = replace(part, rows=move_rows(rows, part.rows, part.partition))
        return [Part(old, rows.slice(0, 0), Truth(), part.read_at, is_piece=True, may_shrink=True), moved]

    def _truth_of(self, key: PartitionKey) -> Truth | None:
        columns, settings = self.table.columns, self.settings
        if key in self._in_pieces:  # the earlier pieces are in the table only
            return None
        if columns.is_daily:
            return Truth(settings.day, settings.day)
        if not columns.is_windowed:
            return Truth()
        return Truth(settings.from_date if key in self._first else settings.window_start)

    # --- write ---

    def finish(self) -> LedgerResult:
        """Write what is left, and return what the run has done."""
        with self._lock:
            self._write(list(self._parts))
        return self.result

    def _write(self, workspace_ids: Sequence[str]) -> None:
        parts = [part for each in workspace_ids for part in self._parts.pop(each, [])]
        if parts:
            self._apply(parts)

    def _apply(self, parts: Sequence[Part]) -> None:
        applied = self.table.apply(parts, self.rules)
        self.result.counts.merge(applied.counts)
        self.result.unavailable += applied.unavailable
