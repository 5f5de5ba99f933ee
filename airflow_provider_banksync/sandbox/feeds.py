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
        created = workspace.created_at + timedelta(days=130 + order, seconds=dice.below(3_600))
        feeds.append(
            Feed(
                id=seed.id("feed", workspace.id, order),
                workspace_id=workspace.id,
                name=title,
                icon=_ICONS[data_type],
                data_type=data_type,
                accounts=tuple(members),
                integration=dice.pick(integrations),
                schedule=_schedule(seed, workspace, order),
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
            name=name,
            type=kind,
            config=config,
            order=order,
            created_by=owner_id,
            created_at=workspace.created_at + timedelta(days=140 + order),
        )
        for order, (name, kind, config) in enumerate(chosen)
    )
