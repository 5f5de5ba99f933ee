"""docs/sandbox.md: its example runs, and the names in it exist."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from airflow_provider_banksync.sandbox import Banks, BankSyncSandbox, Fault, SandboxClock
from airflow_provider_banksync.sandbox.http.faults import KINDS
from airflow_provider_banksync.sandbox.world.banks import PROFILES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_the_example_runs_as_a_reader_runs_it(airflow_db, tmp_path):
    dag, tests, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "nightly.py").write_text(dag, encoding="utf-8")
    (tmp_path / "test_nightly.py").write_text(tests, encoding="utf-8")
    # If the package is on the path and not installed, pytest does not load the plugin.
    installed = any(each.name == "banksync_sandbox" for each in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "airflow_provider_banksync.sandbox.pytest_plugin"]
    # A reader has a migrated database, and none of the settings of our tests.
    own = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "ignore",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            ".",
            *plugin,
        ],
        cwd=tmp_path,
        env={**own, "AIRFLOW_HOME": os.environ["AIRFLOW_HOME"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert re.search(r"^3 passed", done.stdout, re.MULTILINE), done.stdout[-6_000:] + done.stderr[-2_000:]


def test_the_example_of_banks_runs(capsys):
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[2]
    exec(compile(block, "docs/sandbox.md", "exec"), {})
    assert capsys.readouterr().out == "100.00\n"


def test_the_page_lists_every_rate_with_its_values():
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) \|", PAGE, re.MULTILINE)

    def shown(value):
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:g}"

    assert rows == [
        (each.name, *(shown(getattr(PROFILES[name], each.name)) for name in ("production", "restless")))
        for each in fields(Banks)
    ]
    assert set(re.findall(r'^\| `"(\w+)"`', PAGE, re.MULTILINE)) == set(PROFILES)


@pytest.mark.parametrize("part", ["banks", "truth"])
def test_the_page_lists_every_command(part):
    documented = re.findall(rf"^\| `sandbox\.{part}\.(\w+)\((.*?)\)`", PAGE, re.MULTILINE)
    owner = type(getattr(BankSyncSandbox(portals=0), part))
    public = {name for name in vars(owner) if not name.startswith("_") and callable(getattr(owner, name))}
    assert {name for name, _ in documented} == public - {"known_rates", "encoded"}
    for name, arguments in documented:
        names = [each.split("=")[0].strip(" *") for each in arguments.split(",")]
        parameters = inspect.signature(getattr(owner, name)).parameters
        assert names == [each for each in parameters if each != "self"], name


def test_the_page_lists_every_fault():
    listed = re.findall(r"^\| `Fault\.(\w+)\(", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(KINDS)
    assert all(callable(getattr(Fault, name)) for name in listed)


def test_every_name_on_the_page_exists():
    for name in re.findall(r"`sandbox\.(\w+)[(`]", PAGE):
        assert hasattr(BankSyncSandbox, name) or name in {"banks", "clock", "faults", "truth", "world"}, name
    for name in re.findall(r"sandbox\.clock\.(\w+)\(", PAGE):
        assert hasattr(SandboxClock, name), name


@pytest.mark.parametrize("setting", sorted(set(inspect.signature(BankSyncSandbox).parameters)))
def test_every_setting_is_explained(setting):
    assert f":param {setting}:" in inspect.getdoc(BankSyncSandbox)


def test_every_setting_can_be_given_to_the_command(capsys):
    from airflow_provider_banksync.sandbox.control.cli import main

    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    other_names = {"row_error_share": "row-errors", "failure_share": "failures"}
    other_names["block_default_user_agents"] = "allow-default-user-agents"
    for setting in inspect.signature(BankSyncSandbox).parameters:
        assert re.search(rf"--{other_names.get(setting, setting.replace('_', '-'))}\s", said), setting


def test_a_database_without_tables_is_said(tmp_path):
    (tmp_path / "nightly.py").write_text(
        "from airflow.providers.common.compat.sdk import DAG\n"
        "from airflow_provider_banksync.operators.listing import BankSyncListOperator\n"
        "with DAG('nightly', schedule=None) as dag:\n"
        "    BankSyncListOperator(task_id='feeds', resource='feeds')\n"
    )
    (tmp_path / "test_nightly.py").write_text(
        "from nightly import dag\n\ndef test_it(banksync_sandbox, banksync_dag_test):\n    banksync_dag_test(dag)\n"
    )
    own = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    installed = any(each.name == "banksync_sandbox" for each in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "airflow_provider_banksync.sandbox.pytest_plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "ignore", *plugin],
        cwd=tmp_path,
        env={**own, "AIRFLOW_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout
    assert "Airflow's database has no tables. Before the tests, run: airflow db migrate" in done.stdout
