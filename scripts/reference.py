"""Write docs/reference.md: the parameters of every operator, sensor and transfer, from the docstrings.

reference.py            write the page
reference.py --check    fail if the page is not what the docstrings say
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_banksync.provider_info import get_provider_info

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference.md"
PACKAGE = "airflow_provider_banksync"

HEAD = (
    "# Reference\n\nThe parameters of every operator, sensor and transfer. `make reference` writes this page from the"
    " docstrings of the classes.\n\nAll of them also take the parameters of Airflow's own `BaseOperator` (for sensors,"
    " `BaseSensorOperator`), such as `task_id`, `retries`, `pool` and `on_failure_callback`. A parameter that is"
    ' "templated" may be a Jinja template. If the template is exactly one param,'
    " [it may be None](sync.md#arguments-from-a-trigger-form).\n"
)
_PARAM = re.compile(r"^:param (\w+): (.+?)(?=^:\w|\Z)", re.DOTALL | re.MULTILINE)


def main() -> None:
    """Write the page, or check it."""
    text = render()
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text(encoding="utf-8") != text:
            raise SystemExit("error: docs/reference.md is out of date. Run: make reference")
    elif sys.argv[1:]:
        raise SystemExit(__doc__)
    else:
        PAGE.write_text(text, encoding="utf-8")


def render() -> str:
    """Return the page."""
    found = classes()
    contents = [
        f"| [{each.__qualname__}](#{each.__qualname__.lower()}) | {next(_prose(each))[:-1]} |"
        for each in found
    ]
    return "\n".join([HEAD, "| class | |", "|---|---|", *contents, "", *map(_section, found)])


def classes() -> list[type]:
    """Return the operators, transfers and sensors of the provider info, in this order."""
    info = get_provider_info()
    modules = [
        *(name for entry in info["operators"] for name in entry["python-modules"]),
        *(entry["python-module"] for entry in info["transfers"]),
        *(name for entry in info["sensors"] for name in entry["python-modules"]),
    ]
    return [each for module in dict.fromkeys(modules) for each in _public_classes(module)]


def _public_classes(module: str) -> Iterator[type]:
    members = vars(importlib.import_module(module)).values()
    for member in members:
        is_own = inspect.isclass(member) and member.__module__ == module
        if is_own and hasattr(member, "template_fields") and _is_for_dags(member):
            yield member


def _is_for_dags(member: type) -> bool:
    """Tell whether a class does something. Bases of operators only add parameters."""
    return any("execute" in vars(each) for each in member.__mro__ if each.__module__.startswith(PACKAGE))


def _section(member: type) -> str:
    path = f"{member.__module__.removeprefix(f'{PACKAGE}.')}.{member.__qualname__}"
    rows = [
        f"| `{name}` | {_default(parameter)} | {_cell(text)} |"
        for name, parameter, text in parameters(member)
    ]
    table = ["| parameter | default | |", "|---|---|---|", *rows]
    return "\n".join([f"## {member.__qualname__}\n", f"`{PACKAGE}.{path}`\n", *_prose(member), *table, ""])


def parameters(member: type) -> list[tuple[str, inspect.Parameter, str]]:
    """Return the name, the signature's entry and the description of each parameter, also of those of the bases."""
    found: dict[str, tuple[str, inspect.Parameter, str]] = {}
    for each in member.__mro__:
        if not each.__module__.startswith(f"{PACKAGE}.") or "__init__" not in vars(each):
            continue
        for name, parameter in inspect.signature(each.__init__).parameters.items():  # type: ignore[misc]
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in found:
                found[name] = name, parameter, _description(member, name)
    return list(found.values())


def _description(member: type, name: str) -> str:
    """Return what the docstring of the class, or of its nearest base, says of a parameter."""
    for each in member.__mro__:
        documented = dict(_PARAM.findall(inspect.cleandoc(vars(each).get("__doc__") or "")))
        if name in documented:
            return " ".join(documented[name].split())
    raise SystemExit(f"error: no docstring of {member.__qualname__} describes {name}")


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "required"
    if parameter.name == "deferrable":
        return "Airflow's `default_deferrable`"
    return f"`{parameter.default!r}`"


def _cell(text: str) -> str:
    text = _markdown(text).replace("|", "\\|")
    return f"{text[0].upper()}{text[1:]}"


def _prose(member: type) -> Iterator[str]:
    """Yield the paragraphs of a docstring before its parameters, without examples."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(member.__doc__ or "").partition("\n:param ")[0])
    for paragraph, following in zip(paragraphs, [*paragraphs[1:], ""], strict=True):
        introduces_example = paragraph.endswith(":") and following.startswith(".. ")
        if not introduces_example and not paragraph.startswith((".. ", " ")):
            yield f"{_markdown(' '.join(paragraph.split()))}\n"


def _markdown(text: str) -> str:
    """Return reStructuredText as Markdown."""
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    return re.sub(r"\bdocs/([\w-]+\.md)", r"[docs/\1](\1)", text)


if __name__ == "__main__":
    main()
