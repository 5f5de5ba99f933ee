"""The generated world: workspaces, and their banks, accounts, destinations, feeds and enrichments.

Only the list of workspaces is stored. Everything else is computed on request, with a small cache, so that a family of
a thousand clients starts at once.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.world import names
from airflow_provider_banksync.sandbox.world.model import (
    Account,
    Bank,
    Enrichment,
    Feed,
    Integration,
    Kind,
    Row,
    Workspace,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_banksync.sandbox.world.seed import RandomDraws, Seed

# createdAt and updatedAt depend on this day, not on the clock, so that answers are the same every day.
EPOCH = datetime(2023, 1, 1, tzinfo=timezone.utc)

_ACCOUNT_NAMES = {
    Kind.CHECKING: "Business Current",
    Kind.SAVINGS: "Reserve Saver",
    Kind.CREDIT: "Company Card",
    Kind.INVESTMENT: "Brokerage",
    Kind.LOAN: "Equipment Loan",
}
_PORTAL_KINDS = (Kind.SAVINGS, Kind.CREDIT, Kind.INVESTMENT, Kind.LOAN)
_FIRM_KINDS: tuple[Kind, ...] = (Kind.CHECKING, Kind.SAVINGS, Kind.INVESTMENT, Kind.LOAN)
"""The firm's own bank has every kind of data, even in a small family."""


_FEED_TYPES: dict[str, tuple[str, tuple[str, ...], Row]] = {
    "transactions": (
        "💳",
        ("date", "description", "amount", "currency", "category"),
        {"pendingMode": "track_and_update"},
    ),
    "balances": ("💰", ("asOf", "current", "available", "currency"), {"mode": "append"}),
    "trades": ("📈", ("date", "symbol", "quantity", "price", "amount"), {}),
    "holdings": ("🧺", ("symbol", "quantity", "price", "value"), {}),
}
"""The icon, the mapped fields and the options of feeds of a data type."""


class World:
    """A firm with its clients. The first bank of ``broken_banks`` portals needs a new sign-in."""

    def __init__(self, seed: Seed, *, portals: int, deleted_portals: int, broken_banks: int) -> None:
        self.seed = seed
        self.parent = self._firm()
        self.portals = tuple(self._portal(index) for index in range(portals))
        self.deleted = tuple(
            self._portal(index, deleted=True) for index in range(portals, portals + deleted_portals)
        )
        self._by_id = {each.id: each for each in (self.parent, *self.portals, *self.deleted)}
        ranked = sorted(self.portals, key=lambda portal: seed.id("broken", portal.id))
        self._broken = frozenset(portal.id for portal in ranked[:broken_banks])
        self.banks = lru_cache(maxsize=2_048)(self._banks)
        self.accounts = lru_cache(maxsize=4_096)(self._accounts)
        self.feeds = lru_cache(maxsize=1_024)(
            lambda each: _feeds(seed, each, self.integrations(each), self.workspace_accounts(each))
        )
        self.integrations = lru_cache(maxsize=1_024)(lambda each: _integrations(seed, each))
        self.enrichments = lru_cache(maxsize=1_024)(
            lambda each: _enrichments(seed, each, self.user_id(each, "owner"))
        )

    def family(self) -> tuple[Workspace, ...]:
        """Return the parent and its portals that are not deleted."""
        return (self.parent, *self.portals)

    def workspace(self, workspace_id: str) -> Workspace | None:
        """Return a workspace, even if it is deleted."""
        return self._by_id.get(workspace_id)

    def delete_portal(self, portal: Workspace) -> None:
        """Delete a portal. It is not listed any more, and requests to it answer 404."""
        self._by_id[portal.id] = replace(portal, deleted=True)
        self.portals = tuple(each for each in self.portals if each.id != portal.id)
        self.deleted = (*self.deleted, self._by_id[portal.id])

    def institution_id(self, name: str) -> str:
        """Return the id of a financial institution."""
        return f"ins_{self.seed.draws('institution', name).between(100, 99_999)}"

    def user_id(self, workspace: Workspace, role: str) -> str:
        """Return the id of the member of a workspace with a role."""
        return self.seed.id("user", workspace.id, role)

    def workspace_accounts(self, workspace: Workspace) -> tuple[Account, ...]:
        """Return the accounts of all banks of a workspace."""
        return tuple(account for bank in self.banks(workspace) for account in self.accounts(bank))

    def _firm(self) -> Workspace:
        draws, workspace_id = self.seed.draws("firm"), self.seed.id("workspace", "parent")
        return Workspace(
            workspace_id, draws.pick(names.FIRMS), "🏛️", None, False, names.US, _draw_time(draws, 0, 10)
        )

    def _portal(self, index: int, *, deleted: bool = False) -> Workspace:
        draws, workspace_id = self.seed.draws("portal", index), self.seed.id("workspace", index)
        name, icon = _client_name(self.seed, index), draws.pick(names.ICONS) if draws.chance(0.6) else None
        # Countries take turns, so that a few portals already have every kind of currency.
        turn = self.seed.draws("countries").below(len(names.COUNTRIES)) + index
        country, created = names.COUNTRIES[turn % len(names.COUNTRIES)], _draw_time(draws, 10, 60)
        return Workspace(workspace_id, name, icon, self.parent.id, deleted, country, created)

    def _banks(self, workspace: Workspace) -> tuple[Bank, ...]:
        draws = self.seed.draws("banks", workspace.id)
        country = workspace.country
        count = 1 if not workspace.is_portal else draws.pick((1, 1, 1, 1, 1, 2, 2, 2, 3, 2))
        first = draws.below(len(country.institutions))
        banks = []
        for order in range(count):
            # Neighbors in the list, so that no client has the same bank twice.
            name = country.institutions[(first + order) % len(country.institutions)]
            created = _draw_time(draws, 60, 180)
            banks.append(
                Bank(
                    id=self.seed.id("bank", workspace.id, order),
                    workspace_id=workspace.id,
                    name=name,
                    source=draws.pick(country.sources),
                    currency=country.currency,
                    institution_id=self.institution_id(name),
                    order=order,
                    broken=order == 0 and workspace.id in self._broken,
                    created_at=created,
                    updated_at=created + timedelta(days=draws.below(90), seconds=draws.below(86_400)),
                )
            )
        return tuple(banks)

    def _accounts(self, bank: Bank) -> tuple[Account, ...]:
        if bank.origin is not None:
            return tuple(self._linked_anew(bank, each) for each in self.accounts(bank.origin))
        draws, kinds = self.seed.draws("accounts", bank.id), _FIRM_KINDS
        if bank.workspace_id != self.parent.id:
            kinds = (Kind.CHECKING, *(draws.pick(_PORTAL_KINDS) for _ in range(draws.below(4))))
        return tuple(self._account(bank, index, kind) for index, kind in enumerate(kinds))

    def _account(self, bank: Bank, index: int, kind: Kind) -> Account:
        draws = self.seed.draws("account", bank.id, index)
        cents = draws.between(120_000, 9_500_000)
        owed = kind in {Kind.CREDIT, Kind.LOAN}
        reserved = 0 if owed else draws.below(40_000)
        digits = f"{draws.below(10_000):04d}"
        created = bank.created_at + timedelta(seconds=index + 1)
        account_id = self.seed.id("account", bank.id, index)
        return Account(
            id=account_id,
            bank=bank,
            kind=kind,
            name=f"{_ACCOUNT_NAMES[kind]} {digits}",
            number=f"••••{digits}",
            balance=bank.currency.amount_of_cents(-cents if owed else cents),
            available=bank.currency.amount_of_cents(draws.between(0, 500_000) if owed else cents - reserved),
            opened=date(2023, 1, 1) + timedelta(days=draws.below(120)),
            created_at=created,
            updated_at=created + timedelta(days=draws.below(60)),
            origin_id=account_id,
        )

    def _linked_anew(self, bank: Bank, old: Account) -> Account:
        """Return an account under a new id, at a bank that was linked anew."""
        new_id = self.seed.id("account", bank.id, old.id)
        return replace(old, id=new_id, bank=bank, created_at=bank.created_at, updated_at=bank.created_at)


def _client_name(seed: Seed, index: int) -> str:
    """Return the name of a client. The step shares no factor with the number of pairs, so no pair repeats."""
    pairs = len(names.FIRST_WORDS) * len(names.SECOND_WORDS)
    start = seed.draws("names").below(pairs)
    first, second = divmod((start + index * 1_237) % pairs, len(names.SECOND_WORDS))
    name = f"{names.FIRST_WORDS[first]} {names.SECOND_WORDS[second]}"
    if index % 6 == 2:
        awkward = names.AWKWARD_NAMES[index // 6 % len(names.AWKWARD_NAMES)]
        name = awkward if index // 6 < len(names.AWKWARD_NAMES) else f"{awkward} · {name}"
    else:
        name = f"{name} {names.LEGAL_FORMS[index % len(names.LEGAL_FORMS)]}"
    lap = index // pairs
    return f"{name} {lap + 1}" if lap else name


def _draw_time(draws: RandomDraws, first_day: int, last_day: int) -> datetime:
    return EPOCH + timedelta(days=draws.between(first_day, last_day), seconds=draws.below(86_400))


def _integrations(seed: Seed, workspace: Workspace) -> tuple[Integration, ...]:
    """Return one or two destinations of different types."""
    draws, types = seed.draws("integrations", workspace.id), list(names.DESTINATIONS)
    first = draws.below(len(types))
    if not workspace.is_portal:
        first = types.index("notion")  # for names.FIRM_FEED
    integrations = []
    for order in range(draws.between(1, 2)):
        type_ = types[(first + order) % len(types)]
        name, created = f"{workspace.name} · {names.DESTINATIONS[type_][0]}", timedelta(hours=order + 1)
        ids = seed.id("integration", workspace.id, order), workspace.id
        integrations.append(Integration(*ids, name, type_, order, workspace.created_at + created))
    return tuple(integrations)


def _feeds(
    seed: Seed, workspace: Workspace, integrations: Sequence[Integration], accounts: Sequence[Account]
) -> tuple[Feed, ...]:
    """Return one feed of transactions for each bank, and feeds of the other data of the accounts."""
    draws = seed.draws("feeds", workspace.id)
    feeds: list[Feed] = []

    def add(data_type: str, name: str, members: Sequence[Account]) -> None:
        order, (icon, mapped_fields, options) = len(feeds), _FEED_TYPES[data_type]
        feed_id = seed.id("feed", workspace.id, order)
        created = workspace.created_at + timedelta(days=130 + order, seconds=draws.below(3_600))
        integration, updated = draws.pick(integrations), created + timedelta(days=draws.below(30))
        if name == names.FIRM_FEED:
            integration = integrations[0]
        accounts = [{"bankId": each.bank.id, "accountId": each.id} for each in members]
        settings: Row = {
            "name": name,
            "icon": icon,
            "source": "sync",
            "dataType": data_type,
            "sourceConfig": {"type": "sync", "accounts": accounts},
            "destinationConfig": _destination(seed, feed_id, name, integration),
            "fieldMappings": [
                {"sourceField": field, "destinationField": field.capitalize()} for field in mapped_fields
            ],
            "dataTypeOptions": {"dataType": data_type, **options},
            "schedule": _schedule(seed, workspace, order),
        }
        ids = feed_id, workspace.id
        feeds.append(
            Feed(*ids, data_type, "sync", tuple(members), integration, settings, order, created, updated)
        )

    by_bank: dict[str, list[Account]] = {}
    for account in accounts:
        if account.kind is not Kind.INVESTMENT:
            by_bank.setdefault(account.bank.id, []).append(account)
    for members in by_bank.values():
        name = f"{members[0].bank.name} transactions" if workspace.is_portal else names.FIRM_FEED
        add("transactions", name, members)
    if not workspace.is_portal or draws.chance(0.5):
        add("balances", "Daily balances", accounts)
    invested = [account for account in accounts if account.kind is Kind.INVESTMENT]
    if invested:
        add("holdings", "Portfolio", invested)
        if not workspace.is_portal or draws.chance(0.5):
            add("trades", "Trades", invested)
    return tuple(feeds)


def _schedule(seed: Seed, workspace: Workspace, order: int) -> Row:
    draws = seed.draws("schedule", workspace.id, order)
    time_of_day = f"{draws.between(2, 5):02d}:{draws.below(60):02d}"
    if order == 0 or draws.chance(0.6):
        return {"enabled": True, "frequency": "daily", "timeOfDay": time_of_day}
    enabled, day = draws.chance(0.7), draws.below(7)
    return {"enabled": enabled, "frequency": "weekly", "timeOfDay": time_of_day, "dayOfWeek": day}


def _destination(seed: Seed, feed_id: str, name: str, integration: Integration) -> Row:
    target: Row = {"type": integration.type, "integrationId": integration.id}
    table = seed.token(12, "destination", feed_id)
    if integration.type == "notion":
        return {**target, "databaseId": table}
    if integration.type == "airtable":
        return {**target, "baseId": f"app{table[:14]}", "tableId": f"tbl{table[2:]}"}
    sheet: Row = {"sheetName": name, "direction": "row", "headerRowOrColumn": 1, "pushLocation": "end"}
    return {**target, "spreadsheetId": table, **sheet}


def _enrichments(seed: Seed, workspace: Workspace, owner_id: str) -> tuple[Enrichment, ...]:
    """Return a rule, and in some workspaces an alert and a memory."""
    draws = seed.draws("enrichments", workspace.id)
    rule = {
        "conditions": _condition("description", "contains", "Uber"),
        "action": {"field": "category", "value": "Travel"},
    }
    selected: list[tuple[str, str, Row]] = [("Travel by Uber", "rule", {"ruleConfig": {"rules": [rule]}})]
    if draws.chance(0.4):
        alert = {
            "conditions": _condition("amount", "less_than", -5_000),
            "destinations": [{"type": "email", "to": "books@example.com"}],
            "cooldownMinutes": 60,
        }
        selected.append(("Large payments", "alert", {"alertConfig": alert}))
    if not workspace.is_portal or draws.chance(0.3):
        memory = {"patternField": "description", "learnFields": ["category"]}
        selected.append(("What we called it last time", "memory", {"memoryConfig": memory}))
    enrichments = []
    for order, (name, type_, config) in enumerate(selected):
        enrichment_id = seed.id("enrichment", workspace.id, order)
        created = workspace.created_at + timedelta(days=140 + order)
        settings: Row = {
            "name": name,
            "type": type_,
            "enabled": True,
            "order": order,
            "dataType": "transactions",
            "feedIds": [],
            "allFeeds": True,
            **config,
        }
        enrichments.append(Enrichment(enrichment_id, workspace.id, settings, owner_id, created, created))
    return tuple(enrichments)


def _condition(field: str, operator: str, value: object) -> Row:
    return {"logic": "and", "conditions": [{"field": field, "operator": operator, "value": value}]}
