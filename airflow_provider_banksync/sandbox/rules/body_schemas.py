"""Schemas of the bodies that create or change feeds and enrichments.

A schema is a check of one value, ``[item, min_length, max_length]`` for a list, or a dict for an object. In a dict,
a name that ends with ``?`` is optional, and the name ``*`` allows other fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

Check = Callable[[Any, str], Iterator[str]]
Schema = Any

SOURCES = ("sync", "extractor", "upload")
DATA_TYPES = ("transactions", "balances", "trades", "holdings", "loans", "receipts", "invoices", "documents")


def find_errors(schema: Schema, value: Any, where: str = "") -> Iterator[str]:
    """Yield an error for each wrong part of a value. ``where`` is the path of the value in the body."""
    if callable(schema):
        yield from schema(value, where)
    elif isinstance(schema, list):
        yield from _list_errors(schema, value, where)
    elif isinstance(value, dict):
        yield from _object_errors(schema, value, f"{where}." if where else "")
    else:
        yield f"{where} must be an object"


def _list_errors(schema: list[Any], value: Any, where: str) -> Iterator[str]:
    item, min_length, max_length = schema
    if not isinstance(value, list):
        yield f"{where} must be a list"
        return
    if len(value) < min_length:
        yield f"{where} must have at least {min_length} entries"
    if len(value) > max_length:
        yield f"{where} must have at most {max_length} entries"
    for index, each in enumerate(value):
        yield from find_errors(item, each, f"{where}[{index}]")


def _object_errors(schema: dict[str, Schema], value: dict[str, Any], prefix: str) -> Iterator[str]:
    yield from (
        f"{prefix}{name} is required" for name in schema if name[-1] not in "?*" and name not in value
    )
    for name, member in value.items():
        field = schema.get(name, schema.get(f"{name}?"))
        if field is not None:
            yield from find_errors(field, member, prefix + name)
        elif "*" not in schema:
            yield f"{prefix}{name} is not a known field"


def must(requirement: str, test: Callable[[Any], bool]) -> Check:
    """Return a check that accepts a value if it passes a test."""

    def check(value: Any, where: str) -> Iterator[str]:
        if not test(value):
            yield f"{where} must {requirement}"

    return check


def whole_number(low: int, high: int) -> Check:
    """Return a check that accepts a whole number of a range. It may be written 3.0."""
    return must(
        f"be a whole number from {low} to {high}", lambda each: _is_whole(each) and low <= each <= high
    )


def one_of(*options: str) -> Check:
    """Return a check that accepts these strings."""
    return must(f"be one of {', '.join(options)}", lambda each: isinstance(each, str) and each in options)


def by_type(name: str, types: dict[str, dict[str, Schema]]) -> Check:
    """Return a check of an object whose field ``name`` selects its other fields."""

    def check(value: Any, where: str) -> Iterator[str]:
        type_ = value.get(name) if isinstance(value, dict) else None
        if isinstance(type_, str) and type_ in types:
            yield from find_errors({name: _ANY, **types[type_]}, value, where)
        else:
            yield f"{where}.{name} must be one of {', '.join(types)}"

    return check


def _is_number(value: object) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and value == int(value)


def _is_time(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", value) is not None


_ANY = must("be anything", lambda _each: True)
_BOOL = must("be true or false", lambda each: isinstance(each, bool))
_TEXT = must("be a string", lambda each: isinstance(each, str))
_TEXT_OR_NUMBER = must("be a string or a number", lambda each: isinstance(each, str) or _is_number(each))
_NO_LIMIT = 10**9
_FEED: dict[str, Schema] = {
    "name": must("be a string that is not empty", lambda each: isinstance(each, str) and each != ""),
    "icon": _TEXT,
    "order": must("be a whole number", _is_whole),
    "sourceConfig": by_type(
        "type",
        {
            "sync": {"accounts": [{"bankId": _TEXT, "accountId": _TEXT, "*": _ANY}, 1, _NO_LIMIT]},
            "extractor": {
                "inboxAddress?": _TEXT,
                "whitelistEnabled?": _BOOL,
                "whitelist?": [_TEXT, 0, _NO_LIMIT],
            },
            "upload": {},
        },
    ),
    "destinationConfig": by_type(
        "type",
        {
            "notion": {"integrationId": _TEXT, "databaseId": _TEXT},
            "airtable": {"integrationId": _TEXT, "baseId": _TEXT, "tableId": _TEXT},
            "google_sheets": {
                "integrationId": _TEXT,
                "spreadsheetId": _TEXT,
                "sheetName": _TEXT,
                "direction": one_of("row", "column"),
                "headerRowOrColumn": whole_number(1, _NO_LIMIT),
                "pushLocation": one_of("beginning", "end"),
                "attachmentFolderId?": _TEXT,
            },
        },
    ),
    "fieldMappings": [{"sourceField": _TEXT, "destinationField": _TEXT}, 0, _NO_LIMIT],
    "dataTypeOptions": by_type(
        "dataType",
        {
            "transactions": {"pendingMode": one_of("sync_all", "filter_pending", "track_and_update")},
            "balances": {"mode": one_of("append", "overwrite")},
            **{data_type: {} for data_type in ("trades", "holdings", "loans")},
        },
    ),
    "extractionConfig": {"extractionFields": _ANY, "itemizePerRow": _ANY, "*": _ANY},
    "schedule": {
        "enabled": _BOOL,
        "frequency": one_of("daily", "weekly", "monthly"),
        "timeOfDay": must("be a time such as 06:30", _is_time),
        "dayOfWeek?": whole_number(0, 6),
        "dayOfMonth?": whole_number(1, 31),
    },
}


def _condition(value: Any, where: str) -> Iterator[str]:
    # A nested group has conditions of its own.
    is_group = isinstance(value, dict) and "conditions" in value
    yield from find_errors(_CONDITION_GROUP if is_group else _COMPARISON, value, where)


_COMPARISON = {"field": _TEXT, "operator": _TEXT, "value?": _TEXT_OR_NUMBER}
_CONDITION_GROUP = {"logic": one_of("and", "or"), "conditions": [_condition, 1, _NO_LIMIT]}
_RULE = {"conditions": _CONDITION_GROUP, "action": {"field": _TEXT, "value": _ANY, "*": _ANY}}
_ENRICHMENT: dict[str, Schema] = {
    "name": must(
        "be a string of 1 to 200 characters", lambda each: isinstance(each, str) and 1 <= len(each) <= 200
    ),
    "type": one_of("rule", "alert", "memory"),
    "dataType": one_of(*DATA_TYPES),
    "emoji": _TEXT,
    "enabled": _BOOL,
    "order": must("be a number", _is_number),
    "feedIds": [_TEXT, 0, _NO_LIMIT],
    "allFeeds": _BOOL,
    "ruleConfig": {"rules": [_RULE, 1, _NO_LIMIT]},
    "alertConfig": {
        "conditions": _CONDITION_GROUP,
        "destinations": [_ANY, 1, _NO_LIMIT],
        "cooldownMinutes?": whole_number(0, 10_080),
    },
    "memoryConfig": {"patternField?": _TEXT, "learnFields?": [_TEXT, 0, _NO_LIMIT]},
}

FEED_UPDATE = {f"{name}?": schema for name, schema in _FEED.items()}
FEED_CREATE = {
    "name": _FEED["name"],
    "source": one_of(*SOURCES),
    "dataType": one_of(*DATA_TYPES),
    **FEED_UPDATE,
}
ENRICHMENT_UPDATE = {f"{name}?": schema for name, schema in _ENRICHMENT.items()}
ENRICHMENT_CREATE = {
    **{name: _ENRICHMENT[name] for name in ("name", "type", "dataType")},
    **ENRICHMENT_UPDATE,
}
PREVIEW_RECORDS = [{"*": _ANY}, 1, 50]
