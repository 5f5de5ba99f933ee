"""The commands that a contributor and CI use: they choose a Python that works, and they report what happened."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import matrix

ROOT = Path(__file__).resolve().parents[2]
CI = ROOT / ".ci" / "run"
MAKE = shutil.which("make")
CURRENT = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHER = "3.11" if CURRENT != "3.11" else "3.12"


@pytest.fixture
def path(tmp_path):
    """A PATH with the programs that a shell script needs, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (
        "sh",
        "bash",
        "env",
        "sed",
        "grep",
        "tail",
        "tee",
        "touch",
        "mktemp",
        "rm",
        "dirname",
        "timeout",
    ):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def checkout(tmp_path):
    """A checkout with what `make setup` reads, and no environment."""
    folder = tmp_path / "checkout"
    (folder / "airflow_provider_banksync").mkdir(parents=True)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    for name in ("Makefile", "pyproject.toml", "airflow_provider_banksync/__init__.py"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


def program(folder, name, text):
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


def python_in(folder, name):
    """The interpreter of these tests under another name."""
    folder.mkdir(exist_ok=True, parents=True)
    program(folder, name, f'exec "{sys.executable}" "$@"')
    return folder / name


def shell(*command, path, cwd=ROOT, **env):
    return subprocess.run(
        [str(part) for part in command],
        env={"PATH": str(path), "HOME": "/nonexistent", "PYENV_ROOT": "/nonexistent", **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


# -- which Python --------------------------------------------------------------------------------------------------


@pytest.fixture
def tools(checkout):
    """Return a checkout that has uv, and no environment."""
    (checkout / ".venv-tools").symlink_to(ROOT / ".venv-tools")
    return checkout


@pytest.fixture
def find(tools):
    """Return a function that finds a Python with uv, with the settings that the Makefile gives to its commands.

    It works in a checkout without `.venv`, because uv would find the Python of that environment first.
    """

    def run(path, version, **env):
        target = f"find: ; @.venv-tools/bin/uv python find --no-cache '{version}'"
        return shell(MAKE, "--eval", target, "find", path=path, cwd=tools, **env)

    return run


def test_a_python_that_is_only_a_failing_shim_is_passed_over(path, tmp_path, find):
    program(path, f"python{CURRENT}", "echo 'command not found' >&2; exit 127")
    python_in(tmp_path / "later", f"python{CURRENT}")
    found = find(f"{path}:{tmp_path / 'later'}", CURRENT)
    assert (found.returncode, found.stdout.strip()) == (0, sys.executable)


def test_a_python_under_the_version_manager_is_found(path, tmp_path, find):
    python_in(tmp_path / "pyenv" / "versions" / f"{CURRENT}.99" / "bin", f"python{CURRENT}")
    found = find(path, CURRENT, PYENV_ROOT=str(tmp_path / "pyenv"))
    assert (found.returncode, found.stdout.strip()) == (0, sys.executable)


def test_a_name_that_lies_about_its_version_is_not_believed(path, find):
    python_in(path, f"python{OTHER}")
    found = find(path, OTHER)
    assert found.returncode != 0
    assert found.stdout == ""
    assert f"No interpreter found for Python {OTHER}" in found.stderr


def test_plain_python3_will_do(path, find):
    python_in(path, "python3")
    found = find(path, ">=3.10,<=3.13.99")
    assert (found.returncode, found.stdout.strip()) == (0, sys.executable)


def test_without_any_python_one_sentence_says_what_to_do(path, checkout):
    done = shell(MAKE, "setup", path=path, cwd=checkout)
    assert done.returncode != 0
    assert done.stderr.startswith("error: No Python with venv was found.")
    assert "make setup PYTHON=" in done.stderr


def test_a_python_without_venv_is_named_with_the_package_to_install(path, checkout):
    program(path, "python3", "echo 'ensurepip is not available: apt install python3.12-venv'; exit 1")
    done = shell(MAKE, "setup", path=path, cwd=checkout)
    assert done.returncode != 0
    assert "apt install python3.12-venv" in done.stderr
    assert "sudo apt install python3 python3-venv" in done.stderr


def test_a_python_that_the_airflow_does_not_support_is_refused_with_the_reason(path, tools):
    lock = tools / "requirements" / "airflow-3.3.txt"
    lock.write_text("# airflow: 3.3.2\n# python: 3.8\n", encoding="utf-8")
    done = shell(MAKE, "setup", f"PYTHON={sys.executable}", path=path, cwd=tools)
    assert done.returncode != 0
    assert f"Airflow 3.3 runs on Python 3.8, and PYTHON={sys.executable} is Python {CURRENT}." in done.stderr
    assert not (tools / ".venv").exists()


def test_a_python_that_does_not_run_is_refused(path, tools):
    program(path, "mine", "exit 127")
    done = shell(MAKE, "setup", "PYTHON=mine", path=path, cwd=tools)
    assert done.returncode != 0
    assert f"`{path}/mine` failed with exit status exit status: 127" in done.stderr
    assert not (tools / ".venv").exists()


def test_an_airflow_without_a_lock_is_refused(path, tools):
    done = shell(MAKE, "setup", "AIRFLOW=1.10", path=path, cwd=tools)
    assert done.returncode != 0
    assert "There is no file in requirements/ for Airflow 1.10." in done.stderr


# -- the matrix ----------------------------------------------------------------------------------------------------


def test_the_matrix_names_a_python_that_is_missing_and_runs_the_line_on_another(monkeypatch):
    monkeypatch.setattr(matrix, "has_python", {"3.11"}.__contains__)
    assert list(matrix.plan([("3.0", "3.12"), ("3.3", "3.13"), ("3.3", "3.10")])) == [
        matrix.Result("3.0", "3.12", "NOT RUN", "no Python 3.12 found"),
        ("3.0", "3.11"),
        matrix.Result("3.3", "3.13", "NOT RUN", "no Python 3.13 found"),
        ("3.3", "3.11"),
        matrix.Result("3.3", "3.10", "NOT RUN", "no Python 3.10 found"),
    ]


def test_a_line_that_runs_on_no_python_here_fails(monkeypatch):
    monkeypatch.setattr(matrix, "has_python", set().__contains__)
    rows = list(matrix.plan([("3.0", "3.12")]))
    assert [row.outcome for row in rows] == ["NOT RUN", "failed"]


def test_every_pair_of_the_matrix_is_supported_and_every_line_is_in_it():
    assert all(python in matrix.pythons_of(line) for line, python in matrix.PAIRS)
    lines = {path.stem.removeprefix("airflow-") for path in (ROOT / "requirements").glob("*.txt")}
    assert {line for line, _ in matrix.PAIRS} == lines - {"tools"}


@pytest.mark.parametrize("pair", matrix.PAIRS)
def test_the_matrix_leaves_out_only_what_exists(pair):
    assert [name for name in matrix.left_out(*pair) if not (ROOT / name).exists()] == []


def test_every_airflow_but_that_of_make_test_runs_dags_and_both_ends_run_all_that_needs_none():
    runs_dags = {
        line for line, python in matrix.PAIRS if matrix.REAL_RUNS[0] not in matrix.left_out(line, python)
    }
    assert runs_dags == {"lowest", "3.0", "3.1", "3.2"}
    assert set(matrix.ENDS) <= set(matrix.PAIRS)
    assert all(set(matrix.WITHOUT_AIRFLOW).isdisjoint(matrix.left_out(*pair)) for pair in matrix.ENDS)
    assert set(matrix.WITH_LIBRARIES).isdisjoint(matrix.left_out("lowest", "3.10"))


# -- CI ------------------------------------------------------------------------------------------------------------

PASSED = "============================== 12 passed in 3.45s =============================="
NOTHING = "============================ no tests ran in 0.01s ============================="


@pytest.mark.parametrize(
    ("make", "status", "verdict", "last"),
    [
        (f"[ $2 = test ] && echo '{PASSED}'; exit 0", 0, "CI: passed", PASSED),
        (f"[ $2 = test ] && echo '{PASSED}'; [ $2 != lint ]", 1, "CI: FAILED", PASSED),
        (f"[ $2 = test ] && echo '{PASSED}'; [ $2 != matrix ]", 1, "CI: FAILED", PASSED),
        (f"[ $2 = test ] || exit 0; echo '{NOTHING}'; exit 5", 1, "CI: FAILED", NOTHING),
    ],
    ids=["all-pass", "first-fails", "last-fails", "no-tests"],
)
def test_ci_runs_all_sections_and_tells_the_truth(path, make, status, verdict, last):
    program(path, "make", make)
    done = shell("bash", CI, path=path, TMPDIR=os.environ.get("TMPDIR", "/tmp"))
    lines = done.stdout.splitlines()
    assert done.returncode == status, done.stderr
    assert lines[-1] == last
    assert lines[-2].startswith(verdict)
    summary = lines[lines.index("======== summary ========") :]
    ran = [line.split()[0] for line in summary if line.startswith("  ")]
    assert ran == ["setup", "lint", "types", "test", "kills", "build", "matrix"]


def test_ci_repeats_in_its_summary_what_the_matrix_could_not_run(path):
    row = "  3.3      Python 3.13   NOT RUN  no Python 3.13 found"
    program(
        path, "make", f"[ $2 != matrix ] || printf 'much\\n\\nMatrix (Airflow line, Python):\\n%s\\n' '{row}'"
    )
    done = shell("bash", CI, path=path, TMPDIR=os.environ.get("TMPDIR", "/tmp"))
    assert row in done.stdout.split("======== summary ========")[1]
    assert done.returncode == 0


def test_ci_stops_a_section_that_hangs_and_goes_on(path):
    if not shutil.which("timeout"):
        pytest.skip("without the timeout command, nothing stops a section")
    (path / "sleep").symlink_to(shutil.which("sleep"))
    program(path, "make", "[ $2 != types ] || exec sleep 60")
    done = shell("bash", CI, path=path, TMPDIR=os.environ.get("TMPDIR", "/tmp"), CI_SECTION_SECONDS="1")
    summary = done.stdout.split("======== summary ========")[1]
    assert "FAILED (stopped after 1 s)" in summary
    assert "CI: FAILED" in summary
    assert summary.count("passed") == 6
    assert done.returncode == 1


def test_ci_repeats_the_coverage_in_its_summary(path):
    line = "Required test coverage of 90.0% reached. Total coverage: 95.25%"
    program(path, "make", f"[ $2 != test ] || printf '%s\\n' '{line}'")
    done = shell("bash", CI, path=path, TMPDIR=os.environ.get("TMPDIR", "/tmp"))
    summary = done.stdout.split("======== summary ========")[1]
    assert "Coverage: 95.25% (lines and branches), at least 90.0% required" in summary
