"""No process outlives the demo, however it ends. The processes are real; only Airflow is played by a small script."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from demo import processes, reaper
from demo.console import Console
from demo.errors import DemoError
from demo.processes import Components, defer_signals, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
MARK = "BANKSYNC_DEMO_TEST"
# Like Airflow: a child in a process group of its own, and one more below it. "stubborn" ones ignore polite requests.
PLAYER = """
import os, signal, subprocess, sys, time
role = sys.argv[1]
if role == "ends":
    print("I had enough"); sys.exit(3)
if role == "port":
    print("[Errno 98] Address already in use"); sys.exit(1)
if role.startswith("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if role != "leaf":
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        subprocess.Popen([sys.executable, __file__, "leaf"])
        time.sleep(600)
if role == "orphans":
    time.sleep(0.5); os._exit(0)
print(role, "is up", flush=True)
time.sleep(600)
"""


def marked(mark: str) -> list[int]:
    """The living processes that carry the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def wait_for(condition: Callable[[], bool], timeout: float = 300.0) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)
    for pid in marked(str(tmp_path)):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def components(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> Components:
    monkeypatch.setattr(reaper, "GRACE", 1.0)
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage" / "airflow.py").write_text(PLAYER)
    (tmp_path / "logs").mkdir()
    env = {**os.environ, MARK: mark, "PYTHONPATH": str(tmp_path / "stage")}
    return Components(env, tmp_path / "logs", Console(io.StringIO()))


@pytest.mark.parametrize("role", ["polite", "stubborn", "orphans"])
def test_everything_ends_with_the_block(role: str, components: Components, mark: str) -> None:
    with components:
        components.start("scheduler", role)
        assert wait_for(lambda: len(marked(mark)) == (2 if role == "orphans" else 3))
        if role == "orphans":
            time.sleep(0.7)  # their parent has gone, and nothing but the session ties them to the demo
    assert marked(mark) == []


def test_everything_ends_with_an_exception(components: Components, mark: str) -> None:
    def interrupted() -> None:
        with components:
            components.start("scheduler", "polite")
            components.start("triggerer", "stubborn")
            assert wait_for(lambda: len(marked(mark)) == 6)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert marked(mark) == []


def test_everything_ends_when_the_demo_is_killed(components: Components, tmp_path: Path, mark: str) -> None:
    script = tmp_path / "victim.py"
    script.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from demo.console import Console\n"
        "from demo.processes import Components\n"
        f"env = {{**os.environ, {MARK!r}: {mark!r}, 'PYTHONPATH': {components.env['PYTHONPATH']!r}}}\n"
        f"with Components(env, Path({str(components.logs)!r}), Console()) as components:\n"
        "    components.start('scheduler', 'polite')\n"
        "    components.start('triggerer', 'stubborn')\n"
        "    time.sleep(600)\n"
    )
    victim = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert wait_for(lambda: len(marked(mark)) == 6)
    victim.kill()
    victim.wait()
    assert wait_for(lambda: marked(mark) == [])


def test_a_component_that_ends_by_itself_is_told_with_its_last_words(components: Components) -> None:
    with components:
        components.start("triggerer", "ends")
        with pytest.raises(DemoError, match="Airflow's triggerer ended by itself with status 3") as caught:
            assert wait_for(lambda: components.check() is not None)
    assert str(components.log_of("triggerer")) in caught.value.details[0]
    assert caught.value.details[-1].strip() == "I had enough"


def test_a_taken_port_is_told_as_such(components: Components) -> None:
    with components:
        components.start("api-server", "port")
        with pytest.raises(DemoError, match="Another program took the port of Airflow's api-server"):
            assert wait_for(lambda: components.check() is not None)


def test_a_command_that_fails_or_hangs_is_told(components: Components, mark: str) -> None:
    with components:
        with pytest.raises(DemoError, match="`airflow ends` ended with status 3"):
            components.run("database", "ends", timeout=300)
        with pytest.raises(DemoError, match="`airflow polite` did not end within 0 s"):
            components.run("database", "polite", timeout=0.2)
    assert marked(mark) == []


def test_verbose_shows_what_airflow_says(components: Components) -> None:
    stream = io.StringIO()
    components.console = Console(stream, verbose=True)
    with components:
        components.start("scheduler", "polite")
        assert wait_for(lambda: "is up" in stream.getvalue())
    assert "scheduler    | polite is up" in stream.getvalue()


def test_a_signal_waits_until_the_moment_has_passed() -> None:
    with defer_signals() as noted:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
    assert noted == [signal.SIGINT]


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(f"line {number}" for number in range(10_000)) + "\n\n")
    assert tail(log, 2) == ["line 9998", "line 9999"]
    assert tail(tmp_path / "none") == []
    assert log.stat().st_size > processes.TAIL_BYTES
