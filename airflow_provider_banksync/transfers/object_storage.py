"""BankSyncToObjectStorageOperator: from BankSync to files in a folder or an object store."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, BaseOperator

from airflow_provider_banksync.api.validation import (
    ACCOUNT_DATA,
    COMPRESSIONS,
    FILES,
    FORMATS,
    ON_DRIFT,
    ON_UNAVAILABLE,
    RESOURCES,
    SCOPES,
    is_rendered_later,
    validate_choice,
    validate_flags,
    validate_integer,
    validate_literal_days,
    validate_literals,
    validate_resource,
)
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.tasks.base import BankSyncTaskMixin, fail_on_permanent_errors
from airflow_provider_banksync.tasks.literals import validate_literal_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.validation import (
        Compression,
        FileFormat,
        Files,
        OnDrift,
        OnUnavailable,
        Resource,
        Scope,
    )
    from airflow_provider_banksync.tasks.export_task import ExportTask

MAX_CONCURRENCY = 64


class BankSyncToObjectStorageOperator(BankSyncTaskMixin, BaseOperator):
    """Write a listing, or the data of accounts, to files: a folder for each workspace, and a manifest.

    The files are ``<destination>/resource=<resource>/workspace_id=<id>/…/part-….jsonl``. The manifest,
    ``_manifest.json``, is written last. It lists every file with its rows, bytes, SHA-256, client, bank and account.
    Every listed file is complete. Transactions and trades are read for a window of days, and each window has its own
    folders and manifest. For other resources, the current rows replace the earlier export. See docs/export.md.

    A second run writes the same rows again, in files with other names. When its manifest is written, it removes the
    files that it has replaced. If it fails before, the earlier manifest and its files stay. Files of an account or
    client that the API does not list any more stay, and the manifest marks them as ``gone``. If a try is killed, the
    next try of the task reads only the remaining accounts.

    Returns a summary. Events of asset outlets carry it too: ``manifest`` (its URL), ``path`` (the folder that paths in
    the manifest are relative to), ``rows``, ``files``, ``workspaces`` (how many have rows), ``unfit`` (a column and how
    many of its values are in the column ``extra``, because they do not fit), ``unavailable`` (a list with
    ``workspace_id``, ``portal``, ``bank``, ``account``, ``reason`` and more, of at most 100 entries),
    ``unavailable_count``, ``unavailable_reasons`` (how many for each reason; the manifest has all entries) and ``gone``
    (how many accounts or workspaces the export keeps although the API does not list them any more).

    :param resource: workspaces, portals, banks, accounts, feeds, integrations, enrichments or jobs; or transactions,
        balances, holdings, trades or loans (templated).
    :param destination: URL of a folder: ``file:///data/lake``, ``s3://bucket/prefix``, ``gs://``, ``abfs://``. A path
        without a scheme is a path on this machine, and begins with ``/`` (templated).
    :param storage_conn_id: Airflow connection of the object store. None uses the credentials that its library finds
        (templated).
    :param scope: ``self`` for this workspace, ``family`` for this workspace and all its portals (templated).
    :param workspace_ids: with ``scope="family"``, export these workspaces only (templated).
    :param bank_ids: export only rows of these bank connections. For accounts and their data (templated).
    :param account_ids: export only these accounts. For the data of accounts (templated).
    :param where: fields, and the value or list of values that each must have, such as ``{"currency": "EUR"}``. Applies
        to the rows of a listing. For the data of accounts, it applies to the accounts (templated).
    :param from_date: first day to read, ``YYYY-MM-DD``. Without it, the days that ended in the data interval of the
        run, in the timezone of the DAG. If the interval has no length, as in Airflow 3: the days since the previous
        scheduled time, or for a manual run the day before it (templated).
    :param to_date: last day to read. Without it, the last day of the data interval (templated).
    :param incremental: read only the transactions that are new since the last run, by the API's cursors. Each run
        writes a batch. An account that was never read begins at `from_date`, or where the API begins.
    :param full_refresh: with `incremental`, forget the cursors of the selected accounts, and read each from its
        beginning. True or False, or the text ``true`` or ``false`` (templated).
    :param allow_shrink: accept a listing that is much shorter than the one of the last export. Without it, the task
        fails if the listing has lost more than a tenth, and more than three, of its accounts or rows. True or False,
        or the text ``true`` or ``false`` (templated).
    :param file_format: ``jsonl`` (each row with every field as it was sent), ``csv`` or ``parquet``.
    :param compression: ``gzip``, ``zstd`` or None. With None, Parquet uses Snappy.
    :param escape_formulas: in CSV, put a ``'`` before texts that a spreadsheet would take for a formula.
    :param portal_name: in CSV and Parquet, add the column ``portal_name``: the client's name, null for the parent
        workspace and with ``scope="self"``.
    :param files: for the data of accounts, one file for each ``account``, or one for each ``workspace`` and window. A
        workspace can have a second file if some of its accounts are read later, for example by a retry.
    :param max_rows_per_file: begin another file after this many rows. None means no limit. Not with
        ``files="workspace"``.
    :param concurrency: number of requests in flight, 1 to 64. They share the rate limit of the key.
    :param on_unavailable: what to do if accounts cannot be read, because their bank needs a new sign-in or they are
        gone. After all others are written, ``fail`` the task, or ``report`` them and succeed. If a retry may help and
        Airflow has one left, the task fails in both cases.
    :param on_drift: what to do if values do not fit their columns in CSV or Parquet, such as the text ``n/a`` in a
        column of amounts. Such values are in the column ``extra``. After all rows are written, ``warn`` in the log, or
        ``fail`` the task.
    :param banksync_conn_id: Airflow connection to BankSync (templated).
    :param workspace_id: portal to export. None means the workspace of the connection (templated).
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
        "allow_shrink",
        "workspace_id",
        "banksync_conn_id",
    )
    ui_color = "#f7f0de"
    _export: ExportTask | None = None

    def __init__(
        self,
        *,
        resource: Resource,
        destination: str,
        storage_conn_id: str | None = None,
        scope: Scope = "self",
        workspace_ids: Sequence[str] | None = None,
        bank_ids: Sequence[str] | None = None,
        account_ids: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        from_date: str | date | None = None,
        to_date: str | date | None = None,
        incremental: bool = False,
        full_refresh: bool | str = False,
        allow_shrink: bool | str = False,
        file_format: FileFormat = "jsonl",
        compression: Compression | None = None,
        escape_formulas: bool = True,
        portal_name: bool = True,
        files: Files = "account",
        max_rows_per_file: int | None = None,
        concurrency: int = 8,
        on_unavailable: OnUnavailable = "fail",
        on_drift: OnDrift = "warn",
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        validate_choice("on_unavailable", on_unavailable, ON_UNAVAILABLE)
        validate_choice("on_drift", on_drift, ON_DRIFT)
        validate_choice("file_format", file_format, FORMATS)
        validate_choice("compression", compression, (None, *COMPRESSIONS))
        validate_choice("files", files, FILES)
        validate_flags(incremental=incremental, escape_formulas=escape_formulas, portal_name=portal_name)
        validate_integer("concurrency", concurrency, least=1, most=MAX_CONCURRENCY)
        if max_rows_per_file is not None:
            validate_integer("max_rows_per_file", max_rows_per_file, least=1)
            if files == "workspace":
                raise BankSyncConfigError(
                    'max_rows_per_file cannot be used with files="workspace", which is one file for each workspace.'
                )
        validate_literals((*RESOURCES, *ACCOUNT_DATA), resource=resource)
        validate_literals(SCOPES, scope=scope)
        if resource in RESOURCES and not is_rendered_later(scope):
            validate_resource(resource, scope)
        validate_literal_days(from_date, to_date)
        validate_literal_arguments(
            workspace_ids=workspace_ids,
            bank_ids=bank_ids,
            account_ids=account_ids,
            where=where,
            workspace_id=workspace_id,
        )
        self.resource: str = resource
        self.destination = destination
        self.storage_conn_id = storage_conn_id
        self.scope: str = scope
        self.workspace_ids = workspace_ids
        self.bank_ids = bank_ids
        self.account_ids = account_ids
        self.where = where
        self.from_date = from_date
        self.to_date = to_date
        self.incremental = incremental
        self.full_refresh = full_refresh
        self.allow_shrink = allow_shrink
        self.file_format = file_format
        self.compression = compression
        self.escape_formulas = escape_formulas
        self.portal_name = portal_name
        self.files = files
        self.max_rows_per_file = max_rows_per_file
        self.concurrency = concurrency
        self.on_unavailable = on_unavailable
        self.on_drift = on_drift
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Export, and return the summary. Fails only after everything that can be read is written."""
        from airflow_provider_banksync.export.storage.folder import ExportError
        from airflow_provider_banksync.tasks.export_request import ExportRequest
        from airflow_provider_banksync.tasks.export_task import ExportTask

        with fail_on_permanent_errors():
            try:
                arguments = {field.name: getattr(self, field.name) for field in fields(ExportRequest)}
                self._export = ExportTask(ExportRequest(**arguments), self.hook, context, self.log)
                summary: dict[str, Any] = self.to_xcom(self._export.run())
            except ExportError as error:
                raise (AirflowFailException if error.permanent else AirflowException)(str(error)) from error
            finally:
                self._export = None
        self._add_to_outlet_events(context, summary)
        return summary

    def on_kill(self) -> None:
        """Cancel the export and release its lock, so that another run need not wait for the lock to expire."""
        if self._export is not None:
            self._export.stop()

    def _add_to_outlet_events(self, context: Context, summary: dict[str, Any]) -> None:
        from airflow.providers.common.compat.sdk import Asset

        events = context.get("outlet_events")
        for outlet in self.outlets:
            # An outlet may have any type. An alias does not name its asset.
            is_asset = isinstance(outlet, Asset) or type(outlet).__name__ in ("AssetNameRef", "AssetUriRef")
            if events is not None and is_asset:
                events[outlet].extra.update(summary)
