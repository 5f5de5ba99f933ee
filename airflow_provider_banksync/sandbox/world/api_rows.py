"""The JSON objects of the API: the field names of the contract, and what the live API does differently."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.clock import format_timestamp
from airflow_provider_banksync.sandbox.exact_json import encode
from airflow_provider_banksync.sandbox.world.model import Kind
from airflow_provider_banksync.sandbox.world.names import DESTINATIONS, SECURITIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.world.model import (
        Account,
        Bank,
        Enrichment,
        Feed,
        Integration,
        Row,
        Workspace,
    )
    from airflow_provider_banksync.sandbox.world.seed import RandomDraws, Seed

UNDOCUMENTED_SOURCES = ("snaptrade", "mx", "truelayer")


def portal_field(workspace: Workspace) -> Row | None:
    """Return the field ``portal`` of a family row: null for the parent's own rows."""
    if not workspace.is_portal:
        return None
    return {"id": workspace.id, "name": workspace.name, **_icon(workspace)}


def workspace_row(workspace: Workspace, *, inherited: bool) -> Row:
    """Return a workspace. ``inherited`` means that its parent's key reaches it."""
    return {
        "id": workspace.id,
        "name": workspace.name,
        **_icon(workspace),
        "isInherited": inherited,
        "parentWorkspaceId": workspace.parent_id,
        "createdAt": format_timestamp(workspace.created_at),
    }


def integration_row(integration: Integration) -> Row:
    """Return a destination."""
    return {
        "id": integration.id,
        "name": integration.name,
        "type": integration.type,
        "iconUrl": DESTINATIONS[integration.type][1],
        "order": integration.order,
        **_timestamps(integration.created_at, integration.created_at),
    }


def feed_row(feed: Feed) -> Row:
    """Return a feed."""
    return {
        "id": feed.id,
        **feed.settings,
        "state": {"status": "active"},
        "order": feed.order,
        **_timestamps(feed.created_at, feed.updated_at),
    }


def enrichment_row(enrichment: Enrichment) -> Row:
    """Return an enrichment."""
    return {
        "id": enrichment.id,
        **enrichment.settings,
        **_timestamps(enrichment.created_at, enrichment.updated_at),
        "createdBy": enrichment.created_by,
    }


class Drift:
    """The objects that the live API answers differently from its documentation.

    If ``on``, about half of all banks and accounts have the other form, rows have undocumented fields, and some banks
    have undocumented sources. A seed always selects the same ones. With ``balance_times``, accounts have the field
    ``balanceAsOf`` in any case.
    """

    def __init__(self, seed: Seed, *, on: bool, balance_times: bool = False) -> None:
        self._seed = seed
        self._on = on
        self._balance_times = balance_times
        self.shared_fields = lru_cache(maxsize=2_048)(self._shared_fields)
        """The encoded end of every transaction of an account, and a comma."""

    def bank_row(self, bank: Bank) -> Row:
        """Return a bank."""
        status: Row = {"status": "connected"}
        if bank.broken:
            error = {"errorCode": "ITEM_LOGIN_REQUIRED", "errorMessage": bank.reauth_message}
            status = {"status": "error", **error}
        row: Row = {
            "id": bank.id,
            "name": bank.name,
            "source": bank.source,
            "type": "bank",
            "order": bank.order,
            "connectionStatus": status,
            "institutionId": bank.institution_id,
            **_timestamps(bank.created_at, bank.updated_at),
            "links": {"self": f"/v1/banks/{bank.id}", "accounts": f"/v1/banks/{bank.id}/accounts"},
        }
        if self._on:
            draws = self._seed.draws("drift", bank.id)
            row["syncHealth"] = {"score": draws.between(60, 100), "flags": []}
            if draws.chance(0.5):
                row["connectionStatus"] = {"connected": not bank.broken}
            if draws.chance(0.3):
                row["source"] = draws.pick(UNDOCUMENTED_SOURCES)
        return row

    def account_row(self, account: Account, as_of: datetime) -> Row:
        """Return an account. ``as_of`` is the time of its balance."""
        base = f"/v1/banks/{account.bank.id}/accounts/{account.id}"
        links = {"self": base, "transactions": f"{base}/transactions", "balances": f"{base}/balances"}
        if account.kind is Kind.INVESTMENT:
            links |= {"holdings": f"{base}/holdings", "trades": f"{base}/trades"}
        if account.kind is Kind.LOAN:
            links |= {"loan": f"{base}/loan"}
        row: Row = {
            "id": account.id,
            "bankId": account.bank.id,
            "accountNumber": account.number,
            "accountName": account.name,
            "accountType": account.kind.value,
            "balance": account.balance,
            "availableBalance": account.available,
            "currency": account.currency.code,
            **({"balanceAsOf": format_timestamp(as_of)} if self._on or self._balance_times else {}),
            **_timestamps(account.created_at, account.updated_at),
            "links": links,
        }
        if self._on:
            row["bankName"] = account.bank.name
            if account.balance < 0:
                row["creditLimit"] = account.available - account.balance
        return row

    def balance_row(self, account: Account, now: datetime) -> Row:
        """Return the balance of an account. The live API has two forms of it."""
        if not self._on or self._seed.draws("drift", account.id).chance(0.5):
            return {
                "accountId": account.id,
                "current": account.balance,
                "available": account.available,
                "currency": account.currency.code,
                "asOf": format_timestamp(now),
            }
        return {
            "date": format_timestamp(now),
            "bank": account.bank.name,
            "accountName": account.name,
            "accountType": account.kind.value,
            "accountId": account.id,
            "bankId": account.bank.id,
            "amount": account.balance,
            "availableBalance": account.available,
            "pendingBalance": account.balance - account.available,
            "currency": account.currency.code,
        }

    def _shared_fields(self, account: Account) -> bytes:
        shared: Row = {
            "currency": account.currency.code,
            "accountId": account.id,
            "accountName": account.name,
            "accountNumber": account.number,
            "bankId": account.bank.id,
            "bank": account.bank.name,
        }
        if self._on:
            # Clients must keep all 18 decimals, and an object where others have a text.
            shared["fxRate"] = Decimal("1.000000000000000001")
            shared["enrichment"] = {"confidence": None, "tags": ["🧾"]}
        return b",%b," % encode(shared)[1:]

    def job_row(self, row: Row) -> Row:
        """Return a job, given its documented fields."""
        return {**row, "attempt": 1, "meta": {"region": "eu-1"}} if self._on else row

    def scheduled_job_type(self, job_id: str) -> str:
        """Return the type of a job that BankSync started itself."""
        return "webhook" if self._on and self._seed.draws("drift", job_id).chance(0.3) else "scheduled"


def holdings_of(seed: Seed, account: Account) -> list[Row]:
    """Return the positions of an account, none if it is no investment account."""
    if account.kind is not Kind.INVESTMENT:
        return []
    draws = seed.draws("holdings", account.origin_id)
    rows: list[Row] = []
    for number, (symbol, name, cents, decimals) in zip(
        range(draws.between(2, len(SECURITIES))), reversed(SECURITIES), strict=False
    ):
        quantity, price, value = _draw_quantity(draws, account, cents, decimals)
        rows.append(
            {
                "id": seed.id("holding", account.id, number),
                "accountId": account.id,
                "bankId": account.bank.id,
                "symbol": symbol,
                "name": name,
                "quantity": quantity,
                "price": price,
                "value": value,
                "currency": account.currency.code,
            }
        )
    return rows


def trades_of(seed: Seed, account: Account, first: date, last: date) -> Iterator[Row]:
    """Return the trades of an account in a window, both days included, oldest first."""
    if account.kind is not Kind.INVESTMENT:
        return
    day = max(first, account.opened)
    while day <= last:
        draws = seed.draws("trade", account.origin_id, day)
        if day.weekday() < 5 and draws.chance(0.2):
            yield _trade(seed, account, draws, day)
        day += timedelta(days=1)


def _trade(seed: Seed, account: Account, draws: RandomDraws, day: date) -> Row:
    symbol, name, cents, decimals = draws.pick(SECURITIES)
    buys = draws.chance(0.65)
    quantity, price, value = _draw_quantity(draws, account, cents, decimals)
    return {
        "id": seed.id("trade", account.id, day),
        "accountId": account.id,
        "bankId": account.bank.id,
        "date": day.isoformat(),
        "type": "buy" if buys else "sell",
        "symbol": symbol,
        "description": f"{'Bought' if buys else 'Sold'} {name}",
        "quantity": quantity,
        "price": price,
        "amount": -value if buys else value,
        "currency": account.currency.code,
    }


def loan_of(seed: Seed, account: Account) -> Row | None:
    """Return the loan of an account, None if it is no loan account."""
    if account.kind is not Kind.LOAN:
        return None
    draws, amount_of_cents = seed.draws("loan", account.origin_id), account.currency.amount_of_cents
    start = account.opened - timedelta(days=draws.between(200, 900))
    years = draws.between(3, 10)
    owed = -account.balance
    return {
        "accountId": account.id,
        "bankId": account.bank.id,
        "name": account.name,
        "originalPrincipal": owed + amount_of_cents(draws.between(100_000, 4_000_000)),
        "outstandingPrincipal": owed,
        "interestRate": Decimal(draws.between(2_125, 9_875)).scaleb(-3),
        "monthlyPayment": amount_of_cents(draws.between(40_000, 150_000)),
        "startDate": start.isoformat(),
        "maturityDate": (start + timedelta(days=365 * years)).isoformat(),
        "currency": account.currency.code,
    }


def _draw_quantity(
    draws: RandomDraws, account: Account, cents: int, decimals: int
) -> tuple[Decimal, Decimal, Decimal]:
    """Draw a quantity and a price; return both, and their product in the account's currency."""
    quantity = Decimal(draws.between(10**decimals // 4, 40 * 10**decimals)).scaleb(-decimals)
    price = account.currency.amount_of_cents(cents + draws.below(900))
    return quantity, price, (quantity * price).quantize(account.currency.amount(1))


def _icon(workspace: Workspace) -> Row:
    return {"icon": workspace.icon} if workspace.icon else {}


def _timestamps(created_at: datetime, updated_at: datetime) -> Row:
    return {"createdAt": format_timestamp(created_at), "updatedAt": format_timestamp(updated_at)}
