"""One run of an export: connects the reader of rows with their writer."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import CancelledError
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.http.async_client import AsyncClient
from airflow_provider_banksync.api.redaction import counted
from airflow_provider_banksync.api.validation import WINDOWED, validate_days
from airflow_provider_banksync.export.batches import BatchExportJob
from airflow_provider_banksync.export.formats.factory import open_format, require_format
from airflow_provider_banksync.export.gaps import days_before
from airflow_provider_banksync.export.job import ExportJob
from airflow_provider_banksync.export.manifest import (
    SPECIAL,
    count_unfit,
    read_checkpoints,
    read_gone,
    refuse_mixed_destination,
)
from airflow_provider_banksync.export.settings import ExportSettings
from airflow_provider_banksync.export.storage import layout
from airflow_provider_banksync.export.storage.folder import ExportError, storage_errors
from airflow_provider_banksync.extract.accounts import AccountReader, ReadPlan
from airflow_provider_banksync.extract.listings import fetch_listing
from airflow_provider_banksync.extract.rows import RowBatch
from airflow_provider_banksync.extract.selection import select_accounts
from airflow_provider_banksync.tasks.data_interval import due_time, window_of_run
from airflow_provider_banksync.tasks.destination import open_destination
from airflow_provider_banksync.tasks.event_loop_thread import EventLoopThread
from airflow_provider_banksync.tasks.unavailable import bound_unavailable, raise_unless_reported

if TYPE_CHECKING:
    import logging

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.config import ClientConfig
    from airflow_provider_banksync.export.checkpoints import Checkpoint
    from airflow_provider_banksync.export.storage.folder import Folder
    from airflow_provider_banksync.extract.partition import Partition, Unavailable
    from airflow_provider_banksync.extract.selection import AccountSelection
    from airflow_provider_banksync.extract.windows import Window
    from airflow_provider_banksync.hooks.banksync import BankSyncHook
    from airflow_provider_banksync.tasks.export_request import ExportRequest

#: Seconds between checks of the lock. A check writes a heartbeat if one is due.
LOCK_CHECK_INTERVAL = 30.0
#: A warning names at most this many accounts.
_MAX_NAMED = 10


class ExportTask:
    """One run of an export.

    :param context: of the task instance.
    """

    def __init__(
        self, request: ExportRequest, hook: BankSyncHook, context: Context, log: logging.Logger | Any
    ) -> None:
        self._request = request
        self._hook = hook
        self._context = context
        self._log = log
        self._thread = EventLoopThread("banksync-export")
        self._window: Window | None = None
        self._job: ExportJob | None = None

    def run(self) -> dict[str, Any]:
        """Export, and return the summary.

        :raises AirflowFailException: if accounts are unavailable.
        :raises AirflowException: if accounts could not be read, but a retry may succeed; or if `stop` was called. On
            the last try, ``on_unavailable="report"`` reports such accounts too.
        """
        request = self._request
        require_format(request.file_format, request.compression)
        if request.incremental:
            validate_days(request.from_date, None)
        elif request.resource in WINDOWED:
            self._window = window_of_run(self._context, request.from_date, request.to_date)
        root = open_destination(request.destination, request.storage_conn_id, request.resource)
        config = self._hook.get_config()
        try:
            job, unavailable = self._thread.run(lambda: self._export(config, root))
            return self._finish(job, unavailable)
        except CancelledError:
            rest = " The next try reads only the remaining accounts." if request.is_account_data else ""
            raise AirflowException(f"The task was killed.{rest}") from None
        finally:
            if self._job is not None:
                with contextlib.suppress(ExportError):  # the next try takes the lock over
                    self._job.release()

    def stop(self) -> None:
        """Cancel the run, from any thread or a signal handler. `run` then raises `AirflowException`."""
        self._thread.cancel()

    async def _export(self, config: ClientConfig, root: Folder) -> tuple[ExportJob, list[Unavailable]]:
        async with AsyncClient(config) as client:
            workspace_id = config.workspace_id
            if workspace_id is None:
                workspace_id = str((await client.send(endpoints.whoami())).value["workspaceId"])
                # A key that replaces this one may belong to another workspace.
                client.config = replace(client.config, workspace_id=workspace_id)
            selection = self._request.selection
            if self._request.scope != "family":
                selection = replace(selection, own_workspace_id=workspace_id)
            job = self._job = self._open_job(root, workspace_id, selection)
            await asyncio.to_thread(job.begin)
            if job.complete is not None:
                return job, []
            if self._window is not None:
                await asyncio.to_thread(self._warn_about_gap, job)
            heartbeat = asyncio.ensure_future(_heartbeat(job))
            try:
                export = self._export_accounts if self._request.is_account_data else self._export_listing
                return job, await export(client, job, selection)
            finally:
                heartbeat.cancel()

    def _warn_about_gap(self, job: ExportJob) -> None:
        with storage_errors(job.base, "read"):
            gap = days_before(job.base, str(job.settings.label))
        if gap is not None:
            self._log.warning(
                "No window at %s has the days %s to %s, which lie between the newest window before and this one. If "
                "the DAG was paused, export these days too, for example by a backfill.",
                job.base,
                *gap,
            )

    def _open_job(self, root: Folder, workspace_id: str, selection: AccountSelection) -> ExportJob:
        request = self._request
        settings = self._settings(workspace_id, selection)
        base = root
        if selection.own_workspace_id is not None:
            base = root / layout.workspace_folder(layout.path_segment(selection.own_workspace_id))
            refuse_mixed_destination(base, root, settings.label, selection.own_workspace_id)
        output_format = open_format(
            request.file_format,
            request.compression,
            request.resource,
            escape_formulas=request.escape_formulas,
        )
        return (BatchExportJob if request.incremental else ExportJob)(base, settings, output_format)

    def _settings(self, workspace_id: str, selection: AccountSelection) -> ExportSettings:
        request, instance = self._request, self._context["ti"]
        header: dict[str, Any] = {
            "resource": request.resource,
            "scope": request.scope,
            "workspace_id": workspace_id,
        }
        label = None
        if self._window is not None:
            label = layout.window_label(*self._window.days())
            header["window"] = dict(zip(("from_date", "to_date"), self._window.days(), strict=True))
        elif request.incremental:
            header["batch"] = layout.batch_timestamp(due_time(self._context))
            label = layout.batch_label(header["batch"])
        header |= {"file_format": request.file_format, "compression": request.compression}
        writer_id = f"{instance.dag_id}.{instance.task_id} of {instance.run_id}"
        map_index = getattr(instance, "map_index", -1)
        return ExportSettings(
            manifest_header=header,
            writer_id=writer_id if map_index in (None, -1) else f"{writer_id} [{map_index}]",
            label=label,
            single_workspace=request.scope != "family",
            workspace_files=request.files == "workspace" and request.is_account_data,
            max_rows=request.max_rows_per_file,
            portal_name=request.portal_name,
            selection=selection.fingerprint(),
            fingerprint=f"{request.escape_formulas} {request.from_date} {request.full_refresh}",
            resumable=request.is_account_data,
            allow_shrink=request.allows_shrink,
            resets_cursors=request.resets_cursors,
        )

    async def _export_accounts(
        self, client: AsyncClient, job: ExportJob, selection: AccountSelection
    ) -> list[Unavailable]:
        request = self._request
        selected = await select_accounts(client, selection, request.concurrency, self._log)
        if isinstance(job, BatchExportJob):
            self._warn_about_linked_again(job.find_linked_again(selected.partitions))
        unavailable = selected.unavailable + job.plan(
            selected.partitions, selection.includes, selected.unavailable, lists=selected.lists
        )
        window = "" if self._window is None else f" from {self._window}"
        for warning in job.warnings:
            self._log.warning("%s", warning)
        accounts = counted(len(selected.partitions), "account")
        self._log.info("Exporting %s of %s%s.", request.resource, accounts, window)
        plan = ReadPlan(
            partitions=job.unfinished(),
            resumed=len(job.checkpoints),
            open_sink=job.open_writer,
            cursor_of=job.cursor_of,
            incremental=request.incremental,
        )
        reader = AccountReader(
            client,
            plan,
            request.resource,
            validate_days(request.from_date, None) if self._window is None else self._window.days(),
            own_workspace=selection.own_workspace_id is not None,
            concurrency=request.concurrency,
            log=self._log,
        )
        return unavailable + await reader.read_all()

    async def _export_listing(
        self, client: AsyncClient, job: ExportJob, selection: AccountSelection
    ) -> list[Unavailable]:
        listing = await fetch_listing(
            client, self._request.resource, selection, self._request.concurrency, self._log
        )
        read_at = _now()
        rows = sum(map(len, listing.rows.values()))
        # A feed that is deleted takes up to 20 jobs with it.
        lists = {} if self._request.resource == "jobs" else listing.sizes()
        unavailable = listing.unavailable + job.plan(
            listing.partitions.values(), selection.includes, listing.unavailable, rows, lists
        )
        for partition in job.unfinished():
            writer = job.open_writer(partition)
            try:
                writer.add(RowBatch.from_rows(listing.rows.get(partition.workspace_id, [])))
                writer.finish(read_at)
            except BaseException:
                writer.abort()
                raise
        return unavailable

    def _finish(self, job: ExportJob, unavailable: list[Unavailable]) -> dict[str, Any]:
        """Commit, and return the summary; or raise, if accounts are missing from it."""
        if job.complete is not None:
            self._log.info("%s Nothing to do.", job.complete.reason)
            manifest, folder = job.complete.manifest, job.complete.folder
        else:
            manifest, folder = job.commit(unavailable, _now()), job.control
        gone, special = read_gone(manifest), {name: manifest.get(name, 0) for name in SPECIAL}
        summary = {
            "manifest": f"{folder.url}/{layout.MANIFEST}",
            "path": job.base.url,
            "rows": manifest["rows"],
            "files": len(manifest["files"]),
            "workspaces": len({file["workspace_id"] for file in manifest["files"]}),
            "unfit": self._count_unfit(manifest),
            **bound_unavailable(manifest["unavailable"]),
            "gone": len(gone),
            **special,
        }
        counts = (
            f"{counted(summary['rows'], self._request.resource.removesuffix('s'))} of "
            f"{counted(summary['workspaces'], 'workspace')} in {counted(summary['files'], 'file')}"
        )
        self._log.info("Exported %s: %s", counts, summary["manifest"])
        if special["duplicates"] or special["outside_window"]:
            self._log.warning(
                "Of the rows that the API sent, %d came twice (the later version is exported), and %d are outside of "
                "the requested days (left out). The manifest has the counts of each account.",
                special["duplicates"],
                special["outside_window"],
            )
        self._warn_about_gone([each for each in gone if each.gone == manifest["generated_at"]])
        drift = _describe_drift(summary)
        if drift:
            self._log.warning("%s", drift)
        raise_unless_reported(
            unavailable,
            self._request.on_unavailable,
            self._context,
            rest=f"Everything else is exported ({counts}).",
            advice="Fix them, then clear this task: it reads only what is missing.",
        )
        if drift and self._request.on_drift == "fail":
            raise AirflowFailException(
                f"{drift} Everything is exported ({counts}). With on_drift='warn' the task succeeds in this case."
            )
        return summary

    def _warn_about_linked_again(self, found: list[tuple[Partition, Partition]]) -> None:
        for new, known in found[:_MAX_NAMED]:
            self._log.warning(
                "Two accounts have the same institution, currency and last digits: the new %s, and %s. If their bank "
                "was linked again, they are one account, and its transactions are exported twice. Leave out the rows "
                "of one of them, as docs/reading-exports.md shows, or exclude it from this export.",
                new,
                known,
            )
        if len(found) > _MAX_NAMED:
            self._log.warning("%d more new accounts are like known ones.", len(found) - _MAX_NAMED)

    def _count_unfit(self, manifest: dict[str, Any]) -> dict[str, int]:
        """Return how many values of each column do not fit it, without accounts that other tasks export."""
        selection = replace(self._request.selection, where={})
        return count_unfit(each for each in read_checkpoints(manifest) if selection.includes(each.partition))

    def _warn_about_gone(self, gone: list[Checkpoint]) -> None:
        if gone:
            names = "; ".join(str(each.partition) for each in gone[:_MAX_NAMED])
            more = f"; and {len(gone) - _MAX_NAMED} more" if len(gone) > _MAX_NAMED else ""
            self._log.warning(
                "Accounts or workspaces of the last export that are not listed any more: %d. They are %s%s. Their "
                "files stay, and the manifest marks them as gone.",
                len(gone),
                names,
                more,
            )


def _describe_drift(summary: dict[str, Any]) -> str:
    """Return a sentence about the values that do not fit their columns, or an empty text if all do."""
    if not summary["unfit"]:
        return ""
    counts = ", ".join(f"{count} of {column!r}" for column, count in summary["unfit"].items())
    return (
        f"Values that do not fit their column: {counts}. They are in the column 'extra', unchanged. The entries of "
        f"their files have 'unfit' in {summary['manifest']}."
    )


async def _heartbeat(job: ExportJob) -> None:
    """Write heartbeats, however long it takes to list the accounts or to read one."""
    while True:
        await asyncio.sleep(LOCK_CHECK_INTERVAL)
        with contextlib.suppress(ExportError):  # the lock is checked again before each important write
            await asyncio.to_thread(job.check_lock)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
