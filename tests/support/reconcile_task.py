"""Tables of a ledger with rows of a test, and the operator that reconciles them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import write_deltalake

from airflow_provider_banksync.ledger.columns import Columns
from airflow_provider_banksync.operators.reconcile import BankSyncReconcileOperator
from tests.support.task_runs import rendered

if TYPE_CHECKING:
    from pathlib import Path

#: The time of the runs of these tests.
NOW = datetime(2026, 3, 20, 6, tzinfo=timezone.utc)
RESOURCES = ("transactions", "balances", "accounts", "banks")


def run_reconcile(
    folder: Path, now: datetime = NOW, zone: Any = timezone.utc, **arguments: Any
) -> dict[str, Any]:
    """Run the operator over the tables of a folder, with a context like Airflow's."""
    where = {name: str(folder / name) for name in ("transactions", "balances", "reconciliation")}
    operator = rendered(BankSyncReconcileOperator, task_id="reconcile", **{**where, **arguments})
    context = {
        "ti": SimpleNamespace(dag_id="books", task_id="reconcile", run_id="run", map_index=-1, try_number=1),
        "dag": SimpleNamespace(timezone=zone, timetable=None),
        "dag_run": SimpleNamespace(run_after=now, run_type="scheduled"),
    }
    summary: dict[str, Any] = operator.execute(context)  # type: ignore[arg-type]
    assert json.loads(json.dumps(summary)) == summary, "it fits into XCom"
    return summary


@dataclass
class Books:
    """The tables of a ledger, as they are written day by day. Each morning at six, a run reads the API."""

    folder: Path
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in RESOURCES})

    def balance(self, day: date, amount: Any, account: str = "acc_1", **fields: Any) -> None:
        """Add the balance that a run of a day reads."""
        read_at = datetime(day.year, day.month, day.day, 6, tzinfo=timezone.utc)
        row = {
            "current": Decimal(amount),
            "currency": "AUD",
            "asOf": read_at,
            "day": day,
            "changed_at": read_at,
        }
        self._add(
            "balances",
            {"account_id": account, "accountId": account, "first_seen_at": read_at, **row, **fields},
        )

    def post(self, day: date, amount: Any, account: str = "acc_1", **fields: Any) -> None:
        """Add a transaction, which a run of the next day reads first."""
        seen_at = datetime(day.year, day.month, day.day, 6, tzinfo=timezone.utc) + timedelta(days=1)
        row = {
            "date": day,
            "amount": Decimal(amount),
            "currency": "AUD",
            "pending": False,
            "changed_at": seen_at,
        }
        row["id"] = f"txn_{len(self.rows['transactions'])}"
        self._add("transactions", {"account_id": account, "first_seen_at": seen_at, **row, **fields})

    def add(self, resource: str, **fields: Any) -> None:
        """Add a row of a listing."""
        self._add(resource, fields)

    def _add(self, resource: str, row: dict[str, Any]) -> None:
        owner = {"workspace_id": "ws_1", "portal_name": "Saffron Cycles LLC", "bank_id": "bank_1"}
        self.rows[resource].append({**owner, **row})

    def write(self) -> None:
        """Write each table as the ledger does."""
        for resource, rows in self.rows.items():
            schema = Columns(resource).schema
            known = [{name: value for name, value in row.items() if name in schema.names} for row in rows]
            write_deltalake(
                str(self.folder / resource),
                pa.Table.from_pylist(known, schema),
                mode="overwrite",
                partition_by=["workspace_id"],
            )
