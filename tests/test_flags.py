"""Every flag of every public class is True or False. A text such as "False", which is true in Python, is refused."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest

from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.hooks.banksync import BankSyncHook
from tests.test_public_api import PACKAGE, PUBLIC

#: Flags that may also be a template. The task refuses what they render as.
TEMPLATED = {"full_refresh", "allow_shrink"}


def classes() -> list[type]:
    found = {
        getattr(import_module(f"{PACKAGE}.{module}"), name): None
        for module, names in PUBLIC.items()
        for name in names
    }
    return list(found)


def parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class, with those that its base classes take from ``**kwargs``."""
    found: dict[str, inspect.Parameter] = {}
    for each in kind.__mro__:
        if each.__module__.startswith(PACKAGE) and "__init__" in vars(each):
            found = {**inspect.signature(each.__init__).parameters, **found}  # type: ignore[misc]
    return found


FLAGS = [
    pytest.param(kind, name, id=f"{kind.__name__}-{name}")
    for kind in classes()
    for name, parameter in parameters(kind).items()
    if "bool" in str(parameter.annotation).split(" | ")
]


def required(kind: type) -> dict[str, Any]:
    known = {
        "deadline": 1.0,
        "feeds": "[]",
        "since": None,
        "attempt_since": None,
        "destination": "/tmp",
        "definition": {},
    }
    names = [
        name
        for name, each in parameters(kind).items()
        if each.default is each.empty and each.kind is each.KEYWORD_ONLY
    ]
    given = {name: known.get(name, "transactions" if name == "resource" else "x") for name in names}
    if "feed_name" in parameters(kind):
        given["feed_id"] = "x"
    return given if kind.__name__.endswith("Trigger") else {"task_id": "task", **given}


def test_there_are_flags_of_every_kind_of_class() -> None:
    kinds = {flag.values[0].__module__.split(".")[1] for flag in FLAGS}
    assert {"operators", "sensors", "transfers", "triggers"} <= kinds
    assert len(FLAGS) > 30


@pytest.mark.parametrize(("kind", "name"), FLAGS)
@pytest.mark.parametrize("wrong", ["False", 0, None, "{{ params.flag }}"], ids=repr)
def test_a_flag_that_is_not_a_boolean_is_refused(kind: type, name: str, wrong: Any) -> None:
    if name in TEMPLATED:
        assert name in kind.template_fields  # type: ignore[attr-defined]
        assert "(templated)" in inspect.getdoc(kind).split(f":param {name}:")[1].split(":param")[0]  # type: ignore[union-attr]
        return
    assert name not in getattr(kind, "template_fields", ())
    with pytest.raises(BankSyncConfigError, match=f"{name} must be True or False, not {wrong!r}"):
        kind(**required(kind), **{name: wrong})


def test_the_hook_has_no_flags() -> None:
    methods = [
        method for name, method in inspect.getmembers(BankSyncHook, inspect.isfunction) if name[0] != "_"
    ]
    own = [method for method in methods if method.__module__.startswith(PACKAGE)]
    annotations = [
        each.annotation for method in own for each in inspect.signature(method).parameters.values()
    ]
    assert len(annotations) > 50
    assert "bool" not in annotations
