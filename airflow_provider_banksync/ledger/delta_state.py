"""The small Delta table beside the rows: what was read of each account, and where the next read continues."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from airflow_provider_banksync.ledger.state import STATE_SCHEMA, state_rows, states_of
from airflow_provider_banksync.ledger.table import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_banksync.ledger.table import Part, PartState, Rules


class DeltaState:
    """The table ``_state``.

    :param uri: of this table.
    """

    def __init__(self, uri: str, storage_options: Mapping[str, str]) -> None:
        self._uri = uri
        self._options = dict(storage_options)

    def read(self) -> list[PartState] | None:
        """Return the state of each account; None if the table does not exist."""
        try:
            table = DeltaTable(self._uri, storage_options=self._options)
        except TableNotFoundError:
            return None
        return states_of(table.to_pyarrow_table())

    def save(self, parts: Sequence[Part], rules: Rules) -> None:
        """Record what was read, unless a later read is recorded already.

        :raises CommitFailedError: another task has written at the same time.
        """
        if not parts:
            return
        rows = state_rows(parts, rules)
        hooks = PostCommitHookProperties(cleanup_expired_logs=True)
        try:
            table = DeltaTable(self._uri, storage_options=self._options)
        except TableNotFoundError:
            write_deltalake(self._uri, rows, mode="error", storage_options=self._options)
            return
        columns = {name: f"s.{name}" for name in STATE_SCHEMA.names}
        (
            table.merge(
                rows,
                "t.workspace_id = s.workspace_id AND t.bank_id = s.bank_id AND t.account_id = s.account_id",
                source_alias="s",
                target_alias="t",
                commit_properties=CommitProperties(max_commit_retries=0),
                post_commithook_properties=hooks,
            )
            .when_matched_update(columns, "s.read_at > t.read_at")
            .when_not_matched_insert(columns)
            .execute()
        )


@contextmanager
def delta_errors(name: str) -> Iterator[None]:
    """Turn the errors of deltalake, except lost races, into `LedgerError`."""
    try:
        yield
    except CommitFailedError:
        raise
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise LedgerError(f"{name} could not be read or written: {error}") from error
