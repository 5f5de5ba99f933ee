"""The bodies that the API takes for feeds and enrichments, as shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.shapes import (
    anything,
    by_type,
    fields,
    flag,
    list_of,
    number,
    one_of,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_banksync.sandbox.shapes import Shape

SOURCES = ("sync", "extractor", "upload")
DATA_TYPES = ("transactions", "balances", "trades", "holdings", "loans", "receipts", "invoices", "documents")


def _always(constant: str) -> Shape:
    return one_of(constant)


_SOURCE_CONFIG = by_type(
    "type",
    {
        "sync": fields(
            {
                "type": _always("sync"),
                "accounts": list_of(fields({"bankId": text(), "accountId": text()}, open_=True), shortest=1),
            }
        ),
        "extractor": fields(
            {"type": _always("extractor")},
            {"inboxAddress": text(), "whitelistEnabled": flag, "whitelist": list_of(text())},
        ),
        "upload": fields({"type": _always("upload")}),
    },
)
_DESTINATION_CONFIG = by_type(
    "type",
    {
        "notion": fields({"type": _always("notion"), "integrationId": text(), "databaseId": text()}),
        "airtable": fields(
            {"type": _always("airtable"), "integrationId": text(), "baseId": text(), "tableId": text()}
        ),
        "google_sheets": fields(
            {
                "type": _always("google_sheets"),
                "integrationId": text(),
                "spreadsheetId": text(),
                "sheetName": text(),
                "direction": one_of("row", "column"),
                "headerRowOrColumn": number(low=1, whole=True),
                "pushLocation": one_of("beginning", "end"),
            },
            {"attachmentFolderId": text()},
        ),
    },
)
_DATA_TYPE_OPTIONS = by_type(
    "dataType",
    {
        "transactions": fields(
            {
                "dataType": _always("transactions"),
                "pendingMode": one_of("sync_all", "filter_pending", "track_and_update"),
            }
        ),
        "balances": fields({"dataType": _always("balances"), "mode": one_of("append", "overwrite")}),
        "trades": fields({"dataType": _always("trades")}),
        "holdings": fields({"dataType": _always("holdings")}),
        "loans": fields({"dataType": _always("loans")}),
    },
)
_SCHEDULE = fields(
    {
        "enabled": flag,
        "frequency": one_of("daily", "weekly", "monthly"),
        "timeOfDay": text(pattern="([01][0-9]|2[0-3]):[0-5][0-9]"),
    },
    {"dayOfWeek": number(low=0, high=6, whole=True), "dayOfMonth": number(low=1, high=31, whole=True)},
)
_FEED = {
    "name": text(shortest=1),
    "icon": text(),
    "order": number(whole=True),
    "sourceConfig": _SOURCE_CONFIG,
    "destinationConfig": _DESTINATION_CONFIG,
    "fieldMappings": list_of(fields({"sourceField": text(), "destinationField": text()})),
    "dataTypeOptions": _DATA_TYPE_OPTIONS,
    "extractionConfig": fields({"extractionFields": anything, "itemizePerRow": anything}, open_=True),
    "schedule": _SCHEDULE,
}
_BORN_WITH = {"source": one_of(*SOURCES), "dataType": one_of(*DATA_TYPES)}

feed_create = fields({"name": _FEED["name"], **_BORN_WITH}, _FEED)
feed_update = fields(None, _FEED)


def _condition_group(value: object, where: str) -> Iterator[str]:
    group = fields({"logic": one_of("and", "or"), "conditions": list_of(_condition, shortest=1)})
    yield from group(value, where)


def _condition(value: object, where: str) -> Iterator[str]:
    # A group inside a group is told from a condition by having conditions of its own.
    if isinstance(value, dict) and "conditions" in value:
        yield from _condition_group(value, where)
    else:
        yield from _comparison(value, where)


def _text_or_number(value: object, where: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield from number()(value, where)


_comparison = fields({"field": text(), "operator": text()}, {"value": _text_or_number})
_ENRICHMENT = {
    "name": text(shortest=1, longest=200),
    "emoji": text(),
    "type": one_of("rule", "alert", "memory"),
    "enabled": flag,
    "order": number(),
    "dataType": one_of(*DATA_TYPES),
    "feedIds": list_of(text()),
    "allFeeds": flag,
    "ruleConfig": fields(
        {
            "rules": list_of(
                fields(
                    {
                        "conditions": _condition_group,
                        "action": fields({"field": text(), "value": anything}, open_=True),
                    }
                ),
                shortest=1,
            )
        }
    ),
    "alertConfig": fields(
        {"conditions": _condition_group, "destinations": list_of(anything, shortest=1)},
        {"cooldownMinutes": number(low=0, high=10_080, whole=True)},
    ),
    "memoryConfig": fields(None, {"patternField": text(), "learnFields": list_of(text())}),
}
_NEEDED = ("name", "type", "dataType")

enrichment_create = fields({name: _ENRICHMENT[name] for name in _NEEDED}, _ENRICHMENT)
enrichment_update = fields(None, _ENRICHMENT)
preview_records = list_of(fields(open_=True), shortest=1, longest=50)
