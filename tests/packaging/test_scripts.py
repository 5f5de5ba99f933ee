"""The doors that a newcomer and CI come through: they choose a Python that works, and they tell the truth."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIND_PYTHON = ROOT / "scripts" / "find-python"
CI = ROOT / ".ci" / "run"


@pytest.fixture
def path(tmp_path):
    """A PATH with the programs that a shell script needs, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "bash", "env", "sed", "grep", "tail", "tee", "mktemp", "rm", "dirname", "timeout"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


def program(folder, name, text):
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


def python_in(folder, name):
    """The interpreter of these tests under another name."""
    folder.mkdir(exist_ok=True)
    program(folder, name, f'exec "{sys.executable}" "$@"')
    return folder / name


def shell(*command, path, **env):
    return subprocess.run(
        [str(part) for part in command],
        env={"PATH": str(path), "HOME": "/nonexistent", "PYENV_ROOT": "/nonexistent", **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


CURRENT = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHER = "3.11" if CURRENT != "3.11" else "3.12"


def test_a_python_that_is_only_a_failing_shim_is_passed_over(path, tmp_path):
    program(path, f"python{CURRENT}", "echo 'command not found' >&2; exit 127")
    python_in(tmp_path / "later", f"python{CURRENT}")
    found = shell(FIND_PYTHON, CURRENT, path=f"{path}:{tmp_path / 'later'}")
    assert (found.returncode, found.stdout.strip()) == (0, sys.executable)


def test_a_python_under_the_version_manager_is_found(path, tmp_path):
    folder = tmp_path / "pyenv" / "versions" / f"{CURRENT}.99" / "bin"
    folder.mkdir(parents=True)
    python_in(folder, f"python{CURRENT}")
    found = shell(FIND_PYTHON, CURRENT, path=path, PYENV_ROOT=str(tmp_path / "pyenv"))
    assert (found.returncode, found.stdout.strip()) == (0, sys.executable)


def test_a_name_that_lies_about_its_version_is_not_believed(path):
    python_in(path, f"python{OTHER}")
    found = shell(FIND_PYTHON, OTHER, path=path)
    assert (found.returncode, found.stdout) == (1, "")
    assert f"no Python {OTHER} found" in found.stderr


def test_plain_python3_will_do(path):
    python_in(path, "python3")
    found = shell(FIND_PYTHON, path=path)
    assert (found.returncode, found.stdout.strip()) == (0, sys.executable)


def test_without_any_python_one_sentence_says_what_to_do(path):
    found = shell(FIND_PYTHON, path=path)
    assert found.returncode == 1
    assert found.stderr.startswith("No Python 3.10, 3.11, 3.12 or 3.13 found.")
    assert "make setup PYTHON=" in found.stderr


def test_a_python_without_venv_is_named_with_the_package_to_install(path):
    program(path, "python3", "echo 'novenv 3.12'")
    found = shell(FIND_PYTHON, path=path)
    assert found.returncode == 1
    assert "sudo apt install python3.12-venv" in found.stderr


@pytest.mark.parametrize(
    ("answer", "why"), [("echo 'version 3.9'", "is Python 3.9"), ("exit 127", "it does not run")]
)
def test_a_python_that_was_asked_for_and_will_not_do_is_refused_with_the_reason(path, answer, why):
    program(path, "mine", answer)
    found = shell(FIND_PYTHON, "--check", "mine", path=path)
    assert found.returncode == 1
    assert "PYTHON=mine will not do" in found.stderr
    assert why in found.stderr


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
