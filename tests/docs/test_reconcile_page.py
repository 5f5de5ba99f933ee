"""Tests of docs/reconcile.md: its DAG works when pasted, and it names every outcome and column."""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_banksync.ledger.reconciliation import OUTCOMES, RESULT_SCHEMA
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "reconcile.md").read_text(encoding="utf-8")


def test_the_dag_reads_the_tables_in_order_and_reconciles_them() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "reconcile.md", "exec"), names)
    (dag,) = {task.dag for task in names["read"]}
    assert [task.task_id for task in dag.topological_sort()] == [
        "transactions",
        "balances",
        "banks",
        "reconcile",
    ]
    reconcile = dag.task_dict["reconcile"]
    assert [task.table_uri for task in names["read"]] == [
        reconcile.transactions,
        reconcile.balances,
        reconcile.banks,
    ]


def test_every_outcome_and_column_has_a_row() -> None:
    rows = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {*OUTCOMES, *RESULT_SCHEMA.names} <= named
