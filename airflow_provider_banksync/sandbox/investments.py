"""Positions, trades and loans: the account data that is not transactions."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.model import Account, Currency, Kind, Row
from airflow_provider_banksync.sandbox.names import SECURITIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.seed import Dice, Seed


def holdings_of(seed: Seed, account: Account) -> list[Row]:
    """Give the positions of an account; none where it is not an investment account."""
    if account.kind is not Kind.INVESTMENT:
        return []
    dice = seed.dice("holdings", account.id)
    rows: list[Row] = []
    for number in range(dice.between(2, len(SECURITIES))):
        symbol, name, cents, decimals = SECURITIES[-1 - number]
        quantity = _quantity(dice, decimals)
        price = account.currency.money(cents + dice.below(900))
        rows.append(
            {
                "id": seed.id("holding", account.id, number),
                "accountId": account.id,
                "bankId": account.bank.id,
                "symbol": symbol,
                "name": name,
                "quantity": quantity,
                "price": price,
                "value": _value(account.currency, quantity, price),
                "currency": account.currency.code,
            }
        )
    return rows


def trades_of(seed: Seed, account: Account, first: date, last: date) -> Iterator[Row]:
    """Give the trades of an account from day to day, both included, oldest first."""
    if account.kind is not Kind.INVESTMENT:
        return
    day = max(first, account.opened)
    while day <= last:
        dice = seed.dice("trade", account.id, day)
        if day.weekday() < 5 and dice.chance(0.2):
            yield _trade(seed, account, dice, day)
        day += timedelta(days=1)


def _trade(seed: Seed, account: Account, dice: Dice, day: date) -> Row:
    symbol, name, cents, decimals = dice.pick(SECURITIES)
    buys = dice.chance(0.65)
    quantity = _quantity(dice, decimals)
    price = account.currency.money(cents + dice.below(900))
    value = _value(account.currency, quantity, price)
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
    """Give the loan that an account carries, None where it carries none."""
    if account.kind is not Kind.LOAN:
        return None
    dice = seed.dice("loan", account.id)
    start = account.opened - timedelta(days=dice.between(200, 900))
    years = dice.between(3, 10)
    owed = -account.balance
    return {
        "accountId": account.id,
        "bankId": account.bank.id,
        "name": account.name,
        "originalPrincipal": owed + account.currency.money(dice.between(100_000, 4_000_000)),
        "outstandingPrincipal": owed,
        "interestRate": Decimal(dice.between(2_125, 9_875)).scaleb(-3),
        "monthlyPayment": account.currency.money(dice.between(40_000, 150_000)),
        "startDate": start.isoformat(),
        "maturityDate": (start + timedelta(days=365 * years)).isoformat(),
        "currency": account.currency.code,
    }


def _quantity(dice: Dice, decimals: int) -> Decimal:
    return Decimal(dice.between(10**decimals // 4, 40 * 10**decimals)).scaleb(-decimals)


def _value(currency: Currency, quantity: Decimal, price: Decimal) -> Decimal:
    return (quantity * price).quantize(currency.minor(1))
