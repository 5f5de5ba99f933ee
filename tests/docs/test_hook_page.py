"""Tests of docs/hook.md: each row names a method of the hook, and each method has a row."""

from __future__ import annotations

import inspect
import re

from airflow_provider_banksync.hooks.banks import BankMethods
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from airflow_provider_banksync.hooks.feeds import FeedMethods
from airflow_provider_banksync.hooks.workspaces import WorkspaceMethods
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "hook.md").read_text(encoding="utf-8")
CALL = re.compile(r"`(\w+)\(([^)`]*)\)`")


def methods() -> dict[str, list[str]]:
    groups = (BankMethods, FeedMethods, WorkspaceMethods)
    names = {name for group in groups for name in vars(group) if not name.startswith("_")}
    return {name: list(inspect.signature(getattr(BankSyncHook, name)).parameters) for name in names}


def test_every_method_is_on_the_page_with_its_arguments() -> None:
    listed = dict(CALL.findall(PAGE))
    assert set(listed) == set(methods())
    for name, arguments in listed.items():
        given = [
            argument for argument in arguments.replace("...", "").replace(" ", "").split(",") if argument
        ]
        assert given == methods()[name][1 : 1 + len(given)], name


def test_every_method_takes_a_workspace() -> None:
    assert [name for name, parameters in methods().items() if "workspace_id" not in parameters] == []
