"""The code of docs/ledger.md, run as a reader would."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from tests.support.ledger_task import api_rows, delta_run
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox

BLOCKS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.mark.banksync_sandbox(portals=1, time_scale=0, page_size=500)
def test_the_code_works_when_pasted(
    banksync_sandbox: BankSyncSandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dag, pandas, duckdb, version, feed = (block.replace("/tmp/books", str(tmp_path)) for block in BLOCKS)
    names: dict[str, object] = {}
    exec(dag, names)
    operator = names["BankSyncToDeltaLakeOperator"]
    assert operator.__name__ in dag
    summary = delta_run(tmp_path / "transactions").run(datetime.now(timezone.utc))
    rows = len(api_rows(from_date="1970-01-01"))
    assert summary["rows_inserted"] == rows

    exec(pandas, names)
    assert len(names["frame"]) == rows
    exec(duckdb, names)
    assert "portal_name" in capsys.readouterr().out
    exec(feed, names)
    assert names["changes"].num_rows == rows
    exec(version.replace('"2026-03-31T23:59:59Z"', str(summary["version"])), names)
    assert names["rows"].num_rows == rows
