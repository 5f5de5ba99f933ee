"""``python -m demo``, as `make demo` runs it: a real Airflow, and nothing left of it afterwards."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TIMEOUT = 900

pytestmark = pytest.mark.slow


def belonging_to(folder: Path) -> list[int]:
    """The living processes whose Airflow home lies in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            home = process.environ().get("AIRFLOW_HOME", "")
            if home.startswith(str(folder)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def wait_until_this_many_belong_to(folder: Path, number: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while len(belonging_to(folder)) < number and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(belonging_to(folder)) >= number


def wait_until_none_belongs_to(folder: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while belonging_to(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert belonging_to(folder) == []


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "out put"
    for pid in belonging_to(tmp_path):
        os.kill(pid, signal.SIGKILL)


def start(output: Path, *arguments: str) -> subprocess.Popen[str]:
    home = output.parent / "home"
    home.mkdir()
    # what would steer an Airflow that is not the demo's own
    hostile = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__EXECUTOR": "Nonsense",
        "AIRFLOW_CONN_BANKSYNC_DEFAULT": "x://",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "demo", "--output", str(output), *arguments],
        cwd=ROOT,
        env={**os.environ, **hostile, "HOME": str(home), "VERBOSE": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_runs_and_says_what_happened(output: Path) -> None:
    with start(output, "--portals", "3") as demo:
        text, _ = demo.communicate(timeout=TIMEOUT)
    assert demo.returncode == 0, text

    for milestone in (
        "sandbox up",
        "components up",
        "DAG parsed",
        "run started",
        "feeds listed",
        "syncs ended",
    ):
        assert re.search(rf"^\[ *[\d.]+ s\] {milestone}", text, re.MULTILINE), text
    assert "exports ended  4 done, 0 failed" in text
    assert "This is on purpose:" in text
    feeds, synced, failed = map(
        int, re.search(r"(\d+) feeds: (\d+) synced, (\d+) failed on purpose", text).groups()
    )
    assert feeds == synced + failed
    assert failed >= 1
    # the point of deferring: more wait than there are worker slots
    assert int(re.search(r"Up to (\d+) syncs waited at the same time", text).group(1)) > 4
    assert re.search(r"Everything is correct: (\d+) of \1 rows equal the sandbox's rows", text), text
    assert "Traceback" not in text
    assert "\033" not in text

    [run] = output.iterdir()
    for resource in ("banks", "feeds", "integrations", "accounts"):
        assert len(list((run / "export" / f"resource={resource}").glob("workspace_id=*/part-*.jsonl"))) == 4
    assert list((output.parent / "home").rglob("*")) == []
    assert belonging_to(output) == []


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name
)
def test_nothing_of_it_outlives_it(output: Path, number: signal.Signals) -> None:
    with start(output, "--portals", "3") as demo:
        assert demo.stdout is not None
        before = list(itertools.takewhile(lambda line: "components" not in line, demo.stdout))
        assert demo.poll() is None, "".join(before)
        wait_until_this_many_belong_to(
            output, 4, timeout=300
        )  # busy starting, and starting processes of their own
        demo.send_signal(number)
        text, _ = demo.communicate(timeout=300)
    if number == signal.SIGKILL:
        assert demo.returncode == -signal.SIGKILL
    else:
        assert demo.returncode == 130
        assert "Interrupted. All processes of the demo have ended." in text
        assert belonging_to(output) == []
    wait_until_none_belongs_to(output, timeout=20)
