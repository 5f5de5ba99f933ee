"""Tries of the export operator in processes of their own, to be killed or stopped at chosen moments."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from tests.support.export_task import Task

#: A try that takes longer (seconds) hangs.
LONGEST = 60.0
#: The writer says this often (seconds) that it is there: so often that it is killed amid that, too.
BEAT = 0.02


@dataclass(frozen=True)
class Moment:
    """The moment just before the `nth` operation on the destination that looks like this.

    An operation is ``open``, ``rename``, ``remove``, ``rmdir`` or ``mkdir``, and the path that it makes or takes away.
    """

    operation: str = ""
    nth: int = 1
    signal: signal.Signals = signal.SIGKILL


class Operations:
    """Counts what the process does to the destination, and ends or stops it when its moment has come."""

    def __init__(self, destination: str, moment: Moment | None) -> None:
        self.number = 0
        self._destination = destination
        self._moment = moment
        self._hits = 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Hear of everything that this process does, just before it is done."""
        told = self._told(event, args)
        if told is None:
            return
        self.number += 1
        if self._moment is not None and re.search(self._moment.operation, told):
            self._hits += 1
            if self._hits == self._moment.nth:
                os.kill(os.getpid(), self._moment.signal)

    def _told(self, event: str, args: tuple[Any, ...]) -> str | None:
        if event == "open":
            path, _, flags = args
            if not flags & (os.O_WRONLY | os.O_RDWR):
                return None
        elif event == "os.rename":
            path = args[1]
        elif event in ("os.remove", "os.rmdir", "os.mkdir"):
            path = args[0]
            if args[-1] != -1:  # by the handle of its folder, as whole trees are removed
                return f"{event[3:]} {os.fsdecode(path)}"
        else:
            return None
        if isinstance(path, int):
            return None
        told = os.fsdecode(path)
        if not told.startswith(self._destination):
            return None
        return f"{event.rpartition('.')[2]} {told[len(self._destination) :]}"


def attempt(task: Task, arguments: dict[str, Any], uri: str, moment: Moment | None, tell: Connection) -> None:
    """Run the operator once: the whole of a try's process."""
    from airflow_provider_banksync.export.storage import lock

    assert isinstance(task.destination, Path)
    lock.HEARTBEAT_INTERVAL = BEAT
    os.environ["AIRFLOW_CONN_BANKSYNC_DEFAULT"] = uri
    operations = Operations(str(task.destination), moment)
    sys.addaudithook(operations)
    tell.send("began")
    try:
        task.run(**arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
        tell.send(f"{type(error).__name__}: {error}")
    else:
        tell.send(operations.number)


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.warm_export"])
    return context


class Try:
    """One try, under way from now on.

    :param moment: when it is to kill or stop itself.
    """

    def __init__(self, task: Task, uri: str, moment: Moment | None = None, **arguments: Any) -> None:
        context = _context()
        self._heard, tell = context.Pipe(duplex=False)
        self.process = context.Process(target=attempt, args=(task, arguments, uri, moment, tell), daemon=True)
        self.process.start()
        tell.close()
        assert self._hear() == "began"

    def _hear(self) -> Any:
        assert self._heard.poll(LONGEST), "it hangs"
        return self._heard.recv()

    def kill_when(self, moment: Callable[[], bool]) -> None:
        """Kill it from outside when a moment has come, unless it has ended before."""
        until = time.monotonic() + LONGEST
        while self.process.is_alive() and time.monotonic() < until:
            if moment():
                self.send(signal.SIGKILL)
                return
            time.sleep(0.001)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def is_stopped(self) -> bool:
        """Say whether it has stopped itself."""
        state = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    def end(self) -> str | int | None:
        """Wait for its end: the number of its operations, or its error; None where it was killed."""
        told: str | int | None
        try:
            told = self._hear()
        except EOFError:
            told = None
        self.process.join(LONGEST)
        assert (self.process.exitcode == -signal.SIGKILL) is (told is None), self.process.exitcode
        self._heard.close()
        return told


def run(task: Task, uri: str, **arguments: Any) -> int:
    """Run a try that nobody disturbs; return the number of its operations."""
    ended = Try(task, uri, **arguments).end()
    assert isinstance(ended, int), ended
    return ended
