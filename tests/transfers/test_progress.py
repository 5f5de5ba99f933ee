"""What an export logs while it runs: how much is left, and what it waits for."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from airflow_provider_banksync.extract import progress
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.transfers.object_storage import BankSyncToObjectStorageOperator
from tests.support.account_data import family
from tests.support.export_task import Task

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.api.config import ClientConfig


@pytest.mark.banksync_sandbox(portals=3, time_scale=0)
def test_an_export_that_waits_for_the_rate_limit_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, banksync_sandbox: object
) -> None:
    accounts = len(family())
    get_config = BankSyncHook.get_config

    def limited(hook: BankSyncHook) -> ClientConfig:
        return replace(get_config(hook), rate_limit=4, rate_window=0.6)

    monkeypatch.setattr(BankSyncHook, "get_config", limited)
    monkeypatch.setattr(progress, "PROGRESS_INTERVAL", 0.15)
    lines: list[str] = []
    log = Mock()
    log.info.side_effect = lambda text, *values: lines.append(text % values)
    monkeypatch.setattr(BankSyncToObjectStorageOperator, "log", log)

    Task(tmp_path, arguments={"resource": "balances"}).run()

    form = re.compile(
        r"Read (\d+) of (\d+) (lists|accounts), \d+ rows\. "
        r"Waiting for the rate limit \(4 requests/min\): (\d+) \3 left, about (\d+) s\."
    )
    found = [match for match in map(form.fullmatch, lines) if match]
    assert {match[3] for match in found} == {"lists", "accounts"}
    for match in found:
        assert int(match[1]) + int(match[4]) == int(match[2])
    waits = [(int(match[4]), float(match[5])) for match in found if match[3] == "accounts"]
    assert waits[0][0] > waits[-1][0]
    assert waits[0][1] > waits[-1][1], "it counts down"
    assert f"Read {accounts} of {accounts} accounts, {accounts} rows." in lines
