"""What the package says about itself, to pip, to Airflow and to people, agrees with what it is."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distribution, entry_points, version
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator
from airflow.triggers.base import BaseTrigger

import airflow_provider_banksync as package
from airflow_provider_banksync import provider_info

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "airflow_provider_banksync"
DISTRIBUTION = "airflow-provider-banksync"

#: Folder of the package, and key of the provider info -> what a module must define to be listed there.
ROOMS = {
    "hooks": BaseHook,
    "operators": BaseOperator,
    "sensors": BaseSensorOperator,
    "triggers": BaseTrigger,
    "transfers": BaseOperator,
}
LISTS = ("hooks", "operators", "sensors", "triggers")
SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.fixture(scope="module")
def info():
    return provider_info.get_provider_info()


@pytest.fixture(scope="module")
def changelog():
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def schema(name):
    return json.loads((Path(airflow.__file__).parent / name).read_text(encoding="utf-8"))


def modules(folder):
    """The modules of one room that define what the room is for; the others only help them."""
    found = set()
    for module in pkgutil.walk_packages([str(PACKAGE / folder)], f"{package.__name__}.{folder}."):
        for _, member in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(member, ROOMS[folder]) and member.__module__ == module.name:
                found.add(module.name)
    return found


# -- one version ---------------------------------------------------------------------------------------------------


def test_the_installed_version_is_the_one_in_the_package():
    assert version(DISTRIBUTION) == package.__version__


def test_the_version_is_written_down_once():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^dynamic = \["version"\]$', project, re.MULTILINE)
    assert not re.search(r"^version\s*=", project, re.MULTILINE)
    literal = re.compile(rf'= "{re.escape(package.__version__)}"')
    holders = [file for file in PACKAGE.rglob("*.py") if literal.search(file.read_text(encoding="utf-8"))]
    assert holders == [PACKAGE / "__init__.py"]


def test_the_changelog_begins_with_this_version(changelog):
    newest = re.search(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)
    assert newest
    assert newest[1] == package.__version__


# -- changelog -----------------------------------------------------------------------------------------------------


def test_the_changelog_keeps_its_form(changelog):
    headings = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    if headings[0] == "[Unreleased]":
        headings = headings[1:]
    parsed = [
        re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d|Unreleased)", line) for line in headings
    ]
    assert all(parsed), f"not of the form '## [1.2.3] - 2026-01-31': {headings}"
    numbers = [tuple(map(int, match.groups()[:3])) for match in parsed]
    assert numbers == sorted(set(numbers), reverse=True), "newest first, each once"
    dates = [match[4] for match in parsed]
    assert "Unreleased" not in dates[1:], "only the newest can be unreleased"
    released = [date for date in dates if date != "Unreleased"]
    assert released == sorted(released, reverse=True)


def test_the_changelog_uses_the_known_sections_and_leaves_none_empty(changelog):
    sections = re.split(r"^### (.*)$", changelog, flags=re.MULTILINE)[1:]
    names, bodies = sections[::2], sections[1::2]
    assert set(names) <= SECTIONS
    assert all(re.search(r"^- \S", body, re.MULTILINE) for body in bodies)


def test_every_released_version_of_the_changelog_is_a_link(changelog):
    for name in re.findall(r"^## \[([^\]]+)\] - \d", changelog, re.MULTILINE):
        assert re.search(rf"^\[{re.escape(name)}\]: https://\S+$", changelog, re.MULTILINE), name


# -- entry points --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "target"),
    [
        ("apache_airflow_provider", "airflow_provider_banksync.provider_info:get_provider_info"),
        ("pytest11", "airflow_provider_banksync.sandbox.pytest_plugin"),
    ],
)
def test_the_entry_point_is_there_and_loads(group, target):
    ours = [point for point in entry_points(group=group) if point.dist.name == DISTRIBUTION]
    assert [point.value for point in ours] == [target]
    ours[0].load()


def test_the_metadata_names_licence_pythons_and_extras():
    metadata = distribution(DISTRIBUTION).metadata
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    assert set(metadata.get_all("Provides-Extra")) == {
        "delta",
        "dev",
        "parquet",
        "sandbox",
        "shared-limit",
        "sql",
    }
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier")


def test_the_licence_is_the_whole_apache_licence():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability." in text


# -- provider info -------------------------------------------------------------------------------------------------


def test_airflow_accepts_the_provider_info(info):
    jsonschema.validate(info, schema("provider_info.schema.json"))


def test_every_part_of_it_is_what_a_provider_of_airflow_would_write(info):
    # provider.yaml is the fuller form, from which Airflow's own providers make their info. It demands more keys, so
    # each part is checked on its own.
    parts = schema("provider.yaml.schema.json")["properties"]
    for name, part in info.items():
        if name in parts:
            jsonschema.validate(part, parts[name])


def test_airflow_accepts_what_the_hook_says_about_the_form():
    hook = load(provider_info.get_provider_info()["connection-types"][0]["hook-class-name"])
    jsonschema.validate(hook.get_ui_field_behaviour(), schema("customized_form_field_behaviours.schema.json"))


def test_the_provider_info_survives_json(info):
    assert json.loads(json.dumps(info)) == info


def test_it_names_this_package_and_version(info):
    assert (info["package-name"], info["versions"]) == (DISTRIBUTION, [package.__version__])


def load(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def named_modules(info):
    for key in LISTS:
        for entry in info.get(key, ()):
            yield from entry["python-modules"]
    for entry in info.get("transfers", ()):
        yield entry["python-module"]


def test_every_module_and_class_that_it_names_exists(info):
    for name in named_modules(info):
        importlib.import_module(name)
    for entry in info["connection-types"]:
        hook = load(entry["hook-class-name"])
        assert (hook.conn_type, hook.hook_name) == (entry["connection-type"], entry["hook-name"])
    for name in info.get("extra-links", ()):
        load(name)


@pytest.mark.parametrize("folder", LISTS)
def test_it_lists_every_module_of(folder, info):
    listed = {name for entry in info[folder] for name in entry["python-modules"]}
    assert listed == modules(folder)


def test_it_lists_every_transfer(info):
    assert {entry["python-module"] for entry in info["transfers"]} == modules("transfers")


def test_it_speaks_of_declared_integrations_only(info):
    declared = {entry["integration-name"] for entry in info["integrations"]}
    used = {entry["integration-name"] for key in LISTS for entry in info[key]}
    used |= {entry[f"{end}-integration-name"] for entry in info["transfers"] for end in ("source", "target")}
    assert used <= declared


# -- what is shipped -----------------------------------------------------------------------------------------------


def test_every_module_imports():
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_the_wheel_holds_the_package_and_its_type_marker(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "airflow_provider_banksync/py.typed" in names
    sources = {str(file.relative_to(ROOT)) for file in PACKAGE.rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    assert {name.split("/")[0] for name in names} == {
        "airflow_provider_banksync",
        f"airflow_provider_banksync-{package.__version__}.dist-info",
    }


@pytest.mark.parametrize(
    "folder", ["airflow_provider_banksync", "demo", "example_dags", "scripts", "benchmarks"]
)
def test_no_module_is_longer_than_400_lines(folder):
    lengths = {
        str(file.relative_to(ROOT)): file.read_text(encoding="utf-8").count("\n")
        for file in (ROOT / folder).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_every_folder_of_the_package_is_a_package():
    # pkgutil passes over a folder without __init__.py, and then so would the tests above.
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_hints_name_what_the_extras_install() -> None:
    from airflow_provider_banksync.api.rate_limit import buckets
    from airflow_provider_banksync.export.formats import factory
    from airflow_provider_banksync.sandbox.control import sandbox

    requires = distribution(DISTRIBUTION).requires or []
    hints = {"parquet": factory, "sandbox": sandbox, "shared-limit": buckets}
    for extra, module in hints.items():
        of_extra = re.compile(rf"extra == .{extra}.")
        names = {re.split(r"[<>=;\[ ]", line)[0] for line in requires if of_extra.search(line)}
        assert set(module.INSTALL_HINT.rpartition("pip install ")[2].split()) == names, extra  # type: ignore[attr-defined]


def test_nobody_is_told_to_install_what_no_index_has() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "example_dags").glob("*.py")]
    pages += [*(ROOT / "airflow_provider_banksync").rglob("*.py"), *(ROOT / "demo").glob("*.py")]
    install = re.compile(r"(?i)install\W+airflow-provider-banksync")
    assert [page.name for page in pages if install.search(page.read_text())] == []
