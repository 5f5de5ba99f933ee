"""The columns of each resource in CSV and Parquet: the API's own field names, in an order that never changes.

The columns are what the API documents, and what it has been seen to send. A field without a column is not lost: the
last column, `EXTRA`, keeps it. A later version may add a column at the end, but never moves or changes one.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import NamedTuple

#: The last column: a JSON object of the fields that have no column, or whose value does not fit theirs.
EXTRA = "extra"
#: The column before it: the client's name. The API does not send it with a row of an account.
PORTAL_NAME = "portal_name"


class ColumnType(Enum):
    """What the values of a column are."""

    TEXT = "text"
    #: ``2026-03-31``
    DATE = "date"
    #: ``2026-03-31T08:15:30.250Z``
    TIMESTAMP = "timestamp"
    #: An amount, a quantity, a price, a rate, or a position in an order, which may have a fraction.
    DECIMAL = "decimal"
    #: A number of things.
    INTEGER = "integer"
    BOOL = "bool"
    #: An object or a list.
    JSON = "json"


class Column(NamedTuple):
    """A column, named as the API names the field."""

    name: str
    kind: ColumnType


Columns = tuple[Column, ...]


def _columns(kind: ColumnType, *names: str) -> Columns:
    return tuple(Column(name, kind) for name in names)


_text = partial(_columns, ColumnType.TEXT)
_date = partial(_columns, ColumnType.DATE)
_timestamp = partial(_columns, ColumnType.TIMESTAMP)
_decimal = partial(_columns, ColumnType.DECIMAL)
_integer = partial(_columns, ColumnType.INTEGER)
_bool = partial(_columns, ColumnType.BOOL)
_json = partial(_columns, ColumnType.JSON)

#: Resource and column of each date that the API is known to send as a timestamp, too. The column then holds its day,
#: and `EXTRA` the timestamp.
DATES_SENT_AS_TIMESTAMPS = frozenset({("balances", "date")})

#: Only rows of a family listing have these.
_OWNER = (*_text("workspaceId"), *_json("portal"))
_WORKSPACE = (
    *_text("id", "name", "icon"),
    *_bool("isInherited"),
    *_text("parentWorkspaceId"),
    *_timestamp("createdAt", "updatedAt"),
)

SCHEMAS: dict[str, Columns] = {
    "workspaces": _WORKSPACE,
    "portals": _WORKSPACE,
    "banks": (
        *_text("id", "name", "source", "type"),
        *_decimal("order"),
        *_text("icon", "institutionId"),
        *_json("connectionStatus"),
        *_timestamp("createdAt", "updatedAt"),
        *_json("links"),
        *_OWNER,
    ),
    "accounts": (
        *_text("id", "bankId", "bankName", "accountNumber", "accountName", "accountType"),
        *_decimal("balance", "availableBalance", "creditLimit"),
        *_text("currency"),
        *_timestamp("balanceAsOf", "createdAt", "updatedAt"),
        *_json("links"),
        *_OWNER,
    ),
    "feeds": (
        *_text("id", "name", "icon", "source", "dataType"),
        *_json(
            "sourceConfig",
            "destinationConfig",
            "fieldMappings",
            "dataTypeOptions",
            "extractionConfig",
            "schedule",
            "state",
        ),
        *_decimal("order"),
        *_timestamp("createdAt", "updatedAt"),
        *_OWNER,
    ),
    "integrations": (
        *_text("id", "name", "type", "iconUrl", "icon"),
        *_decimal("order"),
        *_timestamp("createdAt", "updatedAt"),
        *_OWNER,
    ),
    "enrichments": (
        *_text("id", "name", "emoji", "type"),
        *_bool("enabled"),
        *_decimal("order"),
        *_text("dataType"),
        *_json("feedIds"),
        *_bool("allFeeds"),
        *_json("ruleConfig", "alertConfig", "memoryConfig"),
        *_timestamp("createdAt", "updatedAt"),
        *_text("createdBy"),
        *_OWNER,
    ),
    "jobs": (
        *_text("id", "userId", "feedId", "status", "type"),
        *_date("startDate", "endDate"),
        *_integer("transactionsProcessed", "transactionsWritten"),
        *_json("errors"),
        *_text("errorCategory"),
        *_timestamp("createdAt", "updatedAt", "startedAt", "completedAt"),
        *_OWNER,
    ),
    "transactions": (
        *_text("id"),
        *_date("date", "authorizedDate"),
        *_text("description"),
        *_decimal("amount", "creditAmount", "debitAmount"),
        *_text("currency", "category", "type", "reference"),
        *_bool("pending"),
        *_text("pendingTransactionId"),
        *_text("accountId", "accountName", "accountNumber", "bankId", "bank"),
        *_text("merchantName"),  # not documented, but production sends it
    ),
    # The API has sent balances in two forms.
    "balances": (
        *_text("accountId"),
        *_decimal("current", "available"),
        *_text("currency"),
        *_timestamp("asOf"),
        *_date("date"),
        *_decimal("amount", "availableBalance", "pendingBalance"),
        *_text("accountName", "accountType", "bankId", "bank"),
    ),
    "holdings": (
        *_text("id", "accountId", "bankId", "symbol", "name"),
        *_decimal("quantity", "price", "value"),
        *_text("currency"),
    ),
    "trades": (
        *_text("id", "accountId", "bankId"),
        *_date("date"),
        *_text("type", "symbol", "description"),
        *_decimal("quantity", "price", "amount"),
        *_text("currency"),
    ),
    "loans": (
        *_text("accountId", "bankId", "name"),
        *_decimal("originalPrincipal", "outstandingPrincipal", "interestRate", "monthlyPayment"),
        *_date("startDate", "maturityDate"),
        *_text("currency"),
    ),
}
