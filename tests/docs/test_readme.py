"""Tests of README.md: its DAG and its connection work when pasted, and its commands exist."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.provider_info import CONN_FIELDS, get_provider_info
from airflow_provider_banksync.sandbox.control.cli import _banner
from tests.support.paths import ROOT
from tests.support.sandbox_data import truth

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.sandbox import BankSyncSandbox
    from tests.support.dag_runner import DagRunner

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.banksync_sandbox(portals=1, time_scale=1000, row_error_share=0)
def test_the_dag_works_when_pasted(
    banksync_sandbox: BankSyncSandbox, dag_runner: DagRunner, tmp_path: Path
) -> None:
    (code,) = blocks("python")
    dag_file = tmp_path / "my_first_sync.py"
    dag_file.write_text(code, encoding="utf-8")
    told = dag_runner.run(dag_file, env={"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path)})
    assert told["state"] == "success", told["log"][-6000:]
    (job,) = banksync_sandbox.jobs
    assert job["status"] == "completed"
    (feed,) = [row for row in truth(banksync_sandbox, "/v1/feeds") if row["id"] == job["feedId"]]
    assert feed["destinationConfig"]["type"] == "notion", "as its name says"


@pytest.mark.banksync_sandbox(portals=1, time_scale=1000, row_error_share=0)
def test_what_the_sandbox_prints_works_when_pasted(
    banksync_sandbox: BankSyncSandbox,
    dag_runner: DagRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    banner = _banner(banksync_sandbox)
    (connection,) = re.findall(r"^export AIRFLOW_CONN_BANKSYNC_DEFAULT='(.*)'$", banner, re.MULTILINE)
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", connection)
    (code,) = re.findall(r"^from .*\nfrom .*\nwith DAG.*\n", banner, re.MULTILINE)
    (tmp_path / "first_sync.py").write_text(code, encoding="utf-8")
    told = dag_runner.run(tmp_path / "first_sync.py", env={"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path)})
    assert told["state"] == "success", told["log"][-6000:]
    assert [job["status"] for job in banksync_sandbox.jobs] == ["completed"]


@pytest.mark.banksync_sandbox(portals=1, time_scale=1000, row_error_share=0)
def test_the_form_of_the_sync_page_works_with_its_required_field_alone(
    banksync_sandbox: BankSyncSandbox, dag_runner: DagRunner, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "sync.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "by_hand.py").write_text(code, encoding="utf-8")
    feed = truth(banksync_sandbox, "/v1/feeds")[0]
    env = {"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path)}
    told = dag_runner.run(tmp_path / "by_hand.py", env=env, feed_id=feed["id"])
    assert told["state"] == "success", told["log"][-6000:]
    assert [(job["feedId"], job.get("startDate")) for job in banksync_sandbox.jobs] == [(feed["id"], None)]


def test_the_connection_works_when_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    (value,) = re.findall(r"export AIRFLOW_CONN_BANKSYNC_DEFAULT='(.*)'", README)
    key = "bsk_" + "r" * 44
    monkeypatch.setenv("AIRFLOW_CONN_BANKSYNC_DEFAULT", value.replace("bsk_...", key))
    config = BankSyncHook().get_config()
    assert (config.secret, config.base_url, config.workspace_id) == (key, "https://api.banksync.io", None)
    assert json.loads(value)["conn_type"] == BankSyncHook.conn_type


def test_every_command_is_a_target_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = set(re.findall(r"(?:`|\$ )make ([a-z]+)", README))
    assert {"demo", "test", "ui"} <= commands
    assert all(re.search(rf"^{command}:", makefile, re.MULTILINE) for command in commands)


def test_every_field_and_every_class_is_listed() -> None:
    for field in CONN_FIELDS:
        assert f"Extra `{field}`" in README
    info = get_provider_info()
    modules = [
        name for kind in ("operators", "sensors", "triggers") for name in info[kind][0]["python-modules"]
    ]
    modules += [transfer["python-module"] for transfer in info["transfers"]]
    for module in modules:
        assert f"`{module.removeprefix('airflow_provider_banksync.')}." in README
