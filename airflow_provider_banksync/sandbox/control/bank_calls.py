"""The admin calls for banks: rates, rows, balances, stale accounts, and what the API would answer."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.sandbox.exact_json import RawJson
from airflow_provider_banksync.sandbox.http.fault_json import decimals_to_floats
from airflow_provider_banksync.sandbox.rules.api_call import parse_day

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.control.state import SandboxState as State
    from airflow_provider_banksync.sandbox.world.model import Row


def show_rates(state: State) -> Row:
    """Return the rates of new rows."""
    rates = asdict(state.banks.rates)
    return {name: Decimal(str(value)) if isinstance(value, float) else value for name, value in rates.items()}


def set_rates(state: State, body: dict[str, Any]) -> Row:
    """Change rates from tomorrow on."""
    state.banks.set_rates(**decimals_to_floats(body))
    return show_rates(state)


def vanish(state: State, row_id: str, body: dict[str, Any]) -> Row:
    """Make a pending row vanish."""
    state.banks.vanish(str(body["accountId"]), row_id)
    return {"id": row_id, "vanished": True}


def keep_pending(state: State, row_id: str, body: dict[str, Any]) -> Row:
    """Keep a pending row pending."""
    state.banks.keep_pending(str(body["accountId"]), row_id)
    return {"id": row_id, "kept": True}


def post(state: State, row_id: str, body: dict[str, Any]) -> Row:
    """Post a pending row."""
    link, amount, day = body.get("link", False), body.get("amount"), parse_day(body, "day")
    return {"id": state.banks.post(str(body["accountId"]), row_id, amount=amount, day=day, link=link)}


def change(state: State, row_id: str, body: dict[str, Any]) -> Row:
    """Change the texts of a posted row."""
    texts: dict[str, Any] = {name: body[name] for name in ("description", "category") if name in body}
    state.banks.change(str(body["accountId"]), row_id, **texts)
    return {"id": row_id, **texts}


def remove(state: State, row_id: str, body: dict[str, Any]) -> Row:
    """Remove a posted row."""
    state.banks.remove(str(body["accountId"]), row_id)
    return {"id": row_id, "removed": True}


def plant_difference(state: State, account_id: str, body: dict[str, Any]) -> Row:
    """Add to a balance what no row explains."""
    state.banks.plant_difference(account_id, body["amount"], parse_day(body, "day"))
    return {"id": account_id, "planted": True}


def relink(state: State, bank_id: str) -> Row:
    """Link a bank anew."""
    return {"id": state.banks.relink(bank_id)}


def list_truth(state: State, workspace_id: str) -> Row:
    """Return the transactions of a workspace as the API would answer them now."""
    return {"transactions": RawJson(state.truth.encoded(workspace_id))}
