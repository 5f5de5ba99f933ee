"""Faults written as JSON, for the admin call and for the command: ``{"fault": "status", "with": {"code": 503}}``."""

from __future__ import annotations

from decimal import Decimal
from inspect import signature
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.sandbox.errors import ApiError, SandboxError
from airflow_provider_banksync.sandbox.http.faults import KINDS
from airflow_provider_banksync.sandbox.rules.api_call import check_fields, parse_object

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.http.fault_rules import FaultRule, Faults

REQUIRED = ("fault",)
OPTIONAL = ("with", "method", "path", "workspaceId", "nth", "times", "probability", "seed", "when", "seconds")
_EXACT = frozenset({"added", "edited", "meta"})
"""The faults whose arguments go into a body, and so keep every digit. All other numbers are seconds and shares."""


def add_fault_text(faults: Faults, text: str) -> FaultRule:
    """Add a fault that is written as a JSON object. Raises SandboxError for everything that is wrong with it."""
    try:
        body = parse_object(text.encode(), "application/json")
        check_fields(body, (*REQUIRED, *OPTIONAL), REQUIRED)
        return add_fault(faults, body)
    except (ApiError, TypeError, ValueError, ArithmeticError) as error:
        raise SandboxError(str(error)) from None


def add_fault(faults: Faults, body: dict[str, Any]) -> FaultRule:
    """Add a fault. The names of its fields have been checked."""
    options = decimals_to_floats(body)
    name, arguments = options.pop("fault"), options.pop("with", {})
    make = KINDS.get(name) if isinstance(name, str) else None
    if make is None:
        raise ApiError(400, f"fault must be one of {', '.join(KINDS)}")
    if not isinstance(arguments, dict):
        raise ApiError(400, "with must be an object: the arguments of the fault")
    exact = set(arguments) - {"share"} if name in _EXACT else set()
    ready = {**decimals_to_floats(arguments), **{each: arguments[each] for each in exact}}
    signature(make).bind(**ready)
    if "workspaceId" in options:
        options["workspace_id"] = options.pop("workspaceId")
    return faults.add(make(**ready), **options)


def decimals_to_floats(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace Decimals with floats, as the standard library parses JSON."""
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in fields.items()}
