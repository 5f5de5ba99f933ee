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
    Workspace,
)
from airflow_provider_banksync.sandbox.names import DESTINATIONS

if TYPE_CHECKING:
    from datetime import datetime


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


def feed_row(feed: Feed) -> Row:
    """Show a feed with everything that configures it."""
    return {
        "id": feed.id,
        **feed.settings,
        "state": {"status": "active"},
        "order": feed.order,
        "createdAt": iso(feed.created_at),
        "updatedAt": iso(feed.updated_at),
    }


def enrichment_row(enrichment: Enrichment) -> Row:
    """Show an enrichment."""
    return {
        "id": enrichment.id,
        **enrichment.settings,
        "createdAt": iso(enrichment.created_at),
        "updatedAt": iso(enrichment.updated_at),
        "createdBy": enrichment.created_by,
    }
