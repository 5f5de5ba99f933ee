"""Which banks and accounts an export reads."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.flows import listings
from airflow_provider_banksync.api.ownership import portal_name
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.extract.filters import (
    matches,
    parse_ids,
    parse_where,
    refuse_unknown,
    refuse_unknown_fields,
)
from airflow_provider_banksync.extract.isolated_reads import IsolatedReads, Read
from airflow_provider_banksync.extract.partition import Partition, Unavailable
from airflow_provider_banksync.extract.progress import Progress

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping, Sequence

    from airflow_provider_banksync.api.http.async_client import AsyncClient
    from airflow_provider_banksync.api.messages import Call, Row

#: How many characters of an account number BankSync and banks show.
_LAST_DIGITS = 4


@dataclass(frozen=True)
class AccountSelection:
    """The workspaces, banks and accounts to read. None means all.

    :param scope: ``self`` or ``family``.
    :param own_workspace_id: the workspace of ``scope="self"``; None for the family.
    :param where: fields of an account, with the values that they must have.
    """

    scope: str
    own_workspace_id: str | None = None
    workspace_ids: set[str] | None = None
    bank_ids: set[str] | None = None
    account_ids: set[str] | None = None
    where: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_arguments(cls, scope: str, *, where: object = None, **ids: object) -> AccountSelection:
        """Check the arguments of a task.

        :raises BankSyncConfigError: if one is wrong.
        """
        fields = parse_where(where)
        parsed: dict[str, Any] = {name: parse_ids(name, value) for name, value in ids.items()}
        if parsed.get("workspace_ids") is not None and scope != "family":
            raise BankSyncConfigError(
                "workspace_ids needs scope='family'. For a single workspace, use workspace_id."
            )
        return cls(scope, None, **parsed, where=fields)

    def fingerprint(self) -> str:
        """Return a text that is the same for the same selection."""
        ids = (self.workspace_ids, self.bank_ids, self.account_ids)
        selected = [self.where, *(each if each is None else sorted(each) for each in ids)]
        return json.dumps(selected, sort_keys=True, default=_to_json)

    def includes(self, partition: Partition) -> bool:
        """Return whether the selection would have included a partition that no listing has any more.

        With `where`, the answer for an account is False, because its fields are unknown.
        """
        wanted = (
            (partition.workspace_id, self.workspace_ids),
            (partition.bank_id, self.bank_ids),
            (partition.account_id, self.account_ids),
        )
        included = all(ids is None or value is None or value in ids for value, ids in wanted)
        return included and (not self.where or partition.account_id is None)

    def workspace_of(self, row: Row) -> Partition:
        """Return the partition of the workspace that a row of a listing belongs to."""
        if self.own_workspace_id is not None:
            return Partition(self.own_workspace_id)
        return Partition(row["workspaceId"], portal_name(row))

    def of_workspaces(self, rows: list[Row]) -> list[Row]:
        """Return the rows of a listing whose workspace is selected."""
        ids = self.workspace_ids
        return rows if ids is None else [row for row in rows if row["workspaceId"] in ids]

    def select_banks(self, banks: list[Row]) -> list[Row]:
        """Return the selected banks of a listing.

        :raises BankSyncConfigError: if the selection names a bank that the listing does not have.
        """
        ids = self.bank_ids
        refuse_unknown("bank_ids", ids, {bank["id"] for bank in banks})
        return [bank for bank in self.of_workspaces(banks) if ids is None or bank["id"] in ids]


@dataclass
class SelectedAccounts:
    """The partitions to read, and the banks whose accounts could not be listed.

    :param lists: number of partitions of each bank whose accounts could be listed.
    """

    partitions: list[Partition] = field(default_factory=list)
    unavailable: list[Unavailable] = field(default_factory=list)
    lists: dict[Partition, int] = field(default_factory=dict)


async def select_accounts(
    client: AsyncClient, selection: AccountSelection, concurrency: int, log: logging.Logger | Any
) -> SelectedAccounts:
    """List the selected banks and their accounts.

    :param concurrency: number of requests in flight.
    :raises BankSyncConfigError: if the selection names an id or a field that does not exist.
    """
    banks = (await client.send(endpoints.list_banks(selection.scope))).value
    await refuse_unknown_workspaces(client, selection, banks)
    wanted = selection.select_banks(banks)
    selected = SelectedAccounts()
    partitions = [bank_partition(selection.workspace_of(bank), bank) for bank in wanted]
    requests = [
        (endpoints.list_accounts(bank["id"], workspace_id=bank.get("workspaceId")), partition, "")
        for bank, partition in zip(wanted, partitions, strict=True)
    ]
    rows_of_banks = await fetch_all(client, requests, selected.unavailable, concurrency, log)
    accounts = [
        (_account_partition(partition, bank, row), row)
        for bank, partition, rows in zip(wanted, partitions, rows_of_banks, strict=True)
        for row in rows
    ]
    if not selected.unavailable:
        refuse_unknown("account_ids", selection.account_ids, {row["id"] for _, row in accounts})
        refuse_unknown_fields("where", [row for _, row in accounts], selection.where)
    # An account that is listed twice is read once. Two reads at the same time would write the same file.
    by_key = {
        partition.key: partition
        for partition, row in accounts
        if (selection.account_ids is None or row["id"] in selection.account_ids)
        and matches(row, selection.where)
    }
    selected.partitions = list(by_key.values())
    unlisted = {each.partition.key for each in selected.unavailable}
    sizes = Counter((*key[:2], "") for key in by_key)
    selected.lists = {each: sizes[each.key] for each in partitions if each.key not in unlisted}
    return selected


async def fetch_all(
    client: AsyncClient,
    requests: Sequence[tuple[Call[list[Row]], Partition | None, str]],
    unavailable: list[Unavailable],
    concurrency: int,
    log: logging.Logger | Any,
) -> list[list[Row]]:
    """Return the rows of each request. If one fails for a reason of its partition, add that to `unavailable`.

    :param requests: each with the partition that its rows belong to, if they have one, and what it lists.
    :param concurrency: number of requests in flight.
    """
    rows: list[list[Row]] = [[] for _ in requests]
    progress = Progress(len(requests), "lists")

    async def fetch(number: int, call: Call[list[Row]]) -> None:
        rows[number] = (await client.send(call)).value
        progress.done += 1
        progress.rows += len(rows[number])

    reads = [
        Read(partition, partial(fetch, number, call), subject)
        for number, (call, partition, subject) in enumerate(requests)
    ]
    async with progress.logged(client, log):
        unavailable += await IsolatedReads(concurrency, log).run(reads)
    return rows


async def refuse_unknown_workspaces(
    client: AsyncClient, selection: AccountSelection, rows: list[Row]
) -> None:
    """Refuse ``workspace_ids`` that are not in the family.

    :param rows: a listing of the family. A workspace that has a row there belongs to the family.
    """
    flow = listings.find_unknown_workspaces(
        selection.workspace_ids or (), rows, workspace_id=client.config.workspace_id
    )
    unknown = await client.run(flow)
    refuse_unknown("workspace_ids", unknown, set())


def bank_partition(workspace: Partition, bank: Row) -> Partition:
    """Return the partition of a bank of a workspace."""
    return replace(workspace, bank_id=bank["id"], bank=_text(bank.get("name")))


def _account_partition(partition: Partition, bank: Row, account: Row) -> Partition:
    number = _text(account.get("accountNumber"))
    name = _text(account.get("accountName")) or number
    institution = _text(bank.get("institutionId")) or partition.bank
    last_digits = re.sub(r"\D", "", (number or "")[-_LAST_DIGITS:])
    parts = (institution, _text(account.get("currency")), last_digits)
    identity = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16] if all(parts) else None
    return replace(partition, account_id=account["id"], account=name, identity=identity)


def _to_json(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
