"""A ledger in a Delta Lake table: a folder, or a prefix of an object store.

The library deltalake makes each change atomic, and refuses a change that another task has overtaken. The table has one
partition for each workspace. The folder ``_state`` inside it is a small Delta table with the cursor of each account. It
is written after the rows. So a run that is killed in between repeats work, and loses nothing.
"""

from __future__ import annotations

import random
import time
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    CommitProperties,
    DeltaTable,
    Field,
    PostCommitHookProperties,
    Schema,
    Transaction,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import FileSelector, PyFileSystem

from airflow_provider_banksync.ledger.changes import concat
from airflow_provider_banksync.ledger.columns import ACCOUNT_ID, WORKSPACE_ID
from airflow_provider_banksync.ledger.delta_state import DeltaState, delta_errors
from airflow_provider_banksync.ledger.table import Applied, Computed, LedgerError, Part, compute_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pyarrow.dataset import Dataset

    from airflow_provider_banksync.extract.partition import Partition
    from airflow_provider_banksync.ledger.changes import Changes, Truth
    from airflow_provider_banksync.ledger.columns import Columns
    from airflow_provider_banksync.ledger.table import PartState, Rules

#: A merge holds the target rows of its workspaces in memory, so each merge is about this many of them.
MERGE_ROWS = 100_000
#: How often a change is computed anew, because another task was faster. The pauses add up to about a minute.
MAX_ATTEMPTS = 12
_MAX_PAUSE = 8.0
#: Marks the rows of a merge's source that it deletes.
_DELETE = "_delete"
#: Old versions stay until `vacuum` removes them. Delta Lake's own default is 30 days.
_CONFIGURATION: dict[str, str | None] = {
    "delta.enableChangeDataFeed": "true",
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
}


class DeltaLedger:
    """A `LedgerTable` in a Delta Lake table.

    :param uri: of the table.
    :param storage_options: of the object store, as deltalake takes them.
    """

    def __init__(self, uri: str, columns: Columns, storage_options: Mapping[str, str] | None = None) -> None:
        self.name = uri.rstrip("/")
        self.columns = columns
        self._options = dict(storage_options or {})
        self._state = DeltaState(f"{self.name}/_state", self._options)
        self._table: DeltaTable | None = None

    # --- open ---

    def open(self) -> list[PartState]:
        """Check the table, if it exists, and return the state of each account."""
        with delta_errors(self.name):
            table, states = self._load(), self._state.read()
            if table is not None:
                self._check(table)
            else:
                self._refuse_other_files()
            return states or []

    def _load(self) -> DeltaTable | None:
        """Return the newest version of the table; None if it does not exist."""
        if self._table is not None:
            self._table.update_incremental()
            return self._table
        try:
            self._table = DeltaTable(self.name, storage_options=self._options)
        except TableNotFoundError:
            return None
        return self._table

    def _refuse_other_files(self) -> None:
        """Refuse to create a table among other files."""
        if "://" not in self.name and not Path(self.name).exists():
            return
        files = PyFileSystem(DeltaStorageHandler(self.name, self._options))
        found = files.get_file_info(FileSelector("", allow_not_found=True))
        if found:
            raise LedgerError(
                f"{self.name} is not a Delta table, but has {found[0].path!r}. Use a table_uri without other files.",
                permanent=True,
            )

    def _check(self, table: DeltaTable) -> None:
        found = {each.name: each for each in table.schema().fields}
        wanted = {each.name: each for each in Schema.from_arrow(self.columns.schema).fields}
        unknown = sorted(found.keys() - wanted.keys())
        other = sorted(name for name in found.keys() & wanted.keys() if found[name].type != wanted[name].type)
        lost = sorted(set(self.columns.primary_key) - found.keys())
        for names, problem in (
            (lost, "lacks the columns"),
            (other, "has another type in the columns"),
            (unknown, "has columns that this version does not know"),
        ):
            if names:
                raise LedgerError(
                    f"{self.name} {problem} {', '.join(names)}. So it is not a table of {self.columns.resource} of "
                    "this operator, or its columns were changed. Use another table_uri.",
                    permanent=True,
                )
        if table.metadata().partition_columns != [WORKSPACE_ID]:
            raise LedgerError(
                f"{self.name} is not partitioned by {WORKSPACE_ID}. Use another table_uri.", permanent=True
            )

    def _load_or_create(self) -> DeltaTable:
        table = self._load()
        if table is None:
            DeltaTable.create(
                self.name,
                self.columns.schema,
                mode="ignore",
                partition_by=[WORKSPACE_ID],
                name=f"banksync_{self.columns.resource}",
                configuration=_CONFIGURATION,
                storage_options=self._options,
            )
            table = self._load()
            if table is None:
                raise LedgerError(f"{self.name} does not exist, although it was just created.")
        known = {each.name for each in table.schema().fields}
        new = [
            Field.from_json(each.to_json())
            for each in Schema.from_arrow(self.columns.schema).fields
            if each.name not in known
        ]
        if new:  # a later version of this package has added them
            table.alter.add_columns(new)
        return table

    def version(self) -> int | None:
        """Return the version of the table; None if it does not exist."""
        with delta_errors(self.name):
            table = self._load()
            return None if table is None else table.version()

    def rows_of(self, partition: Partition) -> pa.Table:
        """Return all rows of an account."""
        with delta_errors(self.name):
            table = self._load()
            if table is None:
                return self.columns.schema.empty_table()
            part = Part(partition, self.columns.schema.empty_table(), None, datetime.now(timezone.utc))
            return self._select(table.to_pyarrow_dataset(), [part], _ANY_DAY)

    # --- apply ---

    def apply(self, parts: Sequence[Part], rules: Rules) -> Applied:
        """Change the table so that it equals the parts, in as few commits as memory allows."""
        with delta_errors(self.name):
            applied, left = Applied(), list(parts)
            for attempt in range(MAX_ATTEMPTS):
                table = self._load_or_create()
                computed = self._compute(table, left, rules)
                stale = {part.key for part in self._find_stale(table, computed)}
                if stale:
                    left = [part for part in left if part.key not in stale]
                    computed = self._compute(table, left, rules)
                applied.unavailable = computed.unavailable
                try:
                    for changes in self._chunks(table, computed.changes):
                        self._commit(table, changes, computed.parts)
                        applied.counts.add(changes)
                    self._state.save([part for part in computed.parts if not part.is_piece], rules)
                except CommitFailedError:
                    time.sleep(random.uniform(0, min(_MAX_PAUSE, 0.1 * 2**attempt)))  # noqa: S311
                else:
                    return applied
            raise LedgerError(
                f"other tasks changed {self.name} {MAX_ATTEMPTS} times in a row while this one wrote. Let fewer tasks "
                "write to the table at the same time, for example with a pool."
            )

    def _compute(self, table: DeltaTable, parts: Sequence[Part], rules: Rules) -> Computed:
        dataset = table.to_pyarrow_dataset()
        return compute_parts(parts, partial(self._read, dataset), self.columns, rules)

    def _changed(self, parts: Sequence[Part], changes: Changes) -> list[Part]:
        owners = changes.owners(self.columns.owner)
        return [part for part in parts if part.owner(self.columns) in owners]

    def _find_stale(self, table: DeltaTable, computed: Computed) -> list[Part]:
        """Return the parts with changes of which the table has a later read. Another run has overtaken this one."""

        def is_stale(part: Part) -> bool:
            version = table.transaction_version(_application(part))
            return version is not None and version > _milliseconds(part)

        return [part for part in self._changed(computed.parts, computed.changes) if is_stale(part)]

    def _read(self, dataset: Dataset, parts: Sequence[Part]) -> pa.Table:
        """Return the rows of some parts with the same truth: those of its days, and those whose key a part has."""
        if not parts:
            return self.columns.schema.empty_table()
        truth = parts[0].truth
        days = _days_filter(truth, self.columns)
        rows = self._select(dataset, parts, days)
        if not self.columns.is_windowed or (truth is not None and truth.is_everything):
            return rows
        key = self.columns.key
        keys = concat(
            [part.rows.select([key]) for part in parts], pa.schema([self.columns.schema.field(key)])
        )
        missing = keys[key].filter(pc.invert(pc.is_in(keys[key], value_set=rows[key]))).combine_chunks()
        # A row whose day has changed is in the table under its old day. Most keys are new, so a look at the keys is
        # enough.
        names = [*self.columns.owner, key]
        if not len(missing) or not self._select(dataset, parts, _ANY_DAY, missing, names).num_rows:
            return rows
        others = self._select(dataset, parts, _ANY_DAY, missing)
        return concat([rows, others], self.columns.schema)

    def _select(
        self,
        dataset: Dataset,
        parts: Sequence[Part],
        days: pc.Expression | None,
        keys: pa.Array | None = None,
        names: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the rows of the accounts or workspaces of the parts.

        :param days: the condition of the rows' days. None: no row.
        :param keys: return only rows with these keys.
        :param names: the columns to read; None: all.
        """
        names = names or self.columns.schema.names
        schema = pa.schema([self.columns.schema.field(name) for name in names])
        if days is None:
            return schema.empty_table()
        wanted = {self.columns.key: keys} if keys is not None else {}
        if self.columns.is_account_data:
            accounts = sorted({str(part.partition.account_id) for part in parts})
            wanted[ACCOUNT_ID] = pa.array(accounts, pa.string())
        workspaces = pa.array(sorted({part.partition.workspace_id for part in parts}), pa.string())
        condition = pc.field(WORKSPACE_ID).isin(workspaces) & days
        # pyarrow cannot compare texts with the statistics that deltalake gives it, except those of a partition. So
        # other columns of text are compared here.
        found = []
        for batch in dataset.to_batches(columns=list(names), filter=condition):
            rows = pa.Table.from_batches([batch]).cast(schema)
            for name, values in wanted.items():
                rows = rows.filter(pc.is_in(rows[name], value_set=values))
            found.append(rows)
        return concat(found, schema)

    def _chunks(self, table: DeltaTable, changes: Changes) -> Iterator[Changes]:
        """Split the changes by workspaces, so that each part has about `MERGE_ROWS` rows in the table."""
        if not changes:
            return
        sizes = _rows_of_workspaces(table)
        ids = sorted(owner[0] for owner in changes.owners())
        if sum(sizes.get(each, 0) for each in ids) <= MERGE_ROWS:
            yield changes
            return
        chunk: list[str] = []
        rows = 0
        for each in ids:
            if chunk and rows + sizes.get(each, 0) > MERGE_ROWS:
                yield changes.of_workspaces(chunk)
                chunk, rows = [], 0
            chunk.append(each)
            rows += sizes.get(each, 0)
        yield changes.of_workspaces(chunk)

    def _commit(self, table: DeltaTable, changes: Changes, parts: Sequence[Part]) -> None:
        """Write one commit. Delta Lake refuses it if another task has committed one of these accounts meanwhile.

        :param parts: those of the changes, and perhaps others.
        """
        ids = sorted(owner[0] for owner in changes.owners())
        upserts, deletes = changes.upserts, changes.deletes
        properties = CommitProperties(
            app_transactions=[
                Transaction(_application(part), _milliseconds(part)) for part in self._changed(parts, changes)
            ],
            custom_metadata={
                "rows_inserted": str(changes.inserted),
                "rows_updated": str(changes.updated),
                "rows_deleted": str(changes.deleted),
            },
        )
        hooks = PostCommitHookProperties(cleanup_expired_logs=False)
        if not changes.updated and not changes.deleted:
            write_deltalake(
                table, upserts, mode="append", commit_properties=properties, post_commithook_properties=hooks
            )
            return
        source = pa.concat_tables(
            rows.append_column(_DELETE, pa.repeat(pa.scalar(is_delete), rows.num_rows))
            for rows, is_delete in ((upserts, False), (deletes, True))
        )
        columns = {f"`{name}`": f"s.`{name}`" for name in self.columns.schema.names}
        (
            table.merge(
                source,
                self._merge_condition(ids),
                source_alias="s",
                target_alias="t",
                commit_properties=properties,
                post_commithook_properties=hooks,
            )
            .when_matched_delete(f"s.{_DELETE}")
            .when_matched_update(columns)
            .when_not_matched_insert(columns, f"NOT s.{_DELETE}")
            .execute()
        )

    def _merge_condition(self, ids: Sequence[str]) -> str:
        """Return the condition of a merge. Its literals let Delta Lake skip files."""
        literals = ", ".join("'{}'".format(each.replace("'", "''")) for each in ids)
        keys = " AND ".join(f"t.`{name}` = s.`{name}`" for name in self.columns.primary_key)
        return f"t.{WORKSPACE_ID} IN ({literals}) AND {keys}"


_ANY_DAY = pc.scalar(True)


def _days_filter(truth: Truth | None, columns: Columns) -> pc.Expression | None:
    """Return the condition of the rows of some days; None for no day."""
    if truth is None:
        return None
    condition = _ANY_DAY
    if columns.day is not None:
        if truth.first is not None:
            condition &= pc.field(columns.day) >= pa.scalar(truth.first, pa.date32())
        if truth.last is not None:
            condition &= pc.field(columns.day) <= pa.scalar(truth.last, pa.date32())
    return condition


def _rows_of_workspaces(table: DeltaTable) -> dict[str, int]:
    """Return the number of rows of each workspace, as the log has them."""
    actions = pa.table(table.get_add_actions(flatten=True))
    if not actions.num_rows:
        return {}
    grouped = actions.group_by(f"partition.{WORKSPACE_ID}").aggregate([("num_records", "sum")])
    names, sums = (grouped[name].to_pylist() for name in (f"partition.{WORKSPACE_ID}", "num_records_sum"))
    return {name: size or 0 for name, size in zip(names, sums, strict=True)}


def _application(part: Part) -> str:
    """Return the name under which Delta Lake keeps when an account was read."""
    return "banksync/" + "/".join(part.key)


def _milliseconds(part: Part) -> int:
    return int(part.read_at.timestamp() * 1000)
