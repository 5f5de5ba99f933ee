"""Ends processes by session, also when the demo itself was killed and cannot.

Airflow puts each task into a process group of its own, so a group is not enough; but every process that a component
starts stays in the component's session. Run as a program, this waits on its standard input: ``+<session>`` and
``-<session>`` say what to guard, and the end of the input, which comes however the demo ends, ends all that is left.
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
GIVE_UP = 5.0


def members(sessions: Collection[int]) -> list[int]:
    """List the living processes of these sessions."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) in sessions and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def end_sessions(sessions: Collection[int]) -> list[int]:
    """Ask the sessions' leaders to end, then end whatever is left; return what withstood even that."""
    _signal((pid for pid in members(sessions) if pid in sessions), signal.SIGTERM)
    left = _wait_until_gone(sessions, GRACE)
    if left:
        _signal(left, signal.SIGKILL)
        left = _wait_until_gone(sessions, GIVE_UP, kill=True)
    return left


def _wait_until_gone(sessions: Collection[int], timeout: float, *, kill: bool = False) -> list[int]:
    deadline = time.monotonic() + timeout
    while (left := members(sessions)) and time.monotonic() < deadline:
        if kill:  # one that was being started when the others were ended
            _signal(left, signal.SIGKILL)
        time.sleep(0.1)
    return left


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def watch(lines: Iterable[str]) -> None:
    """Guard what ``lines`` name until they end."""
    guarded: set[int] = set()
    for line in lines:
        session = int(line[1:])
        if line.startswith("+"):
            guarded.add(session)
        else:
            guarded.discard(session)
    end_sessions(guarded)


def main() -> None:
    """Outlive the demo's own signals; only the end of the input counts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watch(sys.stdin)


if __name__ == "__main__":
    main()
