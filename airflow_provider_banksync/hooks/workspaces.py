"""The hook's methods for workspaces, integrations and enrichments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.api import conversations, endpoints
from airflow_provider_banksync.hooks.base import ApiMethods

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Row


class WorkspaceMethods(ApiMethods):
    """Who the key is, portals, destinations, enrichments."""

    def whoami(self, *, workspace_id: str | None = None) -> Row:
        """Return ``workspaceId`` and ``workspaceName`` of the key (or of the workspace that is addressed)."""
        return self._send(endpoints.whoami(workspace_id=workspace_id))

    def list_workspaces(self, *, workspace_id: str | None = None) -> list[Row]:
        """Return the workspaces that the key reaches: the parent and its portals.

        :raises BankSyncNotFoundError: this API has no such listing; `list_portals` finds the portals all the same.
        """
        return self._send(endpoints.list_workspaces(workspace_id=workspace_id))

    def list_portals(self, *, workspace_id: str | None = None) -> list[Row]:
        """Return the live portals (clients) of the workspace: ``id``, ``name`` and what else the API tells."""
        workspace_id = self.get_conn().config.workspace_id if workspace_id is None else workspace_id
        return self._run(conversations.list_portals(workspace_id=workspace_id))

    def list_enrichments(self, *, workspace_id: str | None = None) -> list[Row]:
        """Return the enrichments (rules, alerts, memory) of the workspace."""
        return self._send(endpoints.list_enrichments(workspace_id=workspace_id))

    def list_integrations(self, scope: str = "self", *, workspace_id: str | None = None) -> list[Row]:
        """Return the destinations (Notion, Google Sheets, Airtable); `scope` as in `list_banks`."""
        return self._send(endpoints.list_integrations(scope, workspace_id=workspace_id))

    def delete_integration(self, integration_id: str, *, workspace_id: str | None = None) -> None:
        """Delete a destination."""
        self._run(
            conversations.delete(endpoints.delete_integration(integration_id, workspace_id=workspace_id))
        )

    def get_enrichment(self, enrichment_id: str, *, workspace_id: str | None = None) -> Row:
        """Return one enrichment."""
        return self._send(endpoints.get_enrichment(enrichment_id, workspace_id=workspace_id))

    def create_enrichment(self, body: Row, *, workspace_id: str | None = None) -> Row:
        """Create an enrichment and return it; it is never created twice by a retry of ours.

        :param body: ``name``, ``type``, ``dataType`` and the other fields of an enrichment, as the API names them.
        :raises BankSyncConflictError: the workspace has its one memory enrichment already.
        """
        post = endpoints.create_enrichment(body, workspace_id=workspace_id)
        listing = endpoints.list_enrichments(workspace_id=workspace_id)
        return self._run(conversations.create(post, listing, name=body.get("name")))

    def update_enrichment(self, enrichment_id: str, body: Row, *, workspace_id: str | None = None) -> Row:
        """Replace the given fields of an enrichment and return it."""
        return self._send(endpoints.update_enrichment(enrichment_id, body, workspace_id=workspace_id))

    def delete_enrichment(self, enrichment_id: str, *, workspace_id: str | None = None) -> None:
        """Delete an enrichment."""
        self._run(conversations.delete(endpoints.delete_enrichment(enrichment_id, workspace_id=workspace_id)))

    def preview_enrichment(self, feed_id: str, records: list[Row], *, workspace_id: str | None = None) -> Row:
        """Show what the feed's enrichments would make of some records; changes nothing.

        :param records: 1 to 50 of them.
        :return: ``records`` (each with ``original``, ``enriched``, ``changedFields``) and a ``summary``.
        """
        return self._send(endpoints.preview_enrichment(feed_id, records, workspace_id=workspace_id))
