"""Listings by name, and the listings that take several requests."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_banksync.api import codec, endpoints
from airflow_provider_banksync.api.flows.core import Flow, Send
from airflow_provider_banksync.api.jobs import validate_status
from airflow_provider_banksync.api.redaction import show_name
from airflow_provider_banksync.api.validation import validate_limit
from airflow_provider_banksync.exceptions import BankSyncError, BankSyncNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_banksync.api.messages import Call, Reply, Row

log = logging.getLogger(__name__)
_SCOPED = {
    "banks": endpoints.list_banks,
    "feeds": endpoints.list_feeds,
    "integrations": endpoints.list_integrations,
}


@dataclass(frozen=True)
class ListingRequest:
    """One of the requests that make up a listing.

    :param owner: ``workspaceId`` and ``portal``, which its rows get. Empty if the rows have both or need neither.
    :param subject: whose rows these are, such as ``bank 'ANZ'``; empty if this is the only request.
    :param bank: the bank whose accounts these are. Empty for other rows.
    """

    call: Call[list[Row]]
    owner: Row = field(default_factory=dict)
    subject: str = ""
    bank: Row = field(default_factory=dict)


def listing_requests(
    resource: str,
    scope: str,
    *,
    internal: bool,
    workspace_id: str | None = None,
    status: str | None = None,
    limit: int | None = None,
    select: Callable[[list[Row]], list[Row]] = list,
) -> Flow[list[ListingRequest]]:
    """Return the requests that make up a listing; the caller sends them.

    :param resource: one of `api.validation.RESOURCES`, except portals.
    :param status: for jobs: list only those in this status.
    :param limit: for jobs: maximum jobs of one request.
    :param select: picks, from the banks (for accounts), the feeds (for jobs) or the family's workspaces (for
        enrichments), those whose rows are wanted.
    """
    if resource == "accounts":
        banks: Reply[list[Row]] = yield Send(endpoints.list_banks(scope))
        return [_request_for(bank, "bank", scope, endpoints.list_accounts) for bank in select(banks.value)]
    if resource == "jobs":
        if internal and scope == "family":
            return [ListingRequest(endpoints.list_all_jobs(scope, status, limit, workspace_id=workspace_id))]
        feeds: Reply[list[Row]] = yield Send(endpoints.list_feeds(scope, workspace_id=workspace_id))
        list_jobs = partial(endpoints.list_jobs, status=status, limit=limit)
        return [_request_for(feed, "feed", scope, list_jobs) for feed in select(feeds.value)]
    if resource in _SCOPED:
        return [ListingRequest(_SCOPED[resource](scope))]
    if resource == "workspaces":
        return [ListingRequest(endpoints.list_workspaces())]
    if scope != "family":
        return [ListingRequest(endpoints.list_enrichments())]
    owners = yield from _family_workspaces(workspace_id)
    return [
        ListingRequest(endpoints.list_enrichments(workspace_id=owner["workspaceId"]), owner, "enrichments")
        for owner in select(owners)
    ]


def list_family_jobs(
    status: str | None = None, limit: int | None = None, *, internal: bool, workspace_id: str | None = None
) -> Flow[list[Row]]:
    """Return the jobs of the family, newest first, each with its ``workspaceId`` and ``portal``.

    The internal surface has one listing for this. The public one takes a request for each feed.

    :param limit: maximum jobs to return; None: the API's default (on the public surface, 20 of each feed).
    """
    validate_status(status)
    validate_limit(limit)
    requests = yield from listing_requests(
        "jobs", "family", internal=internal, workspace_id=workspace_id, status=status, limit=limit
    )
    rows = yield from _fetch_all(requests)
    if internal:
        return rows
    return sort_newest_first(rows)[:limit]


def sort_newest_first(jobs: list[Row]) -> list[Row]:
    """Return jobs in the order of the API's own listings."""
    return sorted(jobs, key=lambda job: codec.epoch_seconds(job.get("createdAt")) or 0.0, reverse=True)


def list_portals(*, workspace_id: str | None = None) -> Flow[list[Row]]:
    """Return the live portals of a workspace, each with at least ``id`` and ``name``.

    ``GET /v1/workspaces`` is not in the vendor's contract. If it answers 404, the portals come from the family
    listings, which lack a portal that has no bank, no feed and no integration.

    :param workspace_id: the workspace; None: the one that the client addresses, which takes one more request.
    """
    try:
        reply: Reply[list[Row]] = yield Send(endpoints.list_workspaces(workspace_id=workspace_id))
        parent = workspace_id if workspace_id is not None else (yield from _own_workspace_id())
        # A portal's own key lists that portal, which is not its own portal.
        return [row for row in reply.value if row.get("parentWorkspaceId") == parent]
    except BankSyncError as error:
        # An API without this address may answer without the envelope.
        if not isinstance(error, BankSyncNotFoundError) and error.status != 404:
            raise
        log.info("This API does not list workspaces. Reading the portals from the family listings.")
    portals: dict[str, Row] = {}
    for listing in _SCOPED.values():
        family: Reply[list[Row]] = yield Send(listing("family", workspace_id=workspace_id))
        for row in family.value:
            if row.get("portal"):
                portals.setdefault(row["workspaceId"], row["portal"])
    return list(portals.values())


def find_unknown_workspaces(
    ids: Iterable[str], rows: list[Row], *, workspace_id: str | None = None
) -> Flow[set[str]]:
    """Return the ids that name no workspace of the family.

    :param rows: of a family listing. This sends more requests only if an id has no row there.
    """
    unknown = set(ids) - {row.get("workspaceId") for row in rows}
    if unknown:  # a portal may have no rows
        portals = yield from list_portals(workspace_id=workspace_id)
        unknown -= {portal["id"] for portal in portals}
    if unknown:
        unknown -= {workspace_id or (yield from _own_workspace_id())}
    return unknown


def _own_workspace_id() -> Flow[str]:
    reply: Reply[Row] = yield Send(endpoints.whoami())
    return str(reply.value["workspaceId"])


def _family_workspaces(workspace_id: str | None) -> Flow[list[Row]]:
    """Return ``workspaceId`` and ``portal`` of the parent and of each portal."""
    yield Send(
        endpoints.list_integrations("family")
    )  # BankSync refuses a portal's key, or one without the right
    owners: list[Row] = [{"workspaceId": workspace_id or (yield from _own_workspace_id()), "portal": None}]
    for portal in (yield from list_portals(workspace_id=workspace_id)):
        named = {"id": portal["id"], "name": portal.get("name")}
        owners.append({"workspaceId": portal["id"], "portal": named})
    return owners


def _request_for(
    row: Row, kind: str, scope: str, list_rows: Callable[..., Call[list[Row]]]
) -> ListingRequest:
    """Return the request for what belongs to a bank or a feed."""
    name = show_name(row["name"]) if row.get("name") else row["id"]
    subject, bank = f"{kind} {name!r}", row if kind == "bank" else {}
    if scope != "family":
        return ListingRequest(list_rows(row["id"]), subject=subject, bank=bank)
    owner = {"workspaceId": row["workspaceId"], "portal": row.get("portal")}
    return ListingRequest(list_rows(row["id"], workspace_id=row["workspaceId"]), owner, subject, bank)


def _fetch_all(requests: list[ListingRequest]) -> Flow[list[Row]]:
    rows: list[Row] = []
    for request in requests:
        reply: Reply[list[Row]] = yield Send(request.call)
        rows.extend({**row, **request.owner} for row in reply.value)
    return rows
