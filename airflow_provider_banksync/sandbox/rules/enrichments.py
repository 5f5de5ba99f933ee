"""The effect of enrichments on rows: rules change fields, and alerts would notify someone."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_banksync.sandbox.world.model import Enrichment, Feed, Row


def preview(feed: Feed, enrichments: Sequence[Enrichment], records: Sequence[Row]) -> Row:
    """Return each record before and after, and the number of rules and alerts that matched."""
    active = [cast("dict[str, Any]", each.settings) for each in enrichments if _applies_to(each, feed)]
    rules = [rule for each in active for rule in each.get("ruleConfig", {}).get("rules", ())]
    alerts = [each["alertConfig"] for each in active if "alertConfig" in each]
    results = [_apply(rules, record) for record in records]
    return {
        "records": results,
        "summary": {
            "totalRecords": len(records),
            "enrichedCount": sum(1 for each in results if each["changedFields"]),
            "rules": sum(_matches(rule["conditions"], record) for rule in rules for record in records),
            "alerts": sum(_matches(alert["conditions"], record) for alert in alerts for record in records),
        },
    }


def _applies_to(enrichment: Enrichment, feed: Feed) -> bool:
    settings = cast("dict[str, Any]", enrichment.settings)
    selected = settings["allFeeds"] or feed.id in settings["feedIds"]
    return bool(settings["enabled"] and selected and settings["dataType"] == feed.data_type)


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


def _is_equal(left: object, right: object) -> bool:
    # 12.5 and 12.50 are the same number, but not the same text.
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
    "equals": _is_equal,
    "not_equals": lambda left, right: not _is_equal(left, right),
    "contains": _as_text(lambda left, right: right in left),
    "not_contains": _as_text(lambda left, right: right not in left),
    "starts_with": _as_text(str.startswith),
    "ends_with": _as_text(str.endswith),
    "greater_than": _as_numbers(Decimal.__gt__),
    "less_than": _as_numbers(Decimal.__lt__),
}
"""BankSync does not document these names. An unknown operator never matches."""
