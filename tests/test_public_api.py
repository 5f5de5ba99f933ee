"""The public names, their signatures, and what Airflow stores of them, compared with a recorded list."""

from __future__ import annotations

import builtins
import collections.abc
import datetime as dt
import decimal
import inspect
import json
import re
import typing
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_banksync import __version__, sandbox
from airflow_provider_banksync.provider_info import get_provider_info
from tests.support.paths import ROOT
from tests.support.recorded import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_banksync.sandbox import BankSyncSandbox

PACKAGE = "airflow_provider_banksync"
#: The names that users import, by the module that they import them from.
PUBLIC = {
    "operators.sync": (
        "BankSyncTriggerSyncOperator",
        "BankSyncFamilySyncOperator",
        "BankSyncCancelJobOperator",
        "BankSyncTriggerLearnOperator",
    ),
    "operators.family": ("BankSyncFamilySyncOperator",),
    "operators.feeds": ("BankSyncFeedOperator", "BankSyncUpsertFeedOperator", "BankSyncDeleteFeedOperator"),
    "operators.jobs": ("BankSyncCancelJobOperator", "BankSyncTriggerLearnOperator"),
    "operators.listing": ("BankSyncListOperator",),
    "operators.reconcile": ("BankSyncReconcileOperator",),
    "transfers.delta_lake": ("BankSyncToDeltaLakeOperator",),
    "transfers.object_storage": ("BankSyncToObjectStorageOperator",),
    "transfers.sql": ("BankSyncToSqlOperator",),
    "sensors.base": ("BankSyncSensor",),
    "sensors.job": ("BankSyncJobSensor",),
    "sensors.feed": ("BankSyncFeedSyncedSensor",),
    "sensors.bank": ("BankSyncBankConnectedSensor",),
    "triggers.job": ("BankSyncJobTrigger",),
    "triggers.family": ("BankSyncFamilyJobsTrigger",),
    "triggers.sensors": (
        "BankSyncSensorTrigger",
        "BankSyncJobEndedTrigger",
        "BankSyncFeedSyncedTrigger",
        "BankSyncBankConnectedTrigger",
    ),
    "hooks.banksync": ("BankSyncHook",),
}
HOMES = {f"{PACKAGE}.{module}" for module in PUBLIC}
#: Modules of which every name is public that does not begin with "_" and is defined there.
WHOLE = ("exceptions",)
#: Modules with a list of their public names.
LISTED = ("sandbox", "compat")
#: The methods that Airflow calls. It stores the names of some of them with a deferred task.
CALLED_BY_AIRFLOW = (
    "execute",
    "execute_complete",
    "execute_after_running",
    "on_kill",
    "poke",
    "resume_execution",
    "run",
    "serialize",
)
#: The members of ``sandbox.faults`` that users call; the sandbox itself calls the others.
FAULTS = ("add", "clear", "remove", "rules")
#: What annotations may name: names of ours that stay, of Python and of Airflow.
KNOWN = {
    *(name for names in PUBLIC.values() for name in names),
    *sandbox.__all__,
    *(name for module in (builtins, collections.abc, dt, decimal, typing) for name in dir(module)),
    # A row is a dict; the clients are what `get_conn` and `get_async_conn` give.
    "AsyncClient",
    "Client",
    "ClientConfig",
    "Row",
    "AbstractSet",
    "Context",
    "PokeReturnValue",
    "TriggerEvent",
}
#: Class attributes that Airflow, or a user, reads.
READ = (
    "template_fields",
    "template_fields_renderers",
    "conn_name_attr",
    "default_conn_name",
    "conn_type",
    "hook_name",
    "permanent",
    "transient",
)


def public_names() -> Iterator[tuple[str, str, Any]]:
    """Give each public name that exists: its module, itself, what it names."""
    for module, names in PUBLIC.items():
        found = vars(import_module(f"{PACKAGE}.{module}"))
        yield from ((module, name, found[name]) for name in names if name in found)
    for module in WHOLE:
        whole = import_module(f"{PACKAGE}.{module}")
        for name, value in vars(whole).items():
            if not name.startswith("_") and getattr(value, "__module__", None) == whole.__name__:
                yield module, name, value
    for module in LISTED:
        listed = import_module(f"{PACKAGE}.{module}")
        for name in listed.__all__:
            yield module, name, getattr(listed, name)


def is_ours(value: Any) -> bool:
    """Say whether a class or function is defined in this package."""
    return str(getattr(value, "__module__", "")).partition(".")[0] == PACKAGE


def own_bases(cls: type, public: set[str]) -> list[str]:
    """Return the nearest bases of a class that are public names of ours, or Python's own."""
    found: list[str] = []
    for base in cls.__bases__:
        if base.__name__ in public or (base is not object and hasattr(builtins, base.__name__)):
            found.append(base.__name__)
        elif is_ours(base):
            found += own_bases(base, public)
    return found


def annotation(value: Any) -> str:
    """Return an annotation as the code has it, with ``<private>`` for any other name of ours."""
    text = value if isinstance(value, str) else getattr(value, "__name__", repr(value))
    return re.sub(r"[A-Za-z_]\w*", lambda match: match[0] if match[0] in KNOWN else "<private>", text)


def shown(value: Any) -> str:
    """Return a default without an address in memory."""
    return f"{value.__module__}.{value.__name__}" if callable(value) else repr(value)


def parameters(function: Callable[..., Any], *, bound: bool = False) -> list[str]:
    """Return the parameters of a function in a form that is the same on every version of Python.

    :param bound: leave out the first one, which Python passes.
    """
    parts: list[str] = []
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    keyword_only = False
    for parameter in list(inspect.signature(function).parameters.values())[int(bound) :]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not keyword_only:
            parts.append("*")
        keyword_only |= parameter.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_POSITIONAL)
        text = stars.get(parameter.kind, "") + parameter.name
        if parameter.annotation is not inspect.Parameter.empty:
            text += f": {annotation(parameter.annotation)}"
        if parameter.default is not inspect.Parameter.empty:
            text += f" = {shown(parameter.default)}"
        parts.append(text)
    return parts


def declared(name: str, function: Callable[..., Any], *, bound: bool = False) -> str:
    """Return the line of a function: whether it is async, its name, what it takes, what it returns."""
    kind = "async " if inspect.iscoroutinefunction(function) else ""
    returned = inspect.signature(function).return_annotation
    arrow = "" if returned is inspect.Signature.empty else f" -> {annotation(returned)}"
    return f"{kind}{name}({', '.join(parameters(function, bound=bound))}){arrow}"


def members(cls: type, public: set[str], names: tuple[str, ...] | None = None) -> Iterator[str]:
    """Give a line for each public method and property that this package defines, by name.

    Leave out what a class inherits from a class that is on the list itself.

    :param names: only these; None for all.
    """
    found: dict[str, Any] = {}
    listed = [base for base in cls.__mro__[1:] if base.__name__ in public]
    inherited = {each for base in listed for each in base.__mro__}
    for base in reversed([base for base in cls.__mro__ if is_ours(base)]):
        if base not in inherited:
            found.update(vars(base))
    for name in sorted(found):
        member = found[name]
        if name.startswith("_") or (names is not None and name not in names):
            continue
        if isinstance(member, property) or type(member).__name__ == "cached_property":
            getter = member.fget if isinstance(member, property) else member.func
            yield f"  property {declared(name, getter, bound=True)}"
        elif isinstance(member, (classmethod, staticmethod)):
            bound = isinstance(member, classmethod)
            yield f"  {type(member).__name__} {declared(name, member.__func__, bound=bound)}"
        elif inspect.isfunction(member):
            yield f"  {declared(name, member, bound=True)}"


def described(module: str, name: str, value: Any, public: set[str]) -> Iterator[str]:
    """Give the lines about one public name."""
    if not isinstance(value, type):
        is_function = inspect.isfunction(value) and is_ours(value)
        yield declared(f"{module}.{name}", value) if is_function else f"{module}.{name}"
        return
    if value.__name__ in public and value.__module__ in HOMES - {f"{PACKAGE}.{module}"}:
        yield f"{module}.{name}: the class of {value.__module__.removeprefix(f'{PACKAGE}.')}"
        return
    if not is_ours(value):
        yield f"{module}.{name}: Airflow's"
        return
    bases = ", ".join(own_bases(value, public))
    yield f"class {module}.{name}{f'({bases})' if bases else ''}"
    if is_ours(value.__init__):  # type: ignore[misc]
        yield "  __init__"
        yield from (f"    {parameter}" for parameter in parameters(value.__init__, bound=True))  # type: ignore[misc]
    for attribute in READ:
        # Only what we set: the values of Airflow's base classes change from version to version.
        if any(attribute in vars(base) for base in value.__mro__ if is_ours(base)):
            found = getattr(value, attribute)
            yield f"  {attribute} = {list(found) if isinstance(found, tuple) else found!r}"
    airflows = module.partition(".")[0] in ("operators", "transfers", "sensors", "triggers")
    yield from members(value, public, CALLED_BY_AIRFLOW if airflows else None)
    if module.startswith("triggers.") and name != "BankSyncSensorTrigger":
        yield from stored(value)


def stored(trigger: type) -> Iterator[str]:
    """Give what Airflow's database holds of a trigger: the path of its class, and the names of its arguments."""
    required = {
        name: f"<{name}>"
        for name, parameter in inspect.signature(trigger).parameters.items()
        if parameter.default is inspect.Parameter.empty and parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    path, arguments = trigger(**required).serialize()
    yield f"  stored as {path}"
    for name in sorted(arguments):
        yield f"    {name} = {arguments[name]!r}"


def reached_through(running: BankSyncSandbox) -> Iterator[str]:
    """Give the lines about the objects that a user gets from a sandbox and never imports."""
    headers = {"X-API-Key": running.api_key, "User-Agent": "tests/1"}
    assert requests.get(f"{running.url}/v1/whoami", headers=headers, timeout=60).status_code == 200
    reached = {"faults": running.faults, "requests[]": running.requests[0], "traffic()": running.traffic()}
    for path, value in reached.items():
        yield f"sandbox.BankSyncSandbox().{path}"
        fields = getattr(type(value), "__dataclass_fields__", {})
        yield from (f"  {name}: {annotation(field.type)}" for name, field in fields.items())
        yield from members(type(value), set(), FAULTS if path == "faults" else None)
    yield f"sandbox.BankSyncSandbox().clock: {type(running.clock).__name__}"


@pytest.fixture(scope="module")
def listing() -> list[str]:
    """The lines about each public name.

    Made for the module: for each test, other fixtures put constructors of their own into the classes.
    """
    names = list(public_names())
    public = {name for _, name, _ in names}
    return ["\n".join(described(module, name, value, public)) for module, name, value in names]


@pytest.mark.banksync_sandbox(portals=1, time_scale=0)
def test_the_public_names_and_signatures_are_those_on_record(
    listing: list[str], banksync_sandbox: BankSyncSandbox
) -> None:
    blocks = [*listing, "\n".join(reached_through(banksync_sandbox))]
    compare(ROOT / "tests" / "public_api.txt", "\n\n".join(blocks) + "\n", __file__)


def test_no_class_that_airflow_finds_is_missing_on_the_list() -> None:
    info = get_provider_info()
    kinds = ("hooks", "operators", "sensors", "triggers")
    modules = [name for kind in kinds for entry in info[kind] for name in entry["python-modules"]]
    modules += [entry["python-module"] for entry in info["transfers"]]
    assert set(modules) == HOMES
    ends = ("Hook", "Operator", "Sensor", "Trigger")
    for module in modules:
        classes = {
            name
            for name, value in vars(import_module(module)).items()
            if isinstance(value, type) and value.__module__ == module and name.endswith(ends)
        }
        assert classes <= set(PUBLIC[module.removeprefix(f"{PACKAGE}.")]), module


def test_the_provider_info_is_the_one_on_record() -> None:
    found = get_provider_info()
    assert found.pop("versions") == [__version__]
    text = json.dumps(_without_words(found), indent=1, sort_keys=True, ensure_ascii=False)
    compare(ROOT / "tests" / "provider_info.json", text + "\n", __file__)


def _without_words(value: Any) -> Any:
    """Leave out texts that people read and nothing depends on."""
    words = ("label", "description", "placeholders", "relabeling")
    if isinstance(value, dict):
        return {key: _without_words(each) for key, each in value.items() if key not in words}
    return [_without_words(each) for each in value] if isinstance(value, list) else value
