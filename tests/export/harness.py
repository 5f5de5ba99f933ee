"""Runs the export operator with a context like Airflow's, and reads what it left."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator

DAY = datetime(2026, 3, 2, tzinfo=timezone.utc), datetime(2026, 3, 3, tzinfo=timezone.utc)


@dataclass
class Task:
    """A task instance of one DAG run; each call of `run` is a try of it."""

    destination: Path | str
    run_id: str = "run"
    interval: tuple[datetime | None, datetime | None] = DAY
    zone: tzinfo = timezone.utc
    run_after: datetime | None = None
    run_type: str = "manual"
    timetable: Any = None
    map_index: int = -1
    arguments: dict[str, Any] = field(default_factory=dict)
    outlet_events: Any = None
    dag_run: Any = None
    #: That of the last try.
    operator: BankSyncToObjectStorageOperator | None = None

    def run(self, **arguments: Any) -> dict[str, Any]:
        """One try."""
        given: dict[str, Any] = {"scope": "family", **self.arguments, **arguments}
        where = self.destination.as_uri() if isinstance(self.destination, Path) else self.destination
        operator = BankSyncToObjectStorageOperator(task_id="export", destination=where, **given)
        self.operator = operator
        start, end = self.interval
        context = {
            "ti": SimpleNamespace(
                dag_id="lake", task_id="export", run_id=self.run_id, map_index=self.map_index
            ),
            "dag": SimpleNamespace(timezone=self.zone, timetable=self.timetable),
            "dag_run": self.dag_run
            or SimpleNamespace(run_after=self.run_after or end, run_type=self.run_type),
            "data_interval_start": start,
            "data_interval_end": end,
            "outlet_events": self.outlet_events,
        }
        summary = operator.execute(context)  # type: ignore[arg-type]
        assert json.loads(json.dumps(summary)) == summary, "it fits into XCom"
        return summary


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def rows_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every JSON Lines file, by its path."""
    return {
        path: [json.loads(line, parse_float=Decimal) for line in body.splitlines()]
        for path, body in sorted(tree(folder).items())
        if path.endswith(".jsonl")
    }


def manifest_of(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest that a summary names."""
    return json.loads(Path(summary["manifest"].removeprefix("file://")).read_bytes())
