"""The workflows of GitHub and the commit hooks run what CI runs."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def read(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_each_section_of_ci_is_a_job():
    sections = re.search(
        r"^sections=\((.*)\)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE
    )
    job = read(".github/workflows/ci.yml")["jobs"]["section"]
    assert ["setup", *job["strategy"]["matrix"]["section"]] == sections[1].split()


def test_ci_has_every_python_that_is_supported():
    setup = read(".github/workflows/ci.yml")["jobs"]["section"]["steps"][1]["with"]["python-version"]
    supported = re.findall(r"Python :: (3\.\d\d)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(setup.split()) == set(supported)


def test_a_release_is_published_without_a_token_and_only_what_was_built():
    jobs = read(".github/workflows/release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["needs"] == "build"
    assert {"run": "make build"} in jobs["build"]["steps"]
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")


def test_the_commit_hooks_use_the_tools_of_the_environment():
    (repo,) = read(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    assert all(hook["entry"].startswith(".venv/bin/") for hook in repo["hooks"])


def test_the_issue_forms_are_forms():
    for name in ("bug", "feature"):
        form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
        assert {"name", "description", "body"} <= set(form)
