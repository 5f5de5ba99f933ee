"""Listings for an export: each workspace's rows, and whose could not be had."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import conversations, endpoints
from airflow_provider_banksync.exceptions import BankSyncError
from airflow_provider_banksync.export.manifest import Owner, Unavailable
from airflow_provider_banksync.extract.choice import check_workspaces, gather, refuse_unknown
from airflow_provider_banksync.extract.outcomes import reason_of
from airflow_provider_banksync.filters import check_known, matches

if TYPE_CHECKING:
    from airflow_provider_banksync.api.aio import AsyncClient
    from airflow_provider_banksync.api.messages import Call, Row
    from airflow_provider_banksync.extract.choice import Choice


@dataclass
class Listed:
    """The rows of each workspace that has some, and the workspaces whose rows are not complete."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    owners: dict[str, Owner] = field(default_factory=dict)
    unavailable: list[Unavailable] = field(default_factory=list)


async def fetch(client: AsyncClient, resource: str, choice: Choice, width: int) -> Listed:
    """Fetch a listing, with several requests at a time where it takes more than one.

    :param resource: one of `hooks.listings.RESOURCES`.
    :raises BankSyncConfigError: the choice names what there is not.
    """
    if resource == "portals":
        portals = await client.run(conversations.list_portals())
        parts: list[_Part] = []
    else:
        portals, parts = [], await _parts(client, resource, choice)
    turns = asyncio.Semaphore(width)
    listed = Listed()

    async def rows_of(part: _Part) -> list[Row]:
        async with turns:
            try:
                rows = (await client.send(part.call)).value
            except BankSyncError as error:
                reason = None if part.owner is None else reason_of(error)
                if reason is None or part.owner is None:
                    raise
                listed.unavailable.append(Unavailable(part.owner, reason, f"{part.what}: {error}"))
                return []
        return [{**row, **part.marks} for row in rows]

    rows = portals + [row for found in await gather(*(rows_of(part) for part in parts)) for row in found]
    if choice.workspace_ids is not None:
        await check_workspaces(client, choice, rows)
        rows = [row for row in rows if row["workspaceId"] in choice.workspace_ids]
    if not listed.unavailable:
        check_known("where", rows, choice.where)
    incomplete = {each.owner.workspace_id for each in listed.unavailable}
    for row in rows:
        portal = (row.get("portal") or {}).get("name") if choice.own is None else None
        owner = Owner(row["workspaceId"] if choice.own is None else choice.own, portal)
        known = listed.owners.get(owner.workspace_id)
        if owner.workspace_id in incomplete or not matches(row, choice.where):
            continue
        listed.owners[owner.workspace_id] = owner if known is None or known.portal is None else known
        listed.rows.setdefault(owner.workspace_id, []).append(row)
    return listed


@dataclass(frozen=True)
class _Part:
    """One request of a listing.

    :param marks: fields that say whose its rows are, where they do not say so themselves.
    :param owner: whose rows are not complete without it; None: without it there is no listing at all.
    """

    call: Call[list[Row]]
    marks: Row = field(default_factory=dict)
    owner: Owner | None = None
    what: str = ""


async def _parts(client: AsyncClient, resource: str, choice: Choice) -> list[_Part]:
    family = choice.own is None
    if resource == "workspaces":
        return [_Part(endpoints.list_workspaces())]
    if resource == "accounts":
        banks = (await client.send(endpoints.list_banks(choice.scope))).value
        refuse_unknown("bank_ids", choice.bank_ids, {bank["id"] for bank in banks})
        wanted = [bank for bank in banks if choice.bank_ids is None or bank["id"] in choice.bank_ids]
        return [
            _part(bank, choice, "bank", endpoints.list_accounts)
            for bank in wanted
            if _is_chosen(bank, choice)
        ]
    if resource == "jobs":
        if family and client.config.internal:
            return [_Part(endpoints.list_all_jobs("family"))]
        feeds = (await client.send(endpoints.list_feeds(choice.scope))).value
        return [
            _part(feed, choice, "feed", endpoints.list_jobs) for feed in feeds if _is_chosen(feed, choice)
        ]
    if resource == "enrichments" and family:
        return await _family_enrichments(client, choice)
    calls: dict[str, Any] = {
        "banks": endpoints.list_banks,
        "feeds": endpoints.list_feeds,
        "integrations": endpoints.list_integrations,
    }
    call = calls[resource](choice.scope) if resource in calls else endpoints.list_enrichments()
    return [_Part(call)]


def _is_chosen(row: Row, choice: Choice) -> bool:
    return choice.workspace_ids is None or row["workspaceId"] in choice.workspace_ids


def _part(row: Row, choice: Choice, kind: str, call: Any) -> _Part:
    """Return the request for what belongs to a bank or a feed."""
    what = f"{kind} {row.get('name') or row['id']!r}"
    if choice.own is not None:
        return _Part(call(row["id"]), {}, Owner(choice.own), what)
    marks = {"workspaceId": row["workspaceId"], "portal": row.get("portal")}
    owner = Owner(row["workspaceId"], (row.get("portal") or {}).get("name"))
    return _Part(call(row["id"], workspace_id=owner.workspace_id), marks, owner, what)


async def _family_enrichments(client: AsyncClient, choice: Choice) -> list[_Part]:
    # Refuses, in BankSync's words, a portal and a key that may not see the family.
    await client.send(endpoints.list_integrations("family"))
    parent = client.config.workspace_id or (await client.send(endpoints.whoami())).value["workspaceId"]
    marks: list[Row] = [{"workspaceId": parent, "portal": None}]
    for portal in await client.run(conversations.list_portals()):
        named = {"id": portal["id"], "name": portal.get("name")}
        marks.append({"workspaceId": portal["id"], "portal": named})
    return [
        _Part(
            endpoints.list_enrichments(workspace_id=mark["workspaceId"]),
            mark,
            Owner(mark["workspaceId"], (mark["portal"] or {}).get("name")),
            "enrichments",
        )
        for mark in marks
        if _is_chosen(mark, choice)
    ]
