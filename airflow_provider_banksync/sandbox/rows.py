"""How the things of the world look to a client: the field names of the contract, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.clock import iso
from airflow_provider_banksync.sandbox.model import (
    Account,
    Bank,
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
    from datetime import datetime

    from airflow_provider_banksync.sandbox.ledger import Sighting
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


def portal_field(workspace: Workspace) -> Row | None:
    """Give the ``portal`` field of a family row: null for the parent's own rows."""
    if not workspace.is_portal:
        return None
    return {"id": workspace.id, "name": workspace.name, **_icon(workspace)}


def workspace_row(workspace: Workspace, *, inherited: bool) -> Row:
    """Show a workspace; inherited means that it is reached through its parent."""
    return {
        "id": workspace.id,
        "name": workspace.name,
        **_icon(workspace),
        "isInherited": inherited,
        "parentWorkspaceId": workspace.parent_id,
        "createdAt": iso(workspace.created_at),
    }


def _icon(workspace: Workspace) -> Row:
    return {"icon": workspace.icon} if workspace.icon else {}


def bank_row(bank: Bank) -> Row:
    """Show a bank."""
    status: Row = {"status": "connected"}
    if bank.broken:
        status = {"status": "error", "errorCode": "ITEM_LOGIN_REQUIRED", "errorMessage": bank.reauth_message}
    return {
        "id": bank.id,
        "name": bank.name,
        "source": bank.source,
        "type": "bank",
        "order": bank.order,
        "connectionStatus": status,
        "institutionId": bank.institution_id,
        "createdAt": iso(bank.created_at),
        "updatedAt": iso(bank.updated_at),
        "links": {"self": f"/v1/banks/{bank.id}", "accounts": f"/v1/banks/{bank.id}/accounts"},
    }


def account_row(account: Account) -> Row:
    """Show an account."""
    base = f"/v1/banks/{account.bank.id}/accounts/{account.id}"
    links = {"self": base, "transactions": f"{base}/transactions", "balances": f"{base}/balances"}
    if account.kind is Kind.INVESTMENT:
        links |= {"holdings": f"{base}/holdings", "trades": f"{base}/trades"}
    if account.kind is Kind.LOAN:
        links |= {"loan": f"{base}/loan"}
    return {
        "id": account.id,
        "bankId": account.bank.id,
        "accountNumber": account.number,
        "accountName": account.name,
        "accountType": account.kind.value,
        "balance": account.balance,
        "availableBalance": account.available,
        "currency": account.currency.code,
        "createdAt": iso(account.created_at),
        "updatedAt": iso(account.updated_at),
        "links": links,
    }


def balance_row(account: Account, now: datetime) -> Row:
    """Show the live balance of an account."""
    return {
        "accountId": account.id,
        "current": account.balance,
        "available": account.available,
        "currency": account.currency.code,
        "asOf": iso(now),
    }


def transaction_row(seed: Seed, account: Account, sighting: Sighting) -> Row:
    """Show a movement of money as it is seen now: pending, or settled under another id."""
    movement = sighting.movement
    amount = account.currency.money(movement.cents)
    nothing = account.currency.minor(0)
    pending_id = None if movement.settles is None else seed.id("pending", account.id, movement.key)
    row: Row = {
        "id": pending_id if sighting.pending else seed.id("transaction", account.id, movement.key),
        "date": sighting.day.isoformat(),
        "authorizedDate": movement.day.isoformat(),
        "description": movement.description,
        "amount": amount,
        "creditAmount": max(amount, nothing),
        "debitAmount": max(-amount, nothing),
        "currency": account.currency.code,
        "category": movement.category,
        "type": movement.type,
        "reference": f"REF{movement.key}",
        "pending": sighting.pending,
        "pendingTransactionId": None if sighting.pending else pending_id,
        "accountId": account.id,
        "accountName": account.name,
        "accountNumber": account.number,
        "bankId": account.bank.id,
        "bank": account.bank.name,
    }
    return row


def integration_row(integration: Integration) -> Row:
    """Show a destination."""
    return {
        "id": integration.id,
        "name": integration.name,
        "type": integration.type,
        "iconUrl": DESTINATIONS[integration.type][1],
        "order": integration.order,
        "createdAt": iso(integration.created_at),
        "updatedAt": iso(integration.created_at),
    }


def feed_row(seed: Seed, feed: Feed) -> Row:
    """Show a feed with everything that configures it."""
    accounts = [{"bankId": account.bank.id, "accountId": account.id} for account in feed.accounts]
    return {
        "id": feed.id,
        "name": feed.name,
        "icon": feed.icon,
        "source": "sync",
        "dataType": feed.data_type,
        "sourceConfig": {"type": "sync", "accounts": accounts},
        "destinationConfig": _destination(seed, feed),
        "fieldMappings": [
            {"sourceField": field, "destinationField": field.capitalize()}
            for field in _MAPPINGS[feed.data_type]
        ],
        "dataTypeOptions": _OPTIONS.get(feed.data_type, {"dataType": feed.data_type}),
        "schedule": _schedule(feed.schedule),
        "state": {"status": "active"},
        "order": feed.order,
        "createdAt": iso(feed.created_at),
        "updatedAt": iso(feed.updated_at),
    }


def _destination(seed: Seed, feed: Feed) -> Row:
    target: Row = {"type": feed.integration.type, "integrationId": feed.integration.id}
    table = seed.token(12, "destination", feed.id)
    if feed.integration.type == "notion":
        return {**target, "databaseId": table}
    if feed.integration.type == "airtable":
        return {**target, "baseId": f"app{table[:14]}", "tableId": f"tbl{table[2:]}"}
    sheet: Row = {"sheetName": feed.name, "direction": "row", "headerRowOrColumn": 1, "pushLocation": "end"}
    return {**target, "spreadsheetId": table, **sheet}


def _schedule(schedule: Schedule) -> Row:
    row: Row = {
        "enabled": schedule.enabled,
        "frequency": schedule.frequency,
        "timeOfDay": f"{schedule.hour:02d}:{schedule.minute:02d}",
    }
    return row if schedule.day_of_week is None else {**row, "dayOfWeek": schedule.day_of_week}


def enrichment_row(enrichment: Enrichment) -> Row:
    """Show an enrichment."""
    return {
        "id": enrichment.id,
        "name": enrichment.name,
        "type": enrichment.type,
        "enabled": True,
        "order": enrichment.order,
        "dataType": "transactions",
        "feedIds": [],
        "allFeeds": True,
        **enrichment.config,
        "createdAt": iso(enrichment.created_at),
        "updatedAt": iso(enrichment.created_at),
        "createdBy": enrichment.created_by,
    }
