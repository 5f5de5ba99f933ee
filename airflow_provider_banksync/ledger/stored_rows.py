"""Reads the Delta Lake tables of a ledger, and writes the result of a reconciliation there."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, PostCommitHookProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from airflow_provider_banksync.ledger.columns import DAY, FIRST_SEEN_AT, WORKSPACE_ID, Columns
from airflow_provider_banksync.ledger.delta_state import delta_errors
from airflow_provider_banksync.ledger.table import LedgerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

#: How often the result is written anew, because another task was faster.
_MAX_ATTEMPTS = 8


class StoredRows(Protocol):
    """One version of a table of a ledger, to read."""

    #: For logs and errors. Without secrets.
    name: str

    @property
    def version(self) -> int | None:
        """The version that is read; None if the table has none."""

    def read_rows(
        self,
        columns: Sequence[str],
        *,
        workspace_ids: Sequence[str] | None = None,
        since: date | None = None,
        seen_since: datetime | None = None,
    ) -> pa.Table:
        """Return some columns of the table, with the types of `Columns.schema`.

        :param workspace_ids: of the rows; None: of all.
        :param since: the first day of the rows; None: of all days.
        :param seen_since: also rows of earlier days that came into the table at this time or later.
        """


class StoredResults(Protocol):
    """A table with a result for each day."""

    name: str

    def replace_day(self, rows: pa.Table, day: date, workspace_ids: Sequence[str] | None) -> int | None:
        """Replace the rows of a day, and of some workspaces, in one step. Return the version, if there is one."""


class DeltaRows:
    """`StoredRows` of a Delta Lake table, as it is now.

    :raises LedgerError: there is no such table.
    """

    def __init__(self, uri: str, columns: Columns, storage_options: Mapping[str, str]) -> None:
        self.name = uri.rstrip("/")
        self._columns = columns
        with delta_errors(self.name):
            try:
                self._table = DeltaTable(self.name, storage_options=dict(storage_options))
            except TableNotFoundError:
                raise LedgerError(
                    f"{self.name} is not a Delta table. Write it first, with BankSyncToDeltaLakeOperator("
                    f'resource="{columns.resource}").',
                    permanent=True,
                ) from None

    @property
    def version(self) -> int | None:
        """The version that is read."""
        return self._table.version()

    def read_rows(
        self,
        columns: Sequence[str],
        *,
        workspace_ids: Sequence[str] | None = None,
        since: date | None = None,
        seen_since: datetime | None = None,
    ) -> pa.Table:
        """Return some columns of the table.

        :raises LedgerError: it lacks columns.
        """
        found = {field.name for field in self._table.schema().fields}
        if lacks := sorted(set(columns) - found):
            raise LedgerError(
                f"{self.name} lacks the columns {', '.join(lacks)}. So it is not a table of {self._columns.resource} "
                "of BankSyncToDeltaLakeOperator.",
                permanent=True,
            )
        schema = self._columns.schema
        condition = pc.scalar(True)
        if since is not None:
            condition = pc.field(str(self._columns.day)) >= pa.scalar(since, pa.date32())
        if since is not None and seen_since is not None:
            moment = pa.scalar(seen_since, schema.field(FIRST_SEEN_AT).type)
            condition |= pc.field(FIRST_SEEN_AT) >= moment
        if workspace_ids is not None:
            condition &= pc.field(WORKSPACE_ID).isin(pa.array(sorted(workspace_ids), pa.string()))
        with delta_errors(self.name):
            rows = self._table.to_pyarrow_dataset().to_table(columns=list(columns), filter=condition)
        return rows.cast(pa.schema([schema.field(name) for name in columns]))


class DeltaResults:
    """`StoredResults` in a Delta Lake table. The first run creates it."""

    def __init__(self, uri: str, schema: pa.Schema, storage_options: Mapping[str, str]) -> None:
        self.name = uri.rstrip("/")
        self._schema = schema
        self._options = dict(storage_options)

    def replace_day(self, rows: pa.Table, day: date, workspace_ids: Sequence[str] | None) -> int | None:
        """Replace the rows of a day, and of some workspaces, in one commit."""
        predicate = f"{DAY} = DATE '{day.isoformat()}'"
        if workspace_ids is not None:
            ids = ", ".join("'{}'".format(each.replace("'", "''")) for each in sorted(workspace_ids))
            predicate += f" AND {WORKSPACE_ID} IN ({ids})"
        hooks = PostCommitHookProperties(cleanup_expired_logs=False)
        with delta_errors(self.name):
            for attempt in range(_MAX_ATTEMPTS):
                table = self._open_or_create()
                try:
                    write_deltalake(
                        table,
                        rows.cast(self._schema),
                        mode="overwrite",
                        schema_mode="merge",
                        predicate=predicate,
                        post_commithook_properties=hooks,
                    )
                except CommitFailedError:
                    time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311
                else:
                    return table.version()
        raise LedgerError(
            f"other tasks changed {self.name} {_MAX_ATTEMPTS} times in a row while this one wrote."
        )

    def _open_or_create(self) -> DeltaTable:
        DeltaTable.create(
            self.name,
            self._schema,
            mode="ignore",
            name="banksync_reconciliation",
            storage_options=self._options,
        )
        table = DeltaTable(self.name, storage_options=self._options)
        found = {field.name for field in table.schema().fields}
        if unknown := sorted(found - set(self._schema.names)):
            raise LedgerError(
                f"{self.name} has the columns {', '.join(unknown)}, which are not those of a reconciliation. Use "
                "another table for it.",
                permanent=True,
            )
        return table
