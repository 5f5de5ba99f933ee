"""The lock files are complete, universal, fit pyproject.toml, and name no place of anybody's."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
LINES = ("2.11", "3.0", "3.1", "3.2", "3.3")
FILES = [f"airflow-{line}.txt" for line in LINES] + ["lowest.txt"]


def text_of(name):
    return (REQUIREMENTS / name).read_text(encoding="utf-8")


def header_of(name):
    return dict(re.findall(r"^# (airflow|python): (.+)$", text_of(name), re.MULTILINE))


def on(python):
    """The environment of markers on that Python, on Linux."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "extra": "",
    }


def pins(name, python):
    """What pip would install from the file."""
    lines = (Requirement(line) for line in text_of(name).splitlines() if line and not line.startswith("#"))
    return {
        line.name: Version(next(iter(line.specifier)).version)
        for line in lines
        if line.marker is None or line.marker.evaluate(on(python))
    }


def declared(python):
    """The requirements of the package and all its extras, as far as they hold on that Python."""
    for line in distribution("airflow-provider-banksync").requires:
        requirement = Requirement(line)
        if requirement.name == "airflow-provider-banksync":
            continue
        environments = (
            {**on(python), "extra": extra} for extra in ("", "parquet", "sandbox", "shared-limit", "dev")
        )
        if requirement.marker is None or any(map(requirement.marker.evaluate, environments)):
            yield requirement


#: botocore, which these need, refuses the urllib3 of our lower bound.
NOT_AT_LOWEST = ("apache-airflow-providers-amazon", "flask-cors", "moto")
EVERYWHERE = [(name, python) for name in FILES for python in header_of(name)["python"].split()]


def test_there_is_a_file_for_every_line_and_no_other():
    assert {path.name for path in REQUIREMENTS.glob("*.txt")} == {*FILES, "tools.txt"}


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_a_place(name):
    assert not re.search(r"://|^\s*-|@ |file:|\.(com|org|io|net)\b", text_of(name), re.MULTILINE)


@pytest.mark.parametrize(("name", "python"), EVERYWHERE)
def test_it_holds_all_that_is_declared_in_versions_that_fit(name, python):
    held = pins(name, python)
    for requirement in declared(python):
        if name == "lowest.txt" and requirement.name in NOT_AT_LOWEST:
            continue
        assert requirement.specifier.contains(held[requirement.name], prereleases=True), requirement


@pytest.mark.parametrize(("name", "python"), EVERYWHERE)
def test_it_holds_the_airflow_that_it_says(name, python):
    assert str(pins(name, python)["apache-airflow"]) == header_of(name)["airflow"]


@pytest.mark.parametrize("name", FILES)
def test_it_installs_nothing_on_a_python_that_its_airflow_does_not_support(name):
    last = int(header_of(name)["python"].split()[-1].split(".")[1])
    assert pins(name, f"3.{last + 1}") == {}


@pytest.mark.parametrize("python", header_of("lowest.txt")["python"].split())
def test_the_lowest_holds_our_very_bounds(python):
    held = pins("lowest.txt", python)
    for requirement in declared(python):
        if "dev" in str(requirement.marker):
            continue
        (bound,) = (spec.version for spec in requirement.specifier if spec.operator == ">=")
        assert held[requirement.name] == Version(bound), requirement.name


def test_every_supported_python_has_a_line():
    supported = SpecifierSet(distribution("airflow-provider-banksync").metadata["Requires-Python"])
    pythons = {python for _, python in EVERYWHERE}
    assert pythons == {f"3.{minor}" for minor in range(8, 16) if supported.contains(f"3.{minor}")}
