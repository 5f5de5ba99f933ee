"""From BankSync to files, in a folder or in an object store."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator, ObjectStoragePath

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.task import BankSyncTaskMixin, permanent_errors_fail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.export.listing import Owner


class BankSyncToObjectStorageOperator(BankSyncTaskMixin, BaseOperator):
    """Write a listing to files, one folder per workspace, with a manifest.

    ``<destination>/resource=<resource>/workspace_id=<id>/part-00000.jsonl``. The manifest, ``_manifest.json``, is
    written last and lists every file with its rows, bytes, SHA-256 and owner: what is in it is complete. With
    ``scope="family"`` it is beside the workspaces' folders; with ``scope="self"`` it is inside the one folder that is
    written, so that one task per workspace (``.expand(workspace_id=...)``) does not touch what another one wrote.

    Running it again leaves the same files, and removes what its earlier manifest lists and is gone.

    Returns a summary: ``manifest`` (its URL), ``rows``, ``files``, ``workspaces`` (how many have rows).

    :param resource: workspaces, portals, banks, accounts, feeds, integrations, enrichments or jobs (templated).
    :param destination: URL of a folder: ``file:///data/lake``, ``s3://bucket/prefix``, ``gs://``, ``abfs://``
        (templated); a path without a scheme is one on this machine.
    :param storage_conn_id: Airflow connection for the object store; None for what its library finds by itself.
    :param scope: ``self``: of this workspace. ``family``: of this one and all its portals (templated).
    :param file_format: ``jsonl``: JSON Lines, each row with every field as it came.
    :param banksync_conn_id: connection to use.
    :param workspace_id: portal to export (templated); None: the connection's workspace.
    """

    template_fields: Sequence[str] = (
        "resource",
        "destination",
        "storage_conn_id",
        "scope",
        "workspace_id",
        "banksync_conn_id",
    )
    ui_color = "#f7f0de"

    def __init__(
        self,
        *,
        resource: str,
        destination: str,
        storage_conn_id: str | None = None,
        scope: str = "self",
        file_format: str = "jsonl",
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if file_format != "jsonl":
            raise BankSyncConfigError(f"file_format must be jsonl, not {file_format!r}.")
        self.resource = resource
        self.destination = destination
        self.storage_conn_id = storage_conn_id
        self.scope = scope
        self.file_format = file_format
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Fetch the listing, then write it."""
        from airflow_provider_banksync.export import layout, listing
        from airflow_provider_banksync.hooks import listings

        with permanent_errors_fail():
            listings.check_resource(self.resource, self.scope)
            folder = self._destination() / layout.resource_folder(self.resource)
            try:
                listing.prepare(folder, alone=self.scope == "self")
            except listing.ExportError as error:
                raise AirflowFailException(str(error)) from error
            rows = listings.fetch(self.hook, self.resource, self.scope)
            own = None if self.scope == "family" else self.hook.own_workspace_id()
            manifest = listing.write(
                folder,
                _owned(rows, own),
                own=own,
                description={"resource": self.resource, "scope": self.scope},
                generated_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            )
        workspaces = len({file["workspace_id"] for file in manifest["files"]})
        place = folder if own is None else folder / layout.workspace_folder(own)
        url = str(place / layout.MANIFEST)
        self.log.info("%d %s of %d workspaces: %s", manifest["rows"], self.resource, workspaces, url)
        return {
            "manifest": url,
            "rows": manifest["rows"],
            "files": len(manifest["files"]),
            "workspaces": workspaces,
        }

    def _destination(self) -> ObjectStoragePath:
        destination = self.destination
        place = destination.split("://")[-1].strip("/ ") if isinstance(destination, str) else ""
        if place in ("", "None"):
            raise BankSyncConfigError(
                f"destination is {destination!r}; it must be the URL of a folder.",
                hint="For example file:///data/lake or s3://bucket/prefix. If it is a template, look at what it gave.",
            )
        try:
            return ObjectStoragePath(destination, conn_id=self.storage_conn_id)
        except (ValueError, ImportError) as error:
            raise BankSyncConfigError(f"destination {destination!r} cannot be used: {error}.") from error


def _owned(rows: list[dict[str, Any]], own: str | None) -> Iterator[tuple[Owner, dict[str, Any]]]:
    """Give each row its owner: its own word in a family listing, the workspace that was asked (`own`) in any other."""
    from airflow_provider_banksync.export.listing import Owner

    for row in rows:
        if own is None:
            yield Owner(row["workspaceId"], (row.get("portal") or {}).get("name")), row
        else:
            yield Owner(own), row
