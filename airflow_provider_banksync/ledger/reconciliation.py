"""Reconciles the accounts of a ledger: the rows of two tables in, one row for each account and currency out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timezone, tzinfo
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_banksync.api.codec import epoch_seconds, loads
from airflow_provider_banksync.export.formats.schema import EXTRA, PORTAL_NAME
from airflow_provider_banksync.ledger.columns import (
    ACCOUNT_ID,
    BANK_ID,
    CHANGED_AT,
    DAY,
    FIRST_SEEN_AT,
    TIMESTAMP,
    WORKSPACE_ID,
)
from airflow_provider_banksync.ledger.freshness import compute_freshness, estimate_consent_end
from airflow_provider_banksync.ledger.reconcile import Balance, PostedRow, Span, explain_balances

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RECONCILED, DIFFERENCE, NO_BALANCE, STALE = "reconciled", "difference", "no_balance", "stale"
OUTCOMES = (RECONCILED, DIFFERENCE, NO_BALANCE, STALE)
#: The columns that are read of each table.
BALANCE_COLUMNS = (
    *(WORKSPACE_ID, PORTAL_NAME, BANK_ID, ACCOUNT_ID, DAY, CHANGED_AT),
    *("current", "amount", "currency", "asOf", "date", "accountType", EXTRA),
)
ROW_COLUMNS = (
    *(WORKSPACE_ID, PORTAL_NAME, BANK_ID, ACCOUNT_ID, FIRST_SEEN_AT, CHANGED_AT),
    *("date", "amount", "currency", "pending"),
)
_AMOUNT = pa.decimal128(38, 18)
#: The columns of the result.
RESULT_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in (WORKSPACE_ID, PORTAL_NAME, BANK_ID, ACCOUNT_ID, "currency")),
        (DAY, pa.date32()),
        ("outcome", pa.string()),
        ("difference", _AMOUNT),
        ("difference_count", pa.int64()),
        ("first_day", pa.date32()),
        ("last_day", pa.date32()),
        *((name, _AMOUNT) for name in ("balance_before", "balance_after", "sum_of_rows")),
        ("newest_row", pa.date32()),
        ("usual_gap_days", pa.int64()),
        ("is_stale", pa.bool_()),
        ("needs_sign_in", pa.bool_()),
        ("consent_end_estimate", pa.date32()),
        ("transactions_version", pa.int64()),
        ("balances_version", pa.int64()),
        ("checked_at", TIMESTAMP),
    ]
)
RESULT_KEY = (WORKSPACE_ID, ACCOUNT_ID, "currency", DAY)
#: An account whose type has one of these words is a liability.
_LIABILITIES = ("credit", "loan", "mortgage", "liability")


class BankFacts(NamedTuple):
    """What is known of a bank."""

    needs_sign_in: bool
    linked: date | None = None
    source: str | None = None


@dataclass(frozen=True)
class Reconciliation:
    """The rules of a reconciliation.

    :param today: the day of the run.
    :param last_day: the days after it are open.
    :param zone: days of moments are days there.
    :param owed: whether the balance of a liability is what is owed, as a positive amount. Otherwise it is negative.
    :param account_types: of accounts, by workspace and account. They count before those of the balances.
    :param banks: by workspace and bank.
    """

    today: date
    last_day: date
    zone: tzinfo = timezone.utc
    tolerance: Decimal = Decimal(0)
    owed: bool = False
    account_types: Mapping[tuple[str, str], str] = field(default_factory=dict)
    banks: Mapping[tuple[str, str], BankFacts] = field(default_factory=dict)


class Reconciled(NamedTuple):
    """The result of one account and currency.

    :param row: for the table, without versions and the time.
    :param differences: each with the ids of the account, ``currency``, ``difference``, ``first_day`` and ``last_day``.
    """

    row: dict[str, Any]
    differences: list[dict[str, Any]]


_Key = tuple[str, str, str]


def reconcile_tables(balances: pa.Table, rows: pa.Table, rules: Reconciliation) -> Iterator[Reconciled]:
    """Yield the result of each account and currency. A currency that is not known is an empty text.

    :param balances: with `BALANCE_COLUMNS`, of the days to reconcile.
    :param rows: with `ROW_COLUMNS`, since the first balance or longer.
    """
    by_balance = {key: group.to_pylist() for key, group in _groups(balances)}
    only = defaultdict(set)
    for workspace_id, account_id, currency in by_balance:
        only[workspace_id, account_id].add(currency)
    by_row: dict[_Key, list[pa.Table]] = defaultdict(list)
    for key, group in _groups(rows):
        currencies = only[key[:2]]
        if not key[2] and len(currencies) == 1:  # a row without a currency has that of its account
            key = (*key[:2], next(iter(currencies)))  # noqa: PLW2901
        by_row[key].append(group)
    runs = sorted(pc.unique(rows[FIRST_SEEN_AT]).drop_null().to_pylist())
    for key in sorted(by_balance.keys() | by_row.keys()):
        group = pa.concat_tables([rows.slice(0, 0), *by_row.get(key, ())])
        yield _reconcile(key, by_balance.get(key, []), group, runs, rules)


def _groups(table: pa.Table) -> Iterator[tuple[_Key, pa.Table]]:
    """Yield the rows of each workspace, account and currency."""
    table = table.sort_by([(name, "ascending") for name in (WORKSPACE_ID, ACCOUNT_ID, "currency")])
    names = (table[name].to_pylist() for name in (WORKSPACE_ID, ACCOUNT_ID, "currency"))
    keys = (tuple(each or "" for each in key) for key in zip(*names, strict=True))
    start = 0
    for key, group in groupby(keys):
        size = sum(1 for _ in group)
        yield key, table.slice(start, size)  # type: ignore[misc]  # three texts
        start += size


def _reconcile(
    key: _Key, balances: list[dict[str, Any]], rows: pa.Table, runs: list[datetime], rules: Reconciliation
) -> Reconciled:
    workspace_id, account_id, currency = key
    newest = balances[-1] if balances else rows.slice(rows.num_rows - 1).to_pylist()[0]
    bank = rules.banks.get((workspace_id, newest[BANK_ID]))
    freshness = compute_freshness(pc.unique(rows["date"]).drop_null().to_pylist(), rules.today)
    account_type = rules.account_types.get((workspace_id, account_id)) or _account_type(balances)
    explained = explain_balances(
        usable_balances(balances, rules.zone),
        posted_rows(rows, rules.zone),
        last_day=rules.last_day,
        runs=runs,
        tolerance=rules.tolerance,
        sign=-1 if rules.owed and is_liability(account_type) else 1,
    )
    differences = () if explained is None else explained.differences
    is_stale = freshness.is_stale or (bank is not None and bank.needs_sign_in)
    outcome = NO_BALANCE if explained is None else RECONCILED
    outcome = DIFFERENCE if differences else STALE if is_stale else outcome
    ids = {
        WORKSPACE_ID: workspace_id,
        PORTAL_NAME: newest[PORTAL_NAME],
        BANK_ID: newest[BANK_ID],
        ACCOUNT_ID: account_id,
        "currency": currency,
    }
    consent_end = None
    if bank is not None and bank.linked is not None:
        consent_end = estimate_consent_end(bank.linked, bank.source, currency, rules.today)
    row = {
        **ids,
        DAY: rules.today,
        "outcome": outcome,
        "difference_count": len(differences),
        **({} if explained is None else _span_columns(explained.span)),
        "newest_row": freshness.newest,
        "usual_gap_days": freshness.usual_gap_days,
        "is_stale": is_stale,
        "needs_sign_in": None if bank is None else bank.needs_sign_in,
        "consent_end_estimate": consent_end,
    }
    return Reconciled(row, [{**ids, **_span_columns(each)} for each in differences])


def _span_columns(span: Span) -> dict[str, Any]:
    return {
        "difference": span.difference,
        "first_day": span.before.day,
        "last_day": span.after.day,
        "balance_before": span.before.amount,
        "balance_after": span.after.amount,
        "sum_of_rows": span.sum_of_rows,
    }


def is_liability(account_type: str | None) -> bool:
    """Tell whether accounts of a type are owed: cards, loans, mortgages."""
    return any(word in (account_type or "").lower() for word in _LIABILITIES)


def _account_type(balances: list[dict[str, Any]]) -> str | None:
    return next((each["accountType"] for each in reversed(balances) if each["accountType"]), None)


def usable_balances(balances: list[dict[str, Any]], zone: tzinfo) -> list[Balance]:
    """Return a balance for each day, sorted. BankSync has sent balances in two forms.

    A bank may send the same balance for several days, with the time that it is of. It then counts on that day.
    """
    by_day: dict[date, tuple[datetime, Balance]] = {}
    for each in sorted(balances, key=lambda each: each[CHANGED_AT]):
        amount = each["amount"] if each["current"] is None else each["current"]
        if amount is None:
            continue
        moment = each["asOf"] or _moment(each[EXTRA])
        day = moment.astimezone(zone).date() if moment else each["date"] or each[DAY]
        moment = moment or each[CHANGED_AT]
        if day not in by_day or moment > by_day[day][0]:
            by_day[day] = moment, Balance(day, amount, each[CHANGED_AT])
    return [balance for _, (_, balance) in sorted(by_day.items())]


def _moment(extra: str | None) -> datetime | None:
    """Return the time of a balance in the form with ``date``. That column has its day, and `EXTRA` the time."""
    seconds = epoch_seconds(loads(extra).get("date")) if extra else None
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def posted_rows(rows: pa.Table, zone: tzinfo) -> list[PostedRow]:
    """Return the posted rows. A row without a date has the day on which it came."""
    posted = rows.filter(pc.invert(pc.fill_null(rows["pending"], False)))
    columns = (posted[name].to_pylist() for name in ("date", "amount", FIRST_SEEN_AT, CHANGED_AT))
    return [
        PostedRow(day or seen_at.astimezone(zone).date(), amount, seen_at, changed_at)
        for day, amount, seen_at, changed_at in zip(*columns, strict=True)
        if amount is not None
    ]
