"""Compare the definition of a feed with the feed that BankSync has, and merge the two. Pure functions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.api.redaction import redact

#: Lists whose order has no meaning.
_UNORDERED = ("sourceConfig.accounts", "sourceConfig.whitelist")
#: Flags that BankSync leaves out if they are false.
_FALSE_IF_ABSENT = ("schedule.enabled", "sourceConfig.whitelistEnabled", "extractionConfig.itemizePerRow")
_MAX_PREVIEW = 200


def changed_fields(feed: dict[str, Any], definition: dict[str, Any]) -> list[str]:
    """Return the fields that differ from the definition, sorted."""
    return sorted(name for name, value in definition.items() if not _matches(feed.get(name), value, name))


def merge(current: Any, defined: Any) -> Any:
    """Return the defined value with everything else that the current one has. BankSync replaces whole objects."""
    if not isinstance(current, dict) or not isinstance(defined, dict):
        return defined
    if defined.get("type", current.get("type")) != current.get("type"):
        return defined  # another type of destination has other fields
    return {**current, **{name: merge(current.get(name), value) for name, value in defined.items()}}


def preview(value: Any) -> str:
    """Return a value as short JSON for a log line, without account numbers."""
    return redact(codec.dumps(value).decode())[:_MAX_PREVIEW]


def _matches(current: Any, defined: Any, path: str) -> bool:
    """Return whether the feed has every defined value. An object may have more fields, but a list no more items."""
    if current is None and (defined in (None, {}, []) or (defined is False and path in _FALSE_IF_ABSENT)):
        return True
    if isinstance(defined, dict):
        current = {} if current is None else current
        return isinstance(current, dict) and all(
            _matches(current.get(name), value, f"{path}.{name}") for name, value in defined.items()
        )
    if isinstance(defined, (list, tuple)):
        if not isinstance(current, list) or len(current) != len(defined):
            return False
        if path in _UNORDERED:
            return _match_unordered(list(current), defined, path)
        return all(_matches(item, value, path) for item, value in zip(current, defined, strict=True))
    return _equals(current, defined)


def _match_unordered(current: list[Any], defined: list[Any] | tuple[Any, ...], path: str) -> bool:
    for value in defined:
        match = next((index for index, item in enumerate(current) if _matches(item, value, path)), None)
        if match is None:
            return False
        del current[match]
    return True


def _equals(current: Any, defined: Any) -> bool:
    if isinstance(current, bool) or isinstance(defined, bool):
        return current is defined
    numbers = (int, float, Decimal)
    if isinstance(current, numbers) and isinstance(defined, numbers):
        # The API's 0.1 is a Decimal, and a DAG file's is a float.
        return Decimal(str(current)) == Decimal(str(defined))
    return bool(current == defined)
