"""A listing by name, through a hook's client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.flows import listings
from airflow_provider_banksync.api.flows.core import Flow, Send

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Row
    from airflow_provider_banksync.hooks.banksync import BankSyncHook


def listed(hook: BankSyncHook, resource: str, scope: str) -> list[dict[str, Any]]:
    """Return the rows of a listing."""
    client = hook.get_conn()
    config = client.config
    return client.run(
        list_resource(resource, scope, internal=config.internal, workspace_id=config.workspace_id)
    )


def list_resource(
    resource: str, scope: str, *, internal: bool = False, workspace_id: str | None = None
) -> Flow[list[Row]]:
    """Return the rows of a listing, one request after the other."""
    if resource == "portals":
        return (yield from listings.list_portals(workspace_id=workspace_id))
    if resource == "jobs" and scope == "family":
        return (yield from listings.list_family_jobs(internal=internal))
    requests = yield from listings.listing_requests(
        resource, scope, internal=internal, workspace_id=workspace_id
    )
    rows: list[Row] = []
    for request in requests:
        reply = yield Send(request.call)
        rows.extend({**row, **request.owner} for row in reply.value)
    return rows
