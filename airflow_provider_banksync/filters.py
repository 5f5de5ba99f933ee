"""Which rows a task wants: by the values of their fields, by ids."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.exceptions import BankSyncConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def value_of(row: Any, field: str) -> Any:
    """Return the value of a field; ``a.b`` is the field b of the object a; None where there is none."""
    for name in field.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row


def _has(row: Any, field: str) -> bool:
    head, _, rest = field.partition(".")
    return isinstance(row, dict) and head in row and (not rest or row[head] is None or _has(row[head], rest))


def matches(row: dict[str, Any], where: Mapping[str, Any]) -> bool:
    """Tell whether every field has the value that is wanted, or one of several.

    :param where: from `wanted_values`.
    """

    def one(field: str, wanted: Any) -> bool:
        value = value_of(row, field)
        return value in wanted if isinstance(wanted, list) else bool(value == wanted)

    return all(one(field, wanted) for field, wanted in where.items())


def check_known(argument: str, rows: list[dict[str, Any]], fields: Iterable[str]) -> None:
    """Refuse a field that no row has: it is a slip, and would quietly give nothing."""
    unknown = [field for field in fields if rows and not any(_has(row, field) for row in rows)]
    if unknown:
        there = ", ".join(sorted({name for row in rows for name in row}))
        raise BankSyncConfigError(
            f"{argument} names {', '.join(unknown)}, which no row has; there are: {there}."
        )


def wanted_values(where: object) -> dict[str, Any]:
    """Return a filter by fields as `matches` wants it: several values are a list, in the same order in every process.

    :raises BankSyncConfigError: it is neither None nor a dict of fields.
    """
    if where is None:
        return {}
    if not isinstance(where, dict) or not all(isinstance(field, str) for field in where):
        raise BankSyncConfigError(f"where must be a dict of fields and their values, not {where!r}.")
    return {field: _values(value) for field, value in where.items()}


def _values(value: Any) -> Any:
    if isinstance(value, AbstractSet):
        return sorted(map(_values, value), key=repr)
    # The result of a mapped task is a sequence of Airflow's own.
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return list(map(_values, value))
    # The API's numbers have every digit, which a float has not: it means what it is written as.
    return Decimal(str(value)) if isinstance(value, float) else value


def names(argument: str, value: object) -> set[str] | None:
    """Return the ids, or other names, that an argument lists; None is all.

    :raises BankSyncConfigError: it is no list, or an entry is no name.
    """
    if value is None:
        return None
    # The result of a mapped task is a sequence of Airflow's own.
    if not isinstance(value, (Sequence, AbstractSet)) or isinstance(value, (str, bytes)):
        raise BankSyncConfigError(f"{argument} must be a list, or None, not {value!r}.")
    listed = list(value)
    wrong = [each for each in listed if not isinstance(each, str) or not each.strip() or each == "None"]
    if wrong:
        raise BankSyncConfigError(
            f"{argument} holds {wrong[0]!r}, which is no name.",
            hint="If it is a template or an XCom, look at what that gave in the rendered template.",
        )
    return set(listed)
