"""Listings by name: what the list operator and the export have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.api import conversations
from airflow_provider_banksync.api.checks import check_scope, one_of
from airflow_provider_banksync.exceptions import BankSyncConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.api.messages import Row
    from airflow_provider_banksync.hooks.banksync import BankSyncHook

#: These belong to the workspace that is asked; there is no family of them.
_UNSCOPED = frozenset({"workspaces", "portals"})


def check_resource(resource: str, scope: str) -> None:
    """Refuse a listing that there is not.

    :raises BankSyncConfigError: the resource or the scope is none, or the two do not go together.
    """
    one_of("resource", resource, RESOURCES)
    if check_scope(scope) == "family" and resource in _UNSCOPED:
        raise BankSyncConfigError(
            f"resource {resource!r} has no scope='family': it lists them all with scope='self'."
        )


def fetch(hook: BankSyncHook, resource: str, scope: str = "self") -> list[Row]:
    """Return the rows of a listing.

    With ``scope="family"``, each row has ``workspaceId`` and ``portal`` (None for the parent's own), also where the
    API has no family listing: there, the family's workspaces are asked one by one. A family's accounts take a request
    for each bank, its jobs one for each feed (the newest 20 of each), its enrichments one for each workspace.

    :raises BankSyncScopeError: ``scope="family"`` was asked of a portal, or of a key that may not see the family.
    """
    check_resource(resource, scope)
    return _LISTINGS[resource](hook, scope)


def _accounts(hook: BankSyncHook, scope: str) -> list[Row]:
    banks = hook.list_banks(scope)
    return hook.get_conn().run(conversations.list_accounts(banks))


def _jobs(hook: BankSyncHook, scope: str) -> list[Row]:
    if scope == "family":
        return hook.list_family_jobs()
    return [job for feed in hook.list_feeds() for job in hook.list_jobs(feed["id"])]


def _enrichments(hook: BankSyncHook, scope: str) -> list[Row]:
    if scope == "self":
        return hook.list_enrichments()
    hook.list_integrations(
        "family"
    )  # refuses, in BankSync's words, a portal and a key that may not see the family
    parent: Row = {"workspaceId": hook.own_workspace_id(), "portal": None}
    portals = [
        {"workspaceId": portal["id"], "portal": {"id": portal["id"], "name": portal.get("name")}}
        for portal in hook.list_portals()
    ]
    return [
        {**row, **owner}
        for owner in (parent, *portals)
        for row in hook.list_enrichments(workspace_id=owner["workspaceId"])
    ]


_LISTINGS: dict[str, Callable[[BankSyncHook, str], list[Row]]] = {
    "workspaces": lambda hook, _: hook.list_workspaces(),
    "portals": lambda hook, _: hook.list_portals(),
    "banks": lambda hook, scope: hook.list_banks(scope),
    "accounts": _accounts,
    "feeds": lambda hook, scope: hook.list_feeds(scope),
    "integrations": lambda hook, scope: hook.list_integrations(scope),
    "enrichments": _enrichments,
    "jobs": _jobs,
}
RESOURCES = tuple(_LISTINGS)
