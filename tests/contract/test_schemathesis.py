"""Schemathesis against a running sandbox: thousands of requests that the contract allows, and as many that it does not.

All checks are on. One of them is told that a request can be allowed by the contract and still be refused, for the
operations where a schema cannot say what is right: ids that must exist in the workspace, dates that must be in order,
cursors and tokens that must have been given out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from airflow_provider_banksync.sandbox import BankSyncSandbox
from airflow_provider_banksync.sandbox.http.operations import OPERATIONS, RouteTable
from tests.support.contract import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=timezone.utc)
DEPENDS_ON_MORE_THAN_SHAPE = """
[[operations]]
include-operation-id = [
    "connectBank", "createFeed", "updateFeed", "createEnrichment", "updateEnrichment",
    "listTransactions", "listTrades", "triggerSync",
]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "422", "503"]
"""


@pytest.fixture
def sandbox() -> Iterator[BankSyncSandbox]:
    with BankSyncSandbox(portals=2, time_scale=0, now=NOON, page_size=5, job_seconds=(40, 40)) as running:
        yield running


def campaign(sandbox: BankSyncSandbox, folder: Path, settings: str, *arguments: str) -> str:
    """Run schemathesis with every check; its report, which has to be one of success."""
    config = folder / "schemathesis.toml"
    config.write_text(settings + DEPENDS_ON_MORE_THAN_SHAPE, encoding="utf-8")
    command = [
        sys.executable,
        "-W",
        "ignore",  # other people's deprecations are theirs
        "-c",
        "from schemathesis.cli import schemathesis; schemathesis()",
        *("--no-color", "--config-file", str(config), "run", str(FILE), "--url", sandbox.url),
        *("-H", f"X-API-Key: {sandbox.api_key}", "-H", "User-Agent: contract-tests/1.0"),
        *("--checks", "all", "--seed", "1", "--continue-on-failure", "--warnings", "off", *arguments),
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        # Both campaigns share what hypothesis works out of Unicode: that takes four seconds.
        env={
            **os.environ,
            "PYTHONHASHSEED": "0",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(folder.parent / "hypothesis"),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    return done.stdout


def test_the_sandbox_handles_any_request_of_the_contract(sandbox, tmp_path):
    said = campaign(sandbox, tmp_path, "", "--max-examples", "5")
    assert f"Tested: {len(OPERATIONS)}" in said
    assert len(sandbox.requests) > 1_000
    assert {200, 201, 400, 401, 404, 405, 422} <= {record.status for record in sandbox.requests}


# These would take away what all others are about; the campaign above has them.
TAKING_AWAY = ("deleteBank", "deleteFeed", "deleteEnrichment", "deleteIntegration")


def test_the_same_on_things_that_exist(sandbox, tmp_path):
    world = sandbox.world
    parent = world.parent
    bank = world.banks(parent)[0]
    loan = next(account for account in world.accounts(bank) if account.kind.name == "LOAN")
    ids = {
        "path.bid": bank.id,
        "path.aid": loan.id,
        "path.fid": world.feeds(parent)[0].id,
        "path.eid": world.enrichments(parent)[0].id,
        "header.X-Workspace-Id": parent.id,
    }
    settings = "[parameters]\n" + "".join(f'"{name}" = "{value}"\n' for name, value in ids.items())
    excluded = [part for name in TAKING_AWAY for part in ("--exclude-operation-id", name)]
    campaign(sandbox, tmp_path, settings, "--max-examples", "5", *excluded)
    routes = RouteTable(OPERATIONS)
    done = set()
    for record in sandbox.requests:
        found = routes.find(record.path)
        if found and record.status < 300:
            done.add(found[0][record.method].path)
    hard = {"/v1/banks/connect", "/v1/feeds/{fid}/jobs/{jid}", "/v1/integrations/{iid}"}
    assert done >= {operation.path for operation in OPERATIONS} - hard
