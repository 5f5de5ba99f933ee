"""Starts Airflow's components as processes, and ends them all with the demo."""

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
    """Return the last lines of a log file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


@contextlib.contextmanager
def defer_signals() -> Iterator[list[int]]:
    """Collect the signals that end the demo while a block runs that must not be interrupted."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda which, _: received.append(which)) for number in ENDING_SIGNALS
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Components:
    """Airflow's processes, each with its own session and log file. They all end with the ``with`` block."""

    def __init__(self, env: Mapping[str, str], logs: Path, console: Console) -> None:
        self.env = dict(env)
        self.logs = logs
        self.console = console
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._followers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Start the reaper before the first component."""
        self._reaper = subprocess.Popen(  # noqa: S603 (this project's own program, no shell)
            [sys.executable, reaper.__file__], stdin=subprocess.PIPE, start_new_session=True, cwd=self.logs
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all components."""
        self.stop()

    def log_of(self, name: str) -> Path:
        """Return the log file of a component."""
        return self.logs / f"{name}.log"

    def start(self, name: str, *arguments: str) -> None:
        """Start ``airflow <arguments>`` without waiting for it."""
        with defer_signals() as received, self.log_of(name).open("wb") as log:
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
            self._notify_reaper(f"+{process.pid}")
        if received:
            raise KeyboardInterrupt
        if self.console.verbose:
            follower = threading.Thread(target=self._follow, args=(name,), daemon=True)
            follower.start()
            self._followers.append(follower)

    def run(self, name: str, *arguments: str, timeout: float) -> None:
        """Run ``airflow <arguments>`` and wait until it ends."""
        self.start(name, *arguments)
        process = self._running[name]
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise DemoError(
                f"`airflow {' '.join(arguments)}` did not end within {timeout:.0f} s.", self.log_tail(name)
            ) from None
        self._forget(name)
        if code:
            raise DemoError(f"`airflow {' '.join(arguments)}` ended with status {code}.", self.log_tail(name))

    def check(self) -> None:
        """Raise an error if a component has ended by itself."""
        for name, process in self._running.items():
            if (code := process.poll()) is not None:
                log_tail = self.log_tail(name)
                if any("address already in use" in line.lower() for line in log_tail):
                    raise DemoError(
                        f"Another program took the port of Airflow's {name}. Start the demo again.", log_tail
                    )
                raise DemoError(f"Airflow's {name} ended by itself with status {code}.", log_tail)

    def log_tail(self, name: str) -> list[str]:
        """Return the path of a component's log, and its last lines."""
        path = self.log_of(name)
        return [f"last lines of {path}:", *(f"  {line}" for line in tail(path))]

    def stop(self) -> None:
        """End every component and all processes that it started."""
        with defer_signals():
            left = self._end_all()
        if left:
            raise DemoError(
                f"The demo could not end these processes of Airflow: {', '.join(map(str, left))}."
            )

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
        if self._reaper.stdin is not None:
            with contextlib.suppress(OSError):
                self._reaper.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._reaper.wait(timeout=reaper.GRACE + reaper.KILL_TIMEOUT + 2)
        return left

    def _reap(self) -> None:
        for process in list(self._running.values()):
            process.wait()

    def _forget(self, name: str) -> None:
        self._notify_reaper(f"-{self._running.pop(name).pid}")

    def _notify_reaper(self, line: str) -> None:
        # the reaper may have been killed; this process still ends the components
        if self._reaper.stdin is not None:
            with contextlib.suppress(OSError):
                self._reaper.stdin.write(f"{line}\n".encode())
                self._reaper.stdin.flush()

    def _follow(self, name: str) -> None:
        """Copy a log to the terminal as it grows."""
        label = self.console.paint(f"{name:<13}|", "cyan")
        with self.log_of(name).open(errors="replace") as log:
            while True:
                ending = self._stopping.is_set()
                while line := log.readline():
                    self.console.line(f"{label} {line.rstrip()}")
                if ending:
                    return
                time.sleep(0.2)
