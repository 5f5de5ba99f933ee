"""Reads a listing of one workspace or of the family, with several requests in flight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.flows import listings
from airflow_provider_banksync.api.validation import validate_resource
from airflow_provider_banksync.extract.filters import matches, refuse_unknown_fields
from airflow_provider_banksync.extract.selection import (
    AccountSelection,
    bank_partition,
    fetch_all,
    refuse_unknown_workspaces,
)

if TYPE_CHECKING:
    import logging

    from airflow_provider_banksync.api.flows.core import Flow
    from airflow_provider_banksync.api.http.async_client import AsyncClient
    from airflow_provider_banksync.api.messages import Row
    from airflow_provider_banksync.extract.partition import Partition, Unavailable


@dataclass
class ListingResult:
    """The rows of each workspace, by its id, and the workspaces whose rows are incomplete."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    partitions: dict[str, Partition] = field(default_factory=dict)
    unavailable: list[Unavailable] = field(default_factory=list)

    def sizes(self) -> dict[Partition, int]:
        """Return the number of rows of each workspace."""
        return {partition: len(self.rows.get(key, [])) for key, partition in self.partitions.items()}


async def fetch_listing(
    client: AsyncClient,
    resource: str,
    selection: AccountSelection,
    concurrency: int,
    log: logging.Logger | Any,
) -> ListingResult:
    """Read a listing. A workspace whose rows are incomplete gets none.

    :param resource: one of `api.validation.RESOURCES`.
    :param concurrency: number of requests in flight.
    :raises BankSyncConfigError: if the selection names an id or a field that does not exist.
    """
    result = ListingResult()
    if resource == "portals":
        rows = await client.run(listings.list_portals())
    else:
        requests = await client.run(_listing_requests(client, resource, selection))
        rows = await _send_requests(client, requests, selection, concurrency, result.unavailable, log)
    if selection.workspace_ids is not None:
        await refuse_unknown_workspaces(client, selection, rows)
        rows = selection.of_workspaces(rows)
    if not result.unavailable:
        refuse_unknown_fields("where", rows, selection.where)
    incomplete = {each.partition.workspace_id for each in result.unavailable}
    for row in rows:
        partition = selection.workspace_of(row)
        if partition.workspace_id in incomplete:
            continue
        known = result.partitions.get(partition.workspace_id)
        if known is None or known.portal is None:
            result.partitions[partition.workspace_id] = partition
        if matches(row, selection.where):
            result.rows.setdefault(partition.workspace_id, []).append(row)
    return result


async def list_rows(
    client: AsyncClient, resource: str, scope: str, concurrency: int, log: logging.Logger | Any
) -> tuple[list[Row], list[Unavailable]]:
    """Return the rows of a listing in the API's order, and the banks and workspaces whose rows are incomplete.

    :param resource: one of `api.validation.RESOURCES`.
    :param concurrency: number of requests in flight.
    """
    validate_resource(resource, scope)
    if resource == "portals":
        return await client.run(listings.list_portals(workspace_id=client.config.workspace_id)), []
    unavailable: list[Unavailable] = []
    selection = AccountSelection(scope)
    requests = await client.run(_listing_requests(client, resource, selection))
    if scope != "family" and any(request.subject for request in requests):
        own = client.config.workspace_id or (await client.send(endpoints.whoami())).value["workspaceId"]
        selection = AccountSelection(scope, str(own))
    rows = await _send_requests(client, requests, selection, concurrency, unavailable, log, by_bank=True)
    if resource == "jobs" and scope == "family" and len(requests) > 1:
        rows = listings.sort_newest_first(rows)
    return rows, unavailable


def _listing_requests(
    client: AsyncClient, resource: str, selection: AccountSelection
) -> Flow[list[listings.ListingRequest]]:
    return listings.listing_requests(
        resource,
        selection.scope,
        internal=client.config.internal,
        workspace_id=client.config.workspace_id,
        select=selection.select_banks if resource == "accounts" else selection.of_workspaces,
    )


async def _send_requests(
    client: AsyncClient,
    requests: list[listings.ListingRequest],
    selection: AccountSelection,
    concurrency: int,
    unavailable: list[Unavailable],
    log: logging.Logger | Any,
    *,
    by_bank: bool = False,
) -> list[Row]:
    """Return the rows of all requests.

    :param by_bank: a bank can be unavailable alone. Otherwise its whole workspace is.
    """

    def partition_of(request: listings.ListingRequest) -> Partition | None:
        if not request.subject:
            return None
        workspace = selection.workspace_of(request.owner)
        if not by_bank or not request.bank:
            return workspace
        return bank_partition(workspace, request.bank)

    calls = [(request.call, partition_of(request), request.subject) for request in requests]
    found = await fetch_all(client, calls, unavailable, concurrency, log)
    return [{**row, **request.owner} for request, rows in zip(requests, found, strict=True) for row in rows]
