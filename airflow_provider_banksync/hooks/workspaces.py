"""The hook's methods for workspaces, integrations and enrichments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.flows import listings, writes
from airflow_provider_banksync.hooks.final_errors import make_errors_final

if TYPE_CHECKING:
    from airflow_provider_banksync.api.http.client import Client
    from airflow_provider_banksync.api.messages import Call, Row, T
    from airflow_provider_banksync.api.validation import Scope


class HookMethods:
    """A group of the hook's methods. The hook provides the client.

    A permanent error of a public method is also an `AirflowFailException`, so Airflow does not retry the task.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the errors of the group's methods final."""
        super().__init_subclass__(**kwargs)
        make_errors_final(cls)

    if TYPE_CHECKING:

        def get_conn(self) -> Client:
            """Return the blocking client."""

    def _send(self, call: Call[T]) -> T:
        return self.get_conn().send(call).value

    def _delete(self, call: Call[None]) -> None:
        self.get_conn().run(writes.delete_resource(call))


class WorkspaceMethods(HookMethods):
    """Key, portals, destinations, enrichments."""

    def whoami(self, *, workspace_id: str | None = None) -> Row:
        """Return ``workspaceId`` and ``workspaceName`` of the key, or of the workspace that you pass."""
        return self._send(endpoints.whoami(workspace_id=workspace_id))

    def list_workspaces(self, *, workspace_id: str | None = None) -> list[Row]:
        """Return the workspaces that the key can use: the parent and its portals.

        :raises BankSyncNotFoundError: this API has no such listing. Use `list_portals` instead.
        """
        return self._send(endpoints.list_workspaces(workspace_id=workspace_id))

    def list_portals(self, *, workspace_id: str | None = None) -> list[Row]:
        """Return the portals (clients) of the workspace with ``id`` and ``name``. Deleted ones are left out."""
        workspace_id = self.get_conn().config.workspace_id if workspace_id is None else workspace_id
        return self.get_conn().run(listings.list_portals(workspace_id=workspace_id))

    def list_enrichments(self, *, workspace_id: str | None = None) -> list[Row]:
        """Return the enrichments (rules, alerts, memory) of the workspace."""
        return self._send(endpoints.list_enrichments(workspace_id=workspace_id))

    def list_integrations(self, scope: Scope = "self", *, workspace_id: str | None = None) -> list[Row]:
        """Return the destinations (Notion, Google Sheets, Airtable); `scope` is that of `list_banks`."""
        return self._send(endpoints.list_integrations(scope, workspace_id=workspace_id))

    def delete_integration(self, integration_id: str, *, workspace_id: str | None = None) -> None:
        """Delete a destination."""
        self._delete(endpoints.delete_integration(integration_id, workspace_id=workspace_id))

    def get_enrichment(self, enrichment_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one enrichment."""
        return self._send(endpoints.get_enrichment(enrichment_id, workspace_id=workspace_id))

    def create_enrichment(self, body: Row, *, workspace_id: str | None = None) -> Row:
        """Create an enrichment and return it. A retry never creates it twice.

        :param body: ``name``, ``type``, ``dataType`` and the other fields, as the API names them.
        :raises BankSyncConflictError: the workspace already has its one memory enrichment.
        """
        post = endpoints.create_enrichment(body, workspace_id=workspace_id)
        listing = endpoints.list_enrichments(workspace_id=workspace_id)
        return self.get_conn().run(writes.create_resource(post, listing, name=body.get("name")))

    def update_enrichment(self, enrichment_id: str, body: Row, *, workspace_id: str | None = None) -> Row:
        """Replace the given fields of an enrichment and return it."""
        return self._send(endpoints.update_enrichment(enrichment_id, body, workspace_id=workspace_id))

    def delete_enrichment(self, enrichment_id: str, *, workspace_id: str | None = None) -> None:
        """Delete an enrichment."""
        self._delete(endpoints.delete_enrichment(enrichment_id, workspace_id=workspace_id))

    def preview_enrichment(self, feed_id: str, records: list[Row], *, workspace_id: str | None = None) -> Row:
        """Return what the feed's enrichments would change in some records. Nothing is saved.

        :param records: 1 to 50 records.
        :return: ``records`` (each with ``original``, ``enriched`` and ``changedFields``) and a ``summary``.
        """
        return self._send(endpoints.preview_enrichment(feed_id, records, workspace_id=workspace_id))
