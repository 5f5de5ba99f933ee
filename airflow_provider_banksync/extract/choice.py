"""Whose data an export is of: the banks and accounts that its arguments choose."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import conversations, endpoints
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncError
from airflow_provider_banksync.export.manifest import Owner, Unavailable
from airflow_provider_banksync.extract.outcomes import reason_of
from airflow_provider_banksync.filters import check_known, matches, names, wanted_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_banksync.api.aio import AsyncClient
    from airflow_provider_banksync.api.messages import Row


@dataclass(frozen=True)
class Choice:
    """What is wanted.

    :param scope: ``self`` or ``family``.
    :param own: the workspace of ``scope="self"``.
    :param workspace_ids: of these workspaces only; and so on. None: of all.
    :param where: fields of an account, with the values that it must have.
    """

    scope: str
    own: str | None
    workspace_ids: set[str] | None = None
    bank_ids: set[str] | None = None
    account_ids: set[str] | None = None
    where: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, scope: str, own: str | None, **arguments: Any) -> Choice:
        """Check a task's arguments.

        :raises BankSyncConfigError: one is wrong.
        """
        where = wanted_values(arguments.pop("where", None))
        ids = {name: names(name, value) for name, value in arguments.items()}
        if ids.get("workspace_ids") is not None and scope != "family":
            raise BankSyncConfigError(
                "workspace_ids needs scope='family'; for one workspace there is workspace_id."
            )
        return cls(scope, own, **ids, where=where)

    def told(self) -> str:
        """Return what is chosen, the same for the same choice."""
        ids = (self.workspace_ids, self.bank_ids, self.account_ids)
        chosen = [self.where, *(each if each is None else sorted(each) for each in ids)]
        return json.dumps(chosen, sort_keys=True, default=_listed)

    def covers(self, owner: Owner) -> bool:
        """Tell whether an owner that is not there any more would have been chosen; with `where`, nobody knows."""
        wanted = (
            (owner.workspace_id, self.workspace_ids),
            (owner.bank_id, self.bank_ids),
            (owner.account_id, self.account_ids),
        )
        chosen = all(ids is None or value is None or value in ids for value, ids in wanted)
        return chosen and (not self.where or owner.account_id is None)


@dataclass
class Chosen:
    """What the choice came to: whose data is to be read, and whose could not even be listed."""

    owners: list[Owner] = field(default_factory=list)
    unavailable: list[Unavailable] = field(default_factory=list)


async def choose(client: AsyncClient, choice: Choice, width: int) -> Chosen:
    """List the banks and their accounts, several at a time.

    :param width: how many requests are under way at once.
    :raises BankSyncConfigError: the choice names what there is not.
    """
    banks = (await client.send(endpoints.list_banks(choice.scope))).value
    await check_workspaces(client, choice, banks)
    refuse_unknown("bank_ids", choice.bank_ids, {bank["id"] for bank in banks})
    wanted = [
        bank
        for bank in banks
        if (choice.workspace_ids is None or bank["workspaceId"] in choice.workspace_ids)
        and (choice.bank_ids is None or bank["id"] in choice.bank_ids)
    ]
    turns = asyncio.Semaphore(width)
    chosen = Chosen()

    async def accounts(bank: Row) -> list[tuple[Owner, Row]]:
        owner = _owner(bank, choice.own)
        async with turns:
            try:
                call = endpoints.list_accounts(bank["id"], workspace_id=bank.get("workspaceId"))
                rows = (await client.send(call)).value
            except BankSyncError as error:
                reason = reason_of(error)
                if reason is None:
                    raise
                chosen.unavailable.append(Unavailable(owner, reason, str(error)))
                return []
        return [(_account_owner(owner, row), row) for row in rows]

    listed = [pair for found in await gather(*(accounts(bank) for bank in wanted)) for pair in found]
    if not chosen.unavailable:
        refuse_unknown("account_ids", choice.account_ids, {row["id"] for _, row in listed})
        check_known("where", [row for _, row in listed], choice.where)
    # One that is listed twice is read once: two at the same time would write the same file.
    owners = {
        owner.key: owner
        for owner, row in listed
        if (choice.account_ids is None or row["id"] in choice.account_ids) and matches(row, choice.where)
    }
    chosen.owners = list(owners.values())
    return chosen


async def gather(*coroutines: Any) -> list[Any]:
    """Run all, and leave none behind when one fails."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def check_workspaces(client: AsyncClient, choice: Choice, rows: list[Row]) -> None:
    """Refuse workspaces that there are not in the family.

    :param rows: of a listing of the family; a workspace that has a row there is one of it.
    """
    unknown = (choice.workspace_ids or set()) - {row.get("workspaceId") for row in rows}
    if unknown:  # a portal that has none is none of these, but is no slip
        unknown -= {portal["id"] for portal in await client.run(conversations.list_portals())}
    if unknown:
        unknown -= {
            client.config.workspace_id or (await client.send(endpoints.whoami())).value["workspaceId"]
        }
    refuse_unknown("workspace_ids", unknown, set())


def refuse_unknown(argument: str, wanted: set[str] | None, there: set[str]) -> None:
    """Refuse a filter that names what there is not: it is a slip, and would quietly leave a client out."""
    if unknown := (wanted or set()) - there:
        raise BankSyncConfigError(f"{argument} names what there is not: {', '.join(sorted(unknown))}.")


def _owner(bank: Row, own: str | None) -> Owner:
    portal = bank.get("portal") or {}
    return Owner(bank.get("workspaceId") or str(own), portal.get("name"), bank["id"], _text(bank.get("name")))


def _account_owner(bank: Owner, account: Row) -> Owner:
    name = _text(account.get("accountName")) or _text(account.get("accountNumber"))
    return Owner(bank.workspace_id, bank.portal, bank.bank_id, bank.bank, account["id"], name)


def _listed(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
