"""Destinations, feeds and enrichments of a workspace, grown from the seed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.model import (
    Account,
    Enrichment,
    Feed,
    Integration,
    Kind,
    Row,
    Schedule,
    Workspace,
)
from airflow_provider_banksync.sandbox.names import DESTINATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_banksync.sandbox.seed import Seed

_MAPPINGS = {
    "transactions": ("date", "description", "amount", "currency", "category"),
    "balances": ("asOf", "current", "available", "currency"),
    "trades": ("date", "symbol", "quantity", "price", "amount"),
    "holdings": ("symbol", "quantity", "price", "value"),
}
_OPTIONS: dict[str, Row] = {
    "transactions": {"dataType": "transactions", "pendingMode": "track_and_update"},
    "balances": {"dataType": "balances", "mode": "append"},
}
_ICONS = {"transactions": "💳", "balances": "💰", "trades": "📈", "holdings": "🧺"}


def integrations_of(seed: Seed, workspace: Workspace) -> tuple[Integration, ...]:
    """Give a workspace one or two destinations of different types."""
    dice = seed.dice("integrations", workspace.id)
    types = list(DESTINATIONS)
    first = dice.below(len(types))
    chosen = [types[(first + step) % len(types)] for step in range(dice.between(1, 2))]
    return tuple(
        Integration(
            id=seed.id("integration", workspace.id, order),
            workspace_id=workspace.id,
            name=f"{workspace.name} · {DESTINATIONS[kind][0]}",
            type=kind,
            order=order,
            created_at=workspace.created_at + timedelta(hours=order + 1),
        )
        for order, kind in enumerate(chosen)
    )


def feeds_of(
    seed: Seed, workspace: Workspace, integrations: Sequence[Integration], accounts: Sequence[Account]
) -> tuple[Feed, ...]:
    """Give a workspace its feeds: transactions per bank, and what else its accounts have to offer."""
    dice = seed.dice("feeds", workspace.id)
    feeds: list[Feed] = []

    def add(data_type: str, title: str, members: Sequence[Account]) -> None:
        order = len(feeds)
        feed_id = seed.id("feed", workspace.id, order)
        created = workspace.created_at + timedelta(days=130 + order, seconds=dice.below(3_600))
        integration, schedule = dice.pick(integrations), _schedule(seed, workspace, order)
        feeds.append(
            Feed(
                id=feed_id,
                workspace_id=workspace.id,
                data_type=data_type,
                source="sync",
                accounts=tuple(members),
                integration=integration,
                schedule=schedule,
                settings={
                    "name": title,
                    "icon": _ICONS[data_type],
                    "source": "sync",
                    "dataType": data_type,
                    "sourceConfig": {"type": "sync", "accounts": [_account_ref(each) for each in members]},
                    "destinationConfig": _destination(seed, feed_id, title, integration),
                    "fieldMappings": [
                        {"sourceField": field, "destinationField": field.capitalize()}
                        for field in _MAPPINGS[data_type]
                    ],
                    "dataTypeOptions": _OPTIONS.get(data_type, {"dataType": data_type}),
                    "schedule": _schedule_setting(schedule),
                },
                order=order,
                created_at=created,
                updated_at=created + timedelta(days=dice.below(30)),
            )
        )

    _transaction_feeds(accounts, add)
    if not workspace.is_portal or dice.chance(0.5):
        add("balances", "Daily balances", accounts)
    invested = [account for account in accounts if account.kind is Kind.INVESTMENT]
    if invested:
        add("holdings", "Portfolio", invested)
        if not workspace.is_portal or dice.chance(0.5):
            add("trades", "Trades", invested)
    return tuple(feeds)


def _transaction_feeds(
    accounts: Sequence[Account], add: Callable[[str, str, Sequence[Account]], None]
) -> None:
    by_bank: dict[str, list[Account]] = {}
    for account in accounts:
        if account.kind is not Kind.INVESTMENT:
            by_bank.setdefault(account.bank.id, []).append(account)
    for members in by_bank.values():
        add("transactions", f"{members[0].bank.name} transactions", members)


def _schedule(seed: Seed, workspace: Workspace, order: int) -> Schedule:
    dice = seed.dice("schedule", workspace.id, order)
    hour, minute = dice.between(2, 5), dice.below(60)
    if order == 0 or dice.chance(0.6):
        return Schedule(enabled=True, frequency="daily", hour=hour, minute=minute)
    return Schedule(
        enabled=dice.chance(0.7), frequency="weekly", hour=hour, minute=minute, day_of_week=dice.below(7)
    )


def _account_ref(account: Account) -> Row:
    return {"bankId": account.bank.id, "accountId": account.id}


def _destination(seed: Seed, feed_id: str, title: str, integration: Integration) -> Row:
    target: Row = {"type": integration.type, "integrationId": integration.id}
    table = seed.token(12, "destination", feed_id)
    if integration.type == "notion":
        return {**target, "databaseId": table}
    if integration.type == "airtable":
        return {**target, "baseId": f"app{table[:14]}", "tableId": f"tbl{table[2:]}"}
    sheet: Row = {"sheetName": title, "direction": "row", "headerRowOrColumn": 1, "pushLocation": "end"}
    return {**target, "spreadsheetId": table, **sheet}


def _schedule_setting(schedule: Schedule) -> Row:
    row: Row = {
        "enabled": schedule.enabled,
        "frequency": schedule.frequency,
        "timeOfDay": f"{schedule.hour:02d}:{schedule.minute:02d}",
    }
    return row if schedule.day_of_week is None else {**row, "dayOfWeek": schedule.day_of_week}


def enrichments_of(seed: Seed, workspace: Workspace, owner_id: str) -> tuple[Enrichment, ...]:
    """Give a workspace a rule, and some of them an alert and their one memory."""
    dice = seed.dice("enrichments", workspace.id)
    condition: Row = {
        "logic": "and",
        "conditions": [{"field": "description", "operator": "contains", "value": "Uber"}],
    }
    rule: Row = {"rules": [{"conditions": condition, "action": {"field": "category", "value": "Travel"}}]}
    large: Row = {
        "logic": "and",
        "conditions": [{"field": "amount", "operator": "less_than", "value": -5_000}],
    }
    alert: Row = {"conditions": large, "destinations": [{"type": "email", "to": "books@example.com"}]}
    memory: Row = {"patternField": "description", "learnFields": ["category"]}
    chosen: list[tuple[str, str, Row]] = [("Travel by Uber", "rule", {"ruleConfig": rule})]
    if dice.chance(0.4):
        chosen.append(("Large payments", "alert", {"alertConfig": {**alert, "cooldownMinutes": 60}}))
    if not workspace.is_portal or dice.chance(0.3):
        chosen.append(("What we called it last time", "memory", {"memoryConfig": memory}))
    return tuple(
        Enrichment(
            id=seed.id("enrichment", workspace.id, order),
            workspace_id=workspace.id,
            settings={
                "name": name,
                "type": kind,
                "enabled": True,
                "order": order,
                "dataType": "transactions",
                "feedIds": [],
                "allFeeds": True,
                **config,
            },
            created_by=owner_id,
            created_at=workspace.created_at + timedelta(days=140 + order),
            updated_at=workspace.created_at + timedelta(days=140 + order),
        )
        for order, (name, kind, config) in enumerate(chosen)
    )
