"""Runs an operator of a ledger with a context like Airflow's, and compares its table with the API."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from deltalake import DeltaTable

from airflow_provider_banksync.compat import AIRFLOW
from airflow_provider_banksync.tasks import ledger_task
from airflow_provider_banksync.transfers.delta_lake import BankSyncToDeltaLakeOperator
from tests.support.account_data import truth
from tests.support.task_runs import rendered

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from airflow_provider_banksync.tasks.ledger_operator import LedgerOperator

#: The time of the sandbox that tests use.
NOW = datetime(2026, 3, 4, 6, tzinfo=timezone.utc)


@dataclass
class LedgerRun:
    """A task instance. Each call of `run` is a try of it."""

    operator_class: type[LedgerOperator]
    where: dict[str, Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    operator: LedgerOperator | None = None

    def run(
        self,
        now: datetime = NOW,
        *,
        today: date | None = None,
        try_number: int = 1,
        **arguments: Any,
    ) -> dict[str, Any]:
        """One try.

        :param now: when the run is due.
        :param today: the day on which it runs; None: when it is due.
        """
        given = {"resource": "transactions", "scope": "family", **self.where, **self.arguments, **arguments}
        self.operator = rendered(self.operator_class, task_id="ledger", **given)
        context = {
            "ti": SimpleNamespace(
                dag_id="books",
                task_id="ledger",
                run_id=f"run {now}",
                map_index=-1,
                try_number=try_number,
                max_tries=0,
            ),
            "dag": SimpleNamespace(timezone=timezone.utc, timetable=None),
            "dag_run": SimpleNamespace(run_after=now, run_type="scheduled"),
            "data_interval_start": now,
            "data_interval_end": now,
            "outlet_events": None,
        }
        if AIRFLOW < (3,):  # its check of who calls `execute` knows only the thread that imported it
            from airflow.models.baseoperator import ExecutorSafeguard

            ExecutorSafeguard._sentinel.callers = {}
        with patch.object(ledger_task, "today", return_value=today or now.date()):
            summary = self.operator.execute(context)  # type: ignore[arg-type]
        assert json.loads(json.dumps(summary)) == summary, "it fits into XCom"
        return summary


def delta_run(folder: Path, **arguments: Any) -> LedgerRun:
    """Return a task that writes to a Delta Lake table in a folder."""
    return LedgerRun(BankSyncToDeltaLakeOperator, {"table_uri": str(folder)}, arguments)


def delta_rows(uri: Path | str, **options: Any) -> list[dict[str, Any]]:
    """Return the rows of a Delta Lake table."""
    return list(DeltaTable(str(uri), **options).to_pyarrow_table().to_pylist())


Key = tuple[str, str, str]
#: What is compared of a row, digit by digit.
COMPARED = ("date", "amount", "description", "currency", "category", "pending", "pendingTransactionId")


def by_key(rows: list[dict[str, Any]]) -> dict[Key, tuple[Any, ...]]:
    """Return what a table has, by workspace, account and id. A row that is there twice fails."""
    found: dict[Key, tuple[Any, ...]] = {}
    for row in rows:
        key = row["workspace_id"], row["account_id"], row["id"]
        assert key not in found, f"{key} is there twice"
        found[key] = tuple(row.get(name) for name in COMPARED)
    return found


def api_rows(**window: str) -> dict[Key, tuple[Any, ...]]:
    """Return what the API has, as `by_key` does."""
    return {
        (workspace, account, row["id"]): tuple(_value(name, row.get(name)) for name in COMPARED)
        for (workspace, account), rows in truth(**window).items()
        for row in rows
    }


def _value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "date":
        return datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007 - a day
    return Decimal(value) if name == "amount" else value
