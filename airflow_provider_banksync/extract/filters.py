"""Filters of rows, by id and by the value of a field."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.exceptions import BankSyncConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def refuse_unknown(
    argument: str,
    wanted: set[str] | None,
    known: AbstractSet[Any],
    noun: str = "ids",
    hint: str = "Correct them or remove them.",
) -> None:
    """Refuse a filter with an id that does not exist. Otherwise a typo would leave out a client without an error."""
    if unknown := (wanted or set()) - known:
        raise BankSyncConfigError(
            f"{argument} contains unknown {noun}: {', '.join(sorted(unknown))}.", hint=hint
        )


def field_value(row: Any, field: str) -> Any:
    """Return the value of a field, or None. ``a.b`` is the field ``b`` of the object ``a``."""
    for name in field.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row


def _has_field(row: Any, field: str) -> bool:
    head, _, rest = field.partition(".")
    return (
        isinstance(row, dict)
        and head in row
        and (not rest or row[head] is None or _has_field(row[head], rest))
    )


def matches(row: dict[str, Any], where: Mapping[str, Any]) -> bool:
    """Return whether each field has the wanted value, or one of a list of values.

    :param where: from `parse_where`.
    """

    def has_value(field: str, wanted: Any) -> bool:
        value = field_value(row, field)
        return value in wanted if isinstance(wanted, list) else bool(value == wanted)

    return all(has_value(field, wanted) for field, wanted in where.items())


def refuse_unknown_fields(argument: str, rows: list[dict[str, Any]], fields: Iterable[str]) -> None:
    """Refuse a field that no row has. Otherwise a typo would silently exclude all rows."""
    unknown = [field for field in fields if rows and not any(_has_field(row, field) for row in rows)]
    if unknown:
        known = ", ".join(sorted({name for row in rows for name in row}))
        raise BankSyncConfigError(
            f"{argument} contains unknown fields: {', '.join(unknown)}. The rows have these fields: {known}."
        )


def parse_where(where: object) -> dict[str, Any]:
    """Return a filter for `matches`. Several values of a field become a list, in the same order in every process.

    :raises BankSyncConfigError: if it is neither None nor a dict of fields.
    """
    if where is None:
        return {}
    if not isinstance(where, dict) or not all(isinstance(field, str) for field in where):
        raise BankSyncConfigError(f"where must be a dict of field names and values, not {where!r}.")
    return {field: _parse_value(value) for field, value in where.items()}


def _parse_value(value: Any) -> Any:
    if isinstance(value, AbstractSet):
        return sorted(map(_parse_value, value), key=repr)
    # Airflow passes the result of a mapped task as a sequence of its own, not as a list.
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return list(map(_parse_value, value))
    # Rows have decimals. A float would compare unequal to the decimal with the same digits.
    return Decimal(str(value)) if isinstance(value, float) else value


def parse_ids(argument: str, value: object) -> set[str] | None:
    """Return the ids, or other names, that an argument lists. None means all.

    :raises BankSyncConfigError: if it is not a list, or an entry is not an id.
    """
    if value is None:
        return None
    if not isinstance(value, (Sequence, AbstractSet)) or isinstance(value, (str, bytes)):
        raise BankSyncConfigError(f"{argument} must be a list or None, not {value!r}.")
    entries = list(value)
    wrong = [entry for entry in entries if not isinstance(entry, str) or not entry.strip() or entry == "None"]
    if wrong:
        raise BankSyncConfigError(
            f"{argument} contains {wrong[0]!r}, which is not an id.",
            hint="If it comes from a template or an XCom, check the rendered value.",
        )
    return set(entries)
