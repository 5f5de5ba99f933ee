"""One run of the export: what the operator does when its task runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from concurrent.futures import CancelledError
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
    Asset,
    BaseHook,
    ObjectStoragePath,
)

from airflow_provider_banksync.api.aio import AsyncClient
from airflow_provider_banksync.api.checks import check_days
from airflow_provider_banksync.api.loops import drive
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.export import batches, layout, windows
from airflow_provider_banksync.export.batches import BatchRun
from airflow_provider_banksync.export.formats import open_format, require_format
from airflow_provider_banksync.export.rows import Batch
from airflow_provider_banksync.export.run import Run, Settings, refuse_mixture
from airflow_provider_banksync.export.store import ExportError, Folder, told
from airflow_provider_banksync.export.windows import Window
from airflow_provider_banksync.extract import choice, listing, outcomes
from airflow_provider_banksync.extract.choice import Choice
from airflow_provider_banksync.extract.reading import Reader
from airflow_provider_banksync.extract.schedule import time_before
from airflow_provider_banksync.hooks.listings import RESOURCES, check_resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.export.manifest import Unavailable
    from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

#: Read account by account.
ACCOUNT_DATA = ("transactions", "balances", "holdings", "trades", "loans")
#: Of these, what has a day, so that a window chooses.
WINDOWED = ("transactions", "trades")
_BEAT = 30.0
_FILTERS = ("workspace_ids", "bank_ids", "account_ids", "where")
_ASSET_REFS = ("AssetNameRef", "AssetUriRef")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(?=:)", re.IGNORECASE)
#: On this machine, the whole path of a folder. Of any other, such as file://data/lake, Airflow's paths make one below
#: the folder in which the worker happens to run.
_WHOLE_PATH = re.compile(r"(\w+:(//([^/@]+@)?)?(?!//))?/")
_SPACED = re.compile(r"^\s|\s$|[\x00-\x1f\x7f]")
_YES_NO = {"true": True, "false": False, "": False, "none": False}


class Export:
    """What one run of the operator does.

    :param operator: with its templates rendered.
    """

    def __init__(self, operator: BankSyncToObjectStorageOperator, context: Context) -> None:
        self._op = operator
        self._context = context
        self._resource = operator.resource
        self._stop: Callable[[], object] = lambda: None

    def run(self) -> dict[str, Any]:
        """Export, and return the summary.

        :raises AirflowFailException: accounts are unavailable, or an argument is wrong.
        :raises AirflowException: some accounts could not be read, and another try may.
        """
        op = self._op
        self._check()
        require_format(op.file_format, op.compression)
        self._window = self._days()
        root = self._folder()
        asked = op.hook.own_workspace_id()
        own = None if op.scope == "family" else asked
        self._choice = Choice.of(op.scope, own, **{name: getattr(op, name) for name in _FILTERS})
        settings = self._settings(asked)
        base = root
        if own is not None:
            base = root / layout.workspace_folder(layout.segment(own))
            refuse_mixture(base, root, settings, own)
        made = open_format(op.file_format, op.compression, self._resource, escape_formulas=op.escape_formulas)
        under_way = (BatchRun if op.incremental else Run)(base, settings, made)
        try:
            under_way.begin()
            return self._finish(under_way, self._write(under_way))
        except CancelledError:
            raise AirflowException("Killed: the next try goes on with the accounts that are left.") from None
        finally:
            with contextlib.suppress(ExportError):  # a lock that cannot be given back is taken over in time
                under_way.end()

    def stop(self) -> None:
        """Drop what is under way; from any thread, or a signal's handler. `run` then raises `AirflowException`."""
        with contextlib.suppress(RuntimeError):  # it has just ended
            self._stop()

    # --- the arguments ---

    def _check(self) -> None:
        op = self._op
        if self._resource not in (*RESOURCES, *ACCOUNT_DATA):
            known = ", ".join((*RESOURCES, *ACCOUNT_DATA))
            raise BankSyncConfigError(f"resource must be one of {known}, not {self._resource!r}.")
        check_resource(self._resource if self._resource in RESOURCES else "banks", op.scope)
        Choice.of(op.scope, None, **{name: getattr(op, name) for name in _FILTERS})
        if op.account_ids is not None and self._resource not in ACCOUNT_DATA:
            raise BankSyncConfigError(f"account_ids is for the data of accounts, not for {self._resource}.")
        if op.bank_ids is not None and self._resource not in (*ACCOUNT_DATA, "accounts"):
            raise BankSyncConfigError(
                f"bank_ids is for accounts and the data of accounts, not for {self._resource}."
            )
        if op.incremental and self._resource != "transactions":
            raise BankSyncConfigError(
                f"incremental is for transactions: the API has no cursors for {self._resource}."
            )
        if op.incremental and op.to_date:
            raise BankSyncConfigError("to_date does not go with incremental: a batch ends at the present.")
        if self._full_refresh() and not op.incremental:
            raise BankSyncConfigError(
                "full_refresh goes with incremental=True only: without it, nothing is remembered."
            )
        if (op.from_date or op.to_date) and self._resource not in WINDOWED:
            raise BankSyncConfigError(
                f"from_date and to_date are for transactions and trades: the API gives {self._resource} as of now."
            )

    def _full_refresh(self) -> bool:
        value = self._op.full_refresh
        if isinstance(value, str):
            value = _YES_NO.get(value.strip().lower(), value)
        if not isinstance(value, bool):
            raise BankSyncConfigError(f"full_refresh must be true or false, not {value!r}.")
        return value

    def _folder(self) -> Folder:
        """Return the resource's folder, which can be written, as far as that is known before."""
        destination = self._op.destination
        place = destination.split("://")[-1].strip("/ ") if isinstance(destination, str) else ""
        if place in ("", "None"):
            raise BankSyncConfigError(
                f"destination is {destination!r}; it must be the URL of a folder.",
                hint="For example file:///data/lake or s3://bucket/prefix. If it is a template, look at what it gave.",
            )
        if _SPACED.search(destination):
            raise BankSyncConfigError(
                f"destination {destination!r} begins or ends with a space, or holds a line break.",
                hint="If it is a template, look at what it gave.",
            )
        scheme = _SCHEME.match(destination)
        on_disk = scheme is None or scheme[0].lower() in ("file", "local")
        if on_disk and not _WHOLE_PATH.match(destination):
            raise BankSyncConfigError(
                f"destination {destination!r} is not the whole path of a folder.",
                hint="One on this machine begins with /, or as a URL with file:/// and no more than three of them.",
            )
        try:
            # Older Airflow takes a given None for an answer, and passes over the connection in the URL.
            connection = {"conn_id": self._op.storage_conn_id} if self._op.storage_conn_id else {}
            path = ObjectStoragePath(destination, **connection)
            _check_connection(path)
            folder = Folder.of(path / layout.resource_folder(self._resource))
        except (ValueError, TypeError, ImportError) as error:
            raise BankSyncConfigError(f"destination {destination!r} cannot be used: {error}.") from error
        with told(folder):
            folder.make()
        return folder

    def _days(self) -> Window | None:
        """Return the days to read; None where there is no choice of days."""
        if self._resource not in WINDOWED:
            return None
        first, last = check_days(self._op.from_date, self._op.to_date)
        if self._op.incremental:
            return None
        if last and not first:
            raise BankSyncConfigError("to_date needs a from_date.")
        if first and last:
            return Window.of_days(first, last)
        found = self._interval()
        if found is None:
            raise AirflowSkipException("No day ended within the run's data interval: there is none to read.")
        last = found.last.isoformat()
        if first and first > last:
            raise BankSyncConfigError(
                f"from_date {first} is after the last day of the run's data interval, {last}."
            )
        return Window.of_days(first, last) if first else found

    def _interval(self) -> Window | None:
        dag = self._context["dag"]
        start: datetime | None = self._context.get("data_interval_start")
        end: datetime | None = self._context.get("data_interval_end")
        if start is None or end is None:
            start = end = self._moment()
        if start == end and self._is_scheduled():
            start = time_before(getattr(dag, "timetable", None), end) or start
        return windows.of_interval(start, end, dag.timezone)

    def _is_scheduled(self) -> bool:
        kind = getattr(self._context["dag_run"], "run_type", None)
        return getattr(kind, "value", kind) in ("scheduled", "backfill")

    def _moment(self) -> datetime:
        """Return when this run was due: later for a later run."""
        run = self._context["dag_run"]
        moment = getattr(run, "run_after", None)
        if moment is None:  # Airflow 2
            # The interval of a run that datasets began is that of the runs which wrote them, however long ago.
            moment = self._context.get("data_interval_end") if self._is_scheduled() else None
            moment = moment or getattr(run, "execution_date", None) or self._context.get("logical_date")
        return moment or datetime.now(timezone.utc)

    def _settings(self, asked: str) -> Settings:
        op, instance = self._op, self._context["ti"]
        head: dict[str, Any] = {"resource": self._resource, "scope": op.scope, "workspace_id": asked}
        label = None
        if self._window is not None:
            label = self._window.label
            head["window"] = {
                "from_date": self._window.first.isoformat(),
                "to_date": self._window.last.isoformat(),
            }
        elif op.incremental:
            moment = windows.batch_moment(self._moment())
            label, head["batch"] = batches.label_of(moment), moment
        head |= {"file_format": op.file_format, "compression": op.compression}
        writer = f"{instance.dag_id}.{instance.task_id} of {instance.run_id}"
        mapped = getattr(instance, "map_index", -1)
        return Settings(
            head=head,
            writer=writer if mapped in (None, -1) else f"{writer} [{mapped}]",
            label=label,
            alone=op.scope != "family",
            max_rows=op.max_rows_per_file,
            choice=self._choice.told(),
            fingerprint=f"{op.escape_formulas} {op.from_date} {op.full_refresh}",
            resumable=self._resource in ACCOUNT_DATA,
        )

    # --- the work ---

    def _write(self, run: Run) -> list[Unavailable]:
        if run.committed is not None or (isinstance(run, BatchRun) and run.superseded_by is not None):
            return []
        if isinstance(run, BatchRun) and self._full_refresh():
            run.forget()
        config = self._op.hook.get_config()

        async def work() -> list[Unavailable]:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            if task is not None:
                self._stop = functools.partial(loop.call_soon_threadsafe, task.cancel)
            beating = asyncio.ensure_future(_beat(run))
            try:
                async with AsyncClient(config) as client:
                    read = self._accounts if self._resource in ACCOUNT_DATA else self._listing
                    return await read(client, run)
            finally:
                beating.cancel()

        return drive(work, name="banksync-export")

    async def _accounts(self, client: AsyncClient, run: Run) -> list[Unavailable]:
        op = self._op
        chosen = await choice.choose(client, self._choice, op.concurrency)
        run.plan(chosen.owners, self._choice.covers, chosen.unavailable)
        days: tuple[str | None, str | None] = check_days(op.from_date, None)
        if self._window is not None:
            days = (self._window.first.isoformat(), self._window.last.isoformat())
        what = f", {self._window}" if self._window is not None else ""
        op.log.info("%s of %d accounts%s.", self._resource.capitalize(), len(chosen.owners), what)
        own = self._choice.own is not None
        reader = Reader(client, run, self._resource, days, own=own, width=op.concurrency, log=op.log)
        return chosen.unavailable + await reader.read()

    async def _listing(self, client: AsyncClient, run: Run) -> list[Unavailable]:
        listed = await listing.fetch(client, self._resource, self._choice, self._op.concurrency)
        read_at = _now()
        run.plan(listed.owners.values(), self._choice.covers)
        for owner in run.missing():
            unit = run.unit(owner)
            try:
                unit.write(Batch.of(listed.rows[owner.workspace_id]))
                unit.done(read_at)
            except BaseException:
                unit.abandon()
                raise
        return listed.unavailable

    def _finish(self, run: Run, unavailable: list[Unavailable]) -> dict[str, Any]:
        op = self._op
        if isinstance(run, BatchRun) and run.superseded_by is not None and run.committed is None:
            op.log.info("A later batch is there already, which has the rows of this one: nothing to do.")
            manifest, run.control = run.superseded_by, run.superseded_folder
        elif run.committed is not None:
            op.log.info("This export is complete already: nothing to do.")
            manifest = run.committed
        else:
            manifest = run.commit(unavailable, _now())
        summary = _summary(run, manifest)
        told = f"{summary['rows']} {self._resource} of {summary['workspaces']} workspaces in {summary['files']} files"
        op.log.info("%s: %s", told, summary["manifest"])
        self._tell_outlets(summary)
        failed = [each for each in unavailable if each.reason == outcomes.FAILED]
        others = [each for each in unavailable if each.reason != outcomes.FAILED]
        if failed:
            raise AirflowException(
                f"{len(failed)} could not be read; everything else is there ({told}), and another try reads only what "
                f"is missing:{outcomes.describe(unavailable)}"
            )
        if others and op.on_unavailable == "fail":
            raise AirflowFailException(
                f"{len(others)} are unavailable; everything else is there ({told}). When that is mended, clear this "
                "task: it reads only what is missing. on_unavailable='report' would let it succeed."
                f"{outcomes.describe(others)}"
            )
        return summary

    def _tell_outlets(self, summary: dict[str, Any]) -> None:
        events = self._context.get("outlet_events")
        for outlet in self._op.outlets:
            # Outlets may be anything; and what an alias stands for, nobody knows.
            if events is not None and (isinstance(outlet, Asset) or type(outlet).__name__ in _ASSET_REFS):
                events[outlet].extra.update(summary)


def _check_connection(path: ObjectStoragePath) -> None:
    """See that there is such a connection: without it, the library of S3 would go on with what else it finds."""
    connection = getattr(path, "conn_id", None) or path.storage_options.get("conn_id")  # Airflow 3.3; others
    if not connection:
        return
    try:
        BaseHook.get_connection(connection)
    except AirflowNotFoundException as error:
        raise BankSyncConfigError(
            f"there is no connection {connection!r}, which storage_conn_id or the destination names.",
            hint="Leave it out for what the object store's library finds by itself.",
        ) from error


def _summary(run: Run, manifest: dict[str, Any]) -> dict[str, Any]:
    return {
        "manifest": f"{run.control.url}/{layout.MANIFEST}",
        "path": run.base.url,
        "rows": manifest["rows"],
        "files": len(manifest["files"]),
        "workspaces": len({file["workspace_id"] for file in manifest["files"]}),
        "unavailable": manifest["unavailable"],
    }


async def _beat(run: Run) -> None:
    """Say that we are here, however long the listing of the accounts takes, or one of them."""
    while True:
        await asyncio.sleep(_BEAT)
        with contextlib.suppress(
            ExportError
        ):  # before anything that counts is written, it is looked at again
            await asyncio.to_thread(run.check)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
