"""The columns that each resource has in CSV and Parquet: the API's own names, in an order that never changes.

They are what the API documents and what it has been seen to send. A field that is not here is not lost: it is kept in
the last column, `EXTRA`. A column may be added at the end of a resource's own; none changes its type or its place.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

#: The last column of every file: a JSON object of the fields that have no column, or whose value does not fit theirs.
EXTRA = "extra"


class Kind(Enum):
    """What the values of a column are."""

    TEXT = "text"
    #: ``2026-03-31``
    DAY = "day"
    #: ``2026-03-31T08:15:30.250Z``
    INSTANT = "instant"
    #: An amount, a quantity, a price, a rate, or a place in an order, which may lie between two others.
    NUMBER = "number"
    #: A number of things, which is whole.
    COUNT = "count"
    FLAG = "flag"
    #: An object or a list.
    NESTED = "nested"


class Column(NamedTuple):
    """A column, named as the API names the field."""

    name: str
    kind: Kind


Columns = tuple[Column, ...]


def _of(kind: Kind, *names: str) -> Columns:
    return tuple(Column(name, kind) for name in names)


def _text(*names: str) -> Columns:
    return _of(Kind.TEXT, *names)


def _day(*names: str) -> Columns:
    return _of(Kind.DAY, *names)


def _instant(*names: str) -> Columns:
    return _of(Kind.INSTANT, *names)


def _number(*names: str) -> Columns:
    return _of(Kind.NUMBER, *names)


def _count(*names: str) -> Columns:
    return _of(Kind.COUNT, *names)


def _flag(*names: str) -> Columns:
    return _of(Kind.FLAG, *names)


def _nested(*names: str) -> Columns:
    return _of(Kind.NESTED, *names)


#: Of every row of a family listing, and empty in any other.
_OWNER = (*_text("workspaceId"), *_nested("portal"))
_WORKSPACE = (
    *_text("id", "name", "icon"),
    *_flag("isInherited"),
    *_text("parentWorkspaceId"),
    *_instant("createdAt", "updatedAt"),
)

SCHEMAS: dict[str, Columns] = {
    "workspaces": _WORKSPACE,
    "portals": _WORKSPACE,
    "banks": (
        *_text("id", "name", "source", "type"),
        *_number("order"),
        *_text("icon", "institutionId"),
        *_nested("connectionStatus"),
        *_instant("createdAt", "updatedAt"),
        *_nested("links"),
        *_OWNER,
    ),
    "accounts": (
        *_text("id", "bankId", "bankName", "accountNumber", "accountName", "accountType"),
        *_number("balance", "availableBalance", "creditLimit"),
        *_text("currency"),
        *_instant("balanceAsOf", "createdAt", "updatedAt"),
        *_nested("links"),
        *_OWNER,
    ),
    "feeds": (
        *_text("id", "name", "icon", "source", "dataType"),
        *_nested(
            "sourceConfig",
            "destinationConfig",
            "fieldMappings",
            "dataTypeOptions",
            "extractionConfig",
            "schedule",
            "state",
        ),
        *_number("order"),
        *_instant("createdAt", "updatedAt"),
        *_OWNER,
    ),
    "integrations": (
        *_text("id", "name", "type", "iconUrl", "icon"),
        *_number("order"),
        *_instant("createdAt", "updatedAt"),
        *_OWNER,
    ),
    "enrichments": (
        *_text("id", "name", "emoji", "type"),
        *_flag("enabled"),
        *_number("order"),
        *_text("dataType"),
        *_nested("feedIds"),
        *_flag("allFeeds"),
        *_nested("ruleConfig", "alertConfig", "memoryConfig"),
        *_instant("createdAt", "updatedAt"),
        *_text("createdBy"),
        *_OWNER,
    ),
    "jobs": (
        *_text("id", "userId", "feedId", "status", "type"),
        *_day("startDate", "endDate"),
        *_count("transactionsProcessed", "transactionsWritten"),
        *_nested("errors"),
        *_text("errorCategory"),
        *_instant("createdAt", "updatedAt", "startedAt", "completedAt"),
        *_OWNER,
    ),
    "transactions": (
        *_text("id"),
        *_day("date", "authorizedDate"),
        *_text("description"),
        *_number("amount", "creditAmount", "debitAmount"),
        *_text("currency", "category", "type", "reference"),
        *_flag("pending"),
        *_text("pendingTransactionId"),
        *_text("accountId", "accountName", "accountNumber", "bankId", "bank"),
    ),
    # In both of the forms in which a balance has been seen.
    "balances": (
        *_text("accountId"),
        *_number("current", "available"),
        *_text("currency"),
        *_instant("asOf"),
        *_day("date"),
        *_number("amount", "availableBalance", "pendingBalance"),
        *_text("accountName", "accountType", "bankId", "bank"),
    ),
    "holdings": (
        *_text("id", "accountId", "bankId", "symbol", "name"),
        *_number("quantity", "price", "value"),
        *_text("currency"),
    ),
    "trades": (
        *_text("id", "accountId", "bankId"),
        *_day("date"),
        *_text("type", "symbol", "description"),
        *_number("quantity", "price", "amount"),
        *_text("currency"),
    ),
    "loans": (
        *_text("accountId", "bankId", "name"),
        *_number("originalPrincipal", "outstandingPrincipal", "interestRate", "monthlyPayment"),
        *_day("startDate", "maturityDate"),
        *_text("currency"),
    ),
}
