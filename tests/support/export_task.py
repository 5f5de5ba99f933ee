"""Runs the export operator with a context like Airflow's, and reads what it left."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import Mock

from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator
from tests.support.task_runs import rendered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest

Found = TypeVar("Found")
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
    try_number: int = 1
    max_tries: int = 0
    arguments: dict[str, Any] = field(default_factory=dict)
    outlet_events: Any = None
    dag_run: Any = None
    #: That of the last try.
    operator: BankSyncToObjectStorageOperator | None = None

    def run(self, **arguments: Any) -> dict[str, Any]:
        """One try."""
        given: dict[str, Any] = {"scope": "family", **self.arguments, **arguments}
        where = self.destination.as_uri() if isinstance(self.destination, Path) else self.destination
        operator = rendered(BankSyncToObjectStorageOperator, task_id="export", destination=where, **given)
        self.operator = operator
        start, end = self.interval
        context = {
            "ti": SimpleNamespace(
                dag_id="lake",
                task_id="export",
                run_id=self.run_id,
                map_index=self.map_index,
                try_number=self.try_number,
                max_tries=self.max_tries,
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


def record_warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the warnings of all tasks from now on. Airflow's own log passes pytest by."""
    warnings: list[str] = []
    log = Mock()
    log.warning.side_effect = lambda text, *values: warnings.append(text % values)
    monkeypatch.setattr(BankSyncToObjectStorageOperator, "log", log)
    return warnings


def plain_name(path: str) -> str:
    """Return the path of a part without the token of its try."""
    return re.sub(r"(?<=-\d{5})-[0-9a-f]{12}(?=\.)", "", path)


def plain_names(files: Mapping[str, Found]) -> dict[str, Found]:
    """Return files by their paths without tokens. No two tries may have left the same part."""
    found = {plain_name(path): body for path, body in files.items()}
    assert len(found) == len(files), sorted(files)
    return found


def comparable(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return files without what differs from try to try: tokens, and in manifests the times."""
    found: dict[str, Any] = plain_names(files)
    for path, body in found.items():
        if path.endswith("_manifest.json"):
            manifest = json.loads(body)
            assert manifest.pop("generated_at")
            assert manifest.pop("try")
            assert manifest.pop("checksum")
            manifest.pop("ended_tries", None)
            for account in (*manifest.get("accounts", []), *manifest.get("carried_cursors", [])):
                assert account.pop("read_at")
            for file in manifest["files"]:
                file["path"] = plain_name(file["path"])
            found[path] = json.dumps(manifest)
    return found


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


def edit_manifest(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change a manifest as it was before manifests had a checksum."""
    manifest = json.loads(path.read_bytes())
    del manifest["checksum"]
    path.write_text(json.dumps(edit(manifest)))


def manifest_of(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest that a summary names."""
    return json.loads(Path(summary["manifest"].removeprefix("file://")).read_bytes())
