"""One writer at a time: a file that says who it is, and that it is still there."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export.layout import LOCK
from airflow_provider_banksync.export.store import TEMPORARY, ExportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.export.store import Folder

#: A writer says this often (seconds) that it is there, and is taken for dead when it has not for so long.
BEAT = 60.0
DEAD = 600.0
#: An object store may let two write at once: the last one has the lock, and each looks again after this time (seconds).
SETTLE = 1.0
#: Who takes over waits for `SETTLE`, so who has looked within half of that need not look again.
FRESH = SETTLE / 2
_LOOKS = 8


class Lock:
    """The right to write what a folder is about.

    A try of a task takes over from an earlier try of the same task at once, as Airflow runs one at a time: what is
    left of the earlier one finds that out at its next `check`.

    :param folder: where the file is.
    :param writer: who writes, the same for each try of a task.
    """

    def __init__(
        self,
        folder: Folder,
        writer: str,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = folder
        self._writer = writer
        self._token = uuid.uuid4().hex
        self._now = now
        self._sleep = sleep
        self._beaten = self._looked = 0.0
        #: Somebody had it and has not given it back: what he was doing may be half done.
        self.taken_over = False

    def take(self) -> None:
        """Take the lock.

        :raises ExportError: another one has it.
        """
        for look in range(_LOOKS):
            if self._folder.create(LOCK, self._body()):
                break
            found = self._folder.read_json(LOCK)
            if found is None and look < _LOOKS - 2:  # given back at this moment, or not yet written
                self._sleep(SETTLE / 5)
            elif found is None or self._may_be_taken_over(found):
                self._folder.remove(LOCK)
                self.taken_over = True
            else:
                raise ExportError(
                    f"{self._folder} is being written by {found['writer']}, seen last at {_when(found['seen'])}. "
                    f"Try again when it has ended; if it was killed, {DEAD / 60:.0f} minutes after that."
                )
        if self.taken_over or not self._folder.local:
            self._sleep(SETTLE)
        self._beaten = self._now()
        self.check()
        if self.taken_over:
            for name in self._folder.names(""):
                if name.startswith(f"{TEMPORARY}{LOCK}"):
                    self._folder.remove(name)

    def _may_be_taken_over(self, found: dict[str, Any]) -> bool:
        seen = found.get("seen")
        if found.get("writer") == self._writer or not isinstance(seen, (int, float)):
            return True
        return bool(self._now() - seen > DEAD)

    def check(self) -> None:
        """See that it is still ours, and say that we are here.

        :raises ExportError: another one has taken it.
        """
        looked = self._now()
        if 0 <= looked - self._looked < FRESH:
            return
        found = self._folder.read_json(LOCK)
        if found is None or found.get("token") != self._token:
            other = (found or {}).get("writer", "another one")
            raise ExportError(f"{self._folder} is now being written by {other}: this try leaves it alone.")
        self._looked = looked
        if looked - self._beaten > BEAT:
            self._folder.write(LOCK, self._body())
            self._beaten = looked

    def release(self) -> None:
        """Give it back, if it is ours."""
        found = self._folder.read_json(LOCK)
        if found is not None and found.get("token") == self._token:
            self._folder.remove(LOCK)

    def _body(self) -> bytes:
        return json.dumps({"writer": self._writer, "token": self._token, "seen": self._now()}).encode()


def _when(seen: float) -> str:
    return datetime.fromtimestamp(seen, timezone.utc).isoformat(timespec="seconds")
