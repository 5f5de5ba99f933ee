"""Tests of CONTRIBUTING.md: each path and each name of code that it mentions exists."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
COMMANDS = re.findall(r"^\$ (.+?)\s*(?:#.*)?$", PAGE, re.MULTILINE)
PATH = re.compile(r"[\w.][\w./-]*(/|\.(py|md|toml|yml|yaml|txt))|\.ci/run|Makefile")
PATHS = sorted({text for text in CODE if PATH.fullmatch(text) and not text.startswith(".venv")})


@pytest.mark.parametrize("path", PATHS)
def test_a_path_on_the_page_exists(path: str) -> None:
    assert (ROOT / path).exists()
    assert not path.endswith("/") or (ROOT / path).is_dir()


def test_the_page_names_files_of_every_kind() -> None:
    assert {"Makefile", "docs/hook.md", "airflow_provider_banksync/api/endpoints.py"} <= set(PATHS)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?<![\w/])tests/[\w./]+", " ".join(COMMANDS)))))
def test_a_path_of_a_command_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "command",
    sorted({found[1] for line in [*CODE, *COMMANDS] if (found := re.match(r"make ([a-z-]+)", line))}),
)
def test_a_command_of_make_exists(command: str) -> None:
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("def list_holdings(", "airflow_provider_banksync/api/endpoints.py"),
        ("def list_holdings(", "airflow_provider_banksync/hooks/banks.py"),
        ("def list_holdings(", "airflow_provider_banksync/sandbox/rules/backend.py"),
        ("Api.list_holdings,", "airflow_provider_banksync/sandbox/http/operations.py"),
        ("list_holdings(", "tests/support/calls.py"),
        ("list_holdings(", "tests/hooks/test_data.py"),
        ("list_holdings(", "docs/hook.md"),
        ("holdings", "tests/support/contract.yaml"),
        ("class BankSyncTriggerLearnOperator(", "airflow_provider_banksync/operators/jobs.py"),
        ("BankSyncTriggerLearnOperator(", "tests/operators/test_jobs.py"),
        ("BankSyncTriggerLearnOperator", "tests/test_public_api.py"),
        ("class BankSyncTaskMixin", "airflow_provider_banksync/tasks/base.py"),
        ("def fail_on_permanent_errors(", "airflow_provider_banksync/tasks/base.py"),
    ],
)
def test_the_example_of_a_walk_is_where_the_page_says(name: str, file: str) -> None:
    assert name in (ROOT / file).read_text(encoding="utf-8")
    assert f"`{file}`" in PAGE
