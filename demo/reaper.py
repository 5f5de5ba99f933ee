"""Ends all processes of a session, even if the demo itself is killed.

Airflow gives each task its own process group, but all processes of a component stay in the component's session. As a
program, the reaper reads lines from its standard input: ``+<session>`` adds a session and ``-<session>`` removes it.
When the input ends, for whatever reason, the reaper ends all sessions that are left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

GRACE = 6.0
KILL_TIMEOUT = 5.0


def members(sessions: Collection[int]) -> list[int]:
    """Return the live processes of these sessions."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) in sessions and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def end_sessions(sessions: Collection[int]) -> list[int]:
    """Terminate the sessions' leaders, then kill what is left. Return the processes that are still alive."""
    _signal((pid for pid in members(sessions) if pid in sessions), signal.SIGTERM)
    left = _wait_until_gone(sessions, GRACE)
    if left:
        _signal(left, signal.SIGKILL)
        left = _wait_until_gone(sessions, KILL_TIMEOUT, kill=True)
    return left


def _wait_until_gone(sessions: Collection[int], timeout: float, *, kill: bool = False) -> list[int]:
    deadline = time.monotonic() + timeout
    while (left := members(sessions)) and time.monotonic() < deadline:
        if kill:  # a process can start while the others are killed
            _signal(left, signal.SIGKILL)
        time.sleep(0.1)
    return left


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def guard(lines: Iterable[str]) -> None:
    """Keep the list of sessions. End them all when the input ends."""
    guarded: set[int] = set()
    for line in lines:
        session = int(line[1:])
        if line.startswith("+"):
            guarded.add(session)
        else:
            guarded.discard(session)
    end_sessions(guarded)


def main() -> None:
    """Ignore the demo's signals and wait for the end of the input."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    guard(sys.stdin)


if __name__ == "__main__":
    main()
