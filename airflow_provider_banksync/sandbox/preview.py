"""What enrichments do to rows: rules change fields, alerts would tell somebody."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_banksync.sandbox.model import Enrichment, Feed, Row


def preview(feed: Feed, enrichments: Sequence[Enrichment], records: Sequence[Row]) -> Row:
    """Show each record as it is and as it would become, and count what was at work."""
    at_work = [cast("dict[str, Any]", each.settings) for each in enrichments if _is_for(each, feed)]
    rules = [rule for each in at_work for rule in each.get("ruleConfig", {}).get("rules", ())]
    alerts = [each["alertConfig"] for each in at_work if "alertConfig" in each]
    shown = [_apply(rules, record) for record in records]
    return {
        "records": shown,
        "summary": {
            "totalRecords": len(records),
            "enrichedCount": sum(1 for each in shown if each["changedFields"]),
            "rules": sum(_matches(rule["conditions"], record) for rule in rules for record in records),
            "alerts": sum(_matches(alert["conditions"], record) for alert in alerts for record in records),
        },
    }


def _is_for(enrichment: Enrichment, feed: Feed) -> bool:
    settings = cast("dict[str, Any]", enrichment.settings)
    chosen = settings["allFeeds"] or feed.id in settings["feedIds"]
    return bool(settings["enabled"] and chosen and settings["dataType"] == feed.data_type)


def _apply(rules: Sequence[dict[str, Any]], record: Row) -> Row:
    enriched = dict(record)
    for rule in rules:
        if _matches(rule["conditions"], enriched):
            enriched[rule["action"]["field"]] = rule["action"]["value"]
    changed = [name for name, value in enriched.items() if name not in record or record[name] != value]
    return {"original": record, "enriched": enriched, "changedFields": changed}


def _matches(condition: dict[str, Any], record: Row) -> bool:
    if "conditions" in condition:
        parts = (_matches(each, record) for each in condition["conditions"])
        return all(parts) if condition["logic"] == "and" else any(parts)
    compare = _OPERATORS.get(condition["operator"])
    value = record.get(condition["field"])
    return compare is not None and value is not None and compare(value, condition.get("value", ""))


def _equal(left: object, right: object) -> bool:
    # 12.5 and 12.50 are one number, and two texts.
    if any(isinstance(each, (int, Decimal)) and not isinstance(each, bool) for each in (left, right)):
        return _as_numbers(Decimal.__eq__)(left, right)
    return _as_text(str.__eq__)(left, right)


def _as_text(compare: Callable[[str, str], bool]) -> Callable[[object, object], bool]:
    return lambda left, right: compare(str(left).casefold(), str(right).casefold())


def _as_numbers(compare: Callable[[Decimal, Decimal], bool]) -> Callable[[object, object], bool]:
    def check(left: object, right: object) -> bool:
        try:
            return compare(Decimal(str(left)), Decimal(str(right)))
        except InvalidOperation:
            return False

    return check


_OPERATORS: dict[str, Callable[[object, object], bool]] = {
    "equals": _equal,
    "not_equals": lambda left, right: not _equal(left, right),
    "contains": _as_text(lambda left, right: right in left),
    "not_contains": _as_text(lambda left, right: right not in left),
    "starts_with": _as_text(str.startswith),
    "ends_with": _as_text(str.endswith),
    "greater_than": _as_numbers(Decimal.__gt__),
    "less_than": _as_numbers(Decimal.__lt__),
}
"""What the vendor calls them is not published; one that is not here never matches."""
