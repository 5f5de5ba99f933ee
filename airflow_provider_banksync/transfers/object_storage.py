"""From BankSync to files, in a folder or in an object store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, BaseOperator

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.task import BankSyncTaskMixin, permanent_errors_fail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.extract.export import Export

ON_UNAVAILABLE = ("fail", "report")
FILE_FORMATS = ("jsonl", "csv", "parquet")
COMPRESSIONS = (None, "gzip", "zstd")
MOST_CONCURRENT = 64


class BankSyncToObjectStorageOperator(BankSyncTaskMixin, BaseOperator):
    """Write a listing, or the data of accounts, to files: one folder per workspace, and a manifest.

    ``<destination>/resource=<resource>/workspace_id=<id>/…/part-….jsonl``. The manifest, ``_manifest.json``, is written
    last and lists every file with its rows, bytes, SHA-256 and owner: what is in it is complete. Transactions and
    trades are read for a window of days, and each window has folders and a manifest of its own; listings, balances,
    holdings and loans are as they are at that moment, and replace what was there. See docs/export.md.

    Running it again leaves the same files, and removes what its earlier manifest lists and is gone. A try that was
    killed is taken up by the next try of the same task where it stopped, account by account.

    Returns a summary, which the events of asset outlets carry, too: ``manifest`` (its URL), ``path`` (the folder that
    the manifest's paths are relative to), ``rows``, ``files``, ``workspaces`` (how many have rows), ``unavailable`` (a
    list of ``workspace_id``, ``portal``, ``bank``, ``account``, ``reason`` and so on).

    :param resource: workspaces, portals, banks, accounts, feeds, integrations, enrichments or jobs; or transactions,
        balances, holdings, trades or loans (templated).
    :param destination: URL of a folder: ``file:///data/lake``, ``s3://bucket/prefix``, ``gs://``, ``abfs://``
        (templated); a path without a scheme is one on this machine, and begins with ``/``.
    :param storage_conn_id: Airflow connection for the object store; None for what its library finds by itself.
    :param scope: ``self``: of this workspace. ``family``: of this one and all its portals (templated).
    :param workspace_ids: of the family, only these workspaces; None: all (templated).
    :param bank_ids: only what belongs to these bank connections; for accounts and the data of accounts (templated).
    :param account_ids: only these accounts; for the data of accounts (templated).
    :param where: fields and the value, or list of values, that each must have: of the rows of a listing; for the data
        of accounts, of the accounts: ``{"currency": "EUR"}`` (templated).
    :param from_date: first day to read, ``YYYY-MM-DD`` (templated). Without it, the days that ended within the run's
        data interval, by the DAG's timezone; for a run that has none, the day before it.
    :param to_date: last day, inclusive (templated); None, with `from_date`: the last day of the data interval.
    :param incremental: of transactions, what is new since the last run, by the API's cursors; each run writes a batch
        of its own. An account that was not read before begins at `from_date`, or where the API begins.
    :param full_refresh: with `incremental`: forget the cursors of the chosen accounts, and read each from its beginning
        (templated).
    :param file_format: ``jsonl``: each row with every field as it came; ``csv``; ``parquet``.
    :param compression: ``gzip`` or ``zstd``; None: none, and for Parquet Snappy.
    :param escape_formulas: in CSV, put a ``'`` before texts that a spreadsheet would take for a formula.
    :param max_rows_per_file: begin another file after so many rows; None: never.
    :param concurrency: how many requests are under way at once, 1 to 64. They share the rate limit of the key.
    :param on_unavailable: what to do about accounts that cannot be read, as their bank wants its owner to sign in, or
        they are gone: after all others were written, ``fail`` the task, or ``report`` them and succeed.
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal to export (templated); None: the connection's workspace.
    """

    template_fields: Sequence[str] = (
        "resource",
        "destination",
        "storage_conn_id",
        "scope",
        "workspace_ids",
        "bank_ids",
        "account_ids",
        "where",
        "from_date",
        "to_date",
        "full_refresh",
        "workspace_id",
        "banksync_conn_id",
    )
    ui_color = "#f7f0de"
    _export: Export | None = None

    def __init__(
        self,
        *,
        resource: str,
        destination: str,
        storage_conn_id: str | None = None,
        scope: str = "self",
        workspace_ids: Sequence[str] | None = None,
        bank_ids: Sequence[str] | None = None,
        account_ids: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        from_date: str | date | None = None,
        to_date: str | date | None = None,
        incremental: bool = False,
        full_refresh: bool | str = False,
        file_format: str = "jsonl",
        compression: str | None = None,
        escape_formulas: bool = True,
        max_rows_per_file: int | None = None,
        concurrency: int = 8,
        on_unavailable: str = "fail",
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_choice("on_unavailable", on_unavailable, ON_UNAVAILABLE)
        _check_choice("file_format", file_format, FILE_FORMATS)
        _check_choice("compression", compression, COMPRESSIONS)
        _check_flag("incremental", incremental)
        _check_flag("escape_formulas", escape_formulas)
        _check_number("concurrency", concurrency, MOST_CONCURRENT)
        if max_rows_per_file is not None:
            _check_number("max_rows_per_file", max_rows_per_file)
        self.resource = resource
        self.destination = destination
        self.storage_conn_id = storage_conn_id
        self.scope = scope
        self.workspace_ids = workspace_ids
        self.bank_ids = bank_ids
        self.account_ids = account_ids
        self.where = where
        self.from_date = from_date
        self.to_date = to_date
        self.incremental = incremental
        self.full_refresh = full_refresh
        self.file_format = file_format
        self.compression = compression
        self.escape_formulas = escape_formulas
        self.max_rows_per_file = max_rows_per_file
        self.concurrency = concurrency
        self.on_unavailable = on_unavailable
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Fetch and write; then write the manifest, and only then say what could not be had."""
        from airflow_provider_banksync.export.store import ExportError
        from airflow_provider_banksync.extract.export import Export

        with permanent_errors_fail():
            try:
                self._export = Export(self, context)
                return self._export.run()
            except ExportError as error:
                raise (AirflowFailException if error.permanent else AirflowException)(str(error)) from error
            finally:
                self._export = None

    def on_kill(self) -> None:
        """Leave off and give the lock back, so that no other run has to wait until it counts as dead."""
        if self._export is not None:
            self._export.stop()


def _check_choice(argument: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        named = ", ".join(str(each) for each in choices)
        raise BankSyncConfigError(f"{argument} must be one of {named}, not {value!r}.")


def _check_flag(argument: str, value: object) -> None:
    if not isinstance(value, bool):  # "False", or a template, would count as True
        raise BankSyncConfigError(f"{argument} must be True or False, not {value!r}.")


def _check_number(argument: str, value: object, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or value > (most or value):
        limit = f"from 1 to {most}" if most else "of at least 1"
        raise BankSyncConfigError(f"{argument} must be a whole number {limit}, not {value!r}.")
