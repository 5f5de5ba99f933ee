"""The terminal output of the demo."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from typing import TextIO

WIDTH = 100
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
LABEL_WIDTH = 14
PREFIX_WIDTH = LABEL_WIDTH + len("[9999.9 s]  ") + 1


def colour_wanted(stream: TextIO, environ: os._Environ[str] | dict[str, str] | None = None) -> bool:
    """Return whether the stream is a terminal that accepts colour (https://no-color.org)."""
    env = os.environ if environ is None else environ
    return stream.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


class Console:
    """Writes milestones, plain lines, and a status that a terminal updates in place.

    Without a terminal, the status is a line: only if it changed, and at most every ``every`` seconds.
    """

    def __init__(self, stream: TextIO | None = None, *, verbose: bool = False, every: float = 4.0) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.verbose = verbose
        self.colour = colour_wanted(self.stream)
        # Airflow's own lines would break a status that is updated in place
        self.in_place = self.stream.isatty() and not verbose
        self.every = every
        self.started = time.monotonic()
        self._lock = threading.Lock()
        self._status = ""
        self._drawn = False
        self._last_line = ""
        self._last_time = float("-inf")
        reconfigure = getattr(self.stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")

    def paint(self, text: str, style: str) -> str:
        """Return ``text`` in a style, if the stream accepts colour."""
        return f"\033[{STYLES[style]}m{text}\033[0m" if self.colour else text

    def line(self, text: str = "") -> None:
        """Write one line."""
        with self._lock:
            self._erase()
            self._write(text + "\n")

    def milestone(self, label: str, text: str) -> None:
        """Write that a step is complete, with the time since the start."""
        self.line(self._step(label, text))

    def status(self, label: str, text: str) -> None:
        """Show the progress of a step."""
        with self._lock:
            if self.in_place:
                self._erase()
                # a status that wraps to a second row cannot be erased
                room = shutil.get_terminal_size().columns - PREFIX_WIDTH
                self._write(self._step(label, text[: max(room, 0)]))
                self._drawn = True
                return
            now = time.monotonic()
            if text != self._last_line and now - self._last_time >= self.every:
                self._last_line, self._last_time = text, now
                self._write(self._step(label, text) + "\n")

    def _step(self, label: str, text: str) -> str:
        elapsed = time.monotonic() - self.started
        return f"{self.paint(f'[{elapsed:5.1f} s]', 'dim')} {self.paint(f'{label:<{LABEL_WIDTH}}', 'bold')} {text}"

    def _erase(self) -> None:
        if self._drawn:
            self._write("\r\033[2K")
            self._drawn = False

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
