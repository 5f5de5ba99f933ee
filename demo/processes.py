"""Starts Airflow's components as processes, and sees to it that none of them outlives the demo."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from demo import reaper
from demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from demo.console import Console

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TAIL_LINES = 15
TAIL_BYTES = 64 * 1024


def tail(path: Path, lines: int = TAIL_LINES) -> list[str]:
    """Read the last lines of a log file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


@contextlib.contextmanager
def undisturbed() -> Iterator[list[int]]:
    """Note the signals that ask the demo to end, instead of being torn out of what must not be left half done."""
    noted: list[int] = []
    before = {
        number: signal.signal(number, lambda which, _: noted.append(which)) for number in ENDING_SIGNALS
    }
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Components:
    """Airflow's processes: each in a session of its own, with a log file; all of them end with the ``with`` block."""

    def __init__(self, env: Mapping[str, str], logs: Path, console: Console) -> None:
        self.env = dict(env)
        self.logs = logs
        self.console = console
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._followers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Start the guard before there is anything to guard."""
        self._guard = subprocess.Popen(  # noqa: S603 (our own program, no shell)
            [sys.executable, reaper.__file__], stdin=subprocess.PIPE, start_new_session=True, cwd=self.logs
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything, whatever the reason."""
        self.stop()

    def log_of(self, name: str) -> Path:
        """Where the output of a component goes."""
        return self.logs / f"{name}.log"

    def start(self, name: str, *arguments: str) -> None:
        """Start ``airflow <arguments>`` and return at once."""
        with undisturbed() as noted, self.log_of(name).open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 (Airflow, no shell)
                [sys.executable, "-m", "airflow", *arguments],
                env=self.env,
                cwd=self.logs,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running[name] = process
            self._tell_guard(f"+{process.pid}")
        if noted:
            raise KeyboardInterrupt
        if self.console.verbose:
            follower = threading.Thread(target=self._follow, args=(name,), daemon=True)
            follower.start()
            self._followers.append(follower)

    def run(self, name: str, *arguments: str, timeout: float) -> None:
        """Run ``airflow <arguments>`` to its end."""
        self.start(name, *arguments)
        process = self._running[name]
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise DemoError(
                f"`airflow {' '.join(arguments)}` did not end within {timeout:.0f} s.", self.last_words(name)
            ) from None
        self._forget(name)
        if code:
            raise DemoError(
                f"`airflow {' '.join(arguments)}` ended with status {code}.", self.last_words(name)
            )

    def check(self) -> None:
        """Complain about a component that has ended by itself."""
        for name, process in self._running.items():
            if (code := process.poll()) is not None:
                words = self.last_words(name)
                if any("address already in use" in line.lower() for line in words):
                    raise DemoError(
                        f"Another program took the port of Airflow's {name}: start the demo again.", words
                    )
                raise DemoError(f"Airflow's {name} ended by itself with status {code}.", words)

    def last_words(self, name: str) -> list[str]:
        """Say where a component's log is, and what it says last."""
        path = self.log_of(name)
        return [f"last lines of {path}:", *(f"  {line}" for line in tail(path))]

    def stop(self) -> None:
        """End every component and everything that it started."""
        with undisturbed():
            left = self._end_all()
        if left:
            raise DemoError(f"These processes of Airflow could not be ended: {', '.join(map(str, left))}.")

    def _end_all(self) -> list[int]:
        sessions = [process.pid for process in self._running.values()]
        reaping = threading.Thread(target=self._reap, daemon=True)
        reaping.start()
        left = reaper.end_sessions(sessions)
        self._stopping.set()
        for thread in (reaping, *self._followers):
            thread.join(timeout=5)
        if not left:
            for name in list(self._running):
                self._forget(name)
        if self._guard.stdin is not None:
            with contextlib.suppress(OSError):
                self._guard.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(timeout=reaper.GRACE + reaper.GIVE_UP + 2)
        return left

    def _reap(self) -> None:
        for process in list(self._running.values()):
            process.wait()

    def _forget(self, name: str) -> None:
        self._tell_guard(f"-{self._running.pop(name).pid}")

    def _tell_guard(self, line: str) -> None:
        # a guard that somebody killed is no reason to give up: the components are still ended here
        if self._guard.stdin is not None:
            with contextlib.suppress(OSError):
                self._guard.stdin.write(f"{line}\n".encode())
                self._guard.stdin.flush()

    def _follow(self, name: str) -> None:
        """Copy a log to the terminal while it grows."""
        label = self.console.paint(f"{name:<13}|", "cyan")
        with self.log_of(name).open(errors="replace") as log:
            while True:
                ending = self._stopping.is_set()
                while line := log.readline():
                    self.console.line(f"{label} {line.rstrip()}")
                if ending:
                    return
                time.sleep(0.2)
