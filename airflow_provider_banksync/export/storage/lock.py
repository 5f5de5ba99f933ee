"""One writer at a time: a lock file that names its writer and the time of its last heartbeat."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.export.storage.folder import TEMPORARY_PREFIX, ExportError
from airflow_provider_banksync.export.storage.layout import LOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.export.storage.folder import Folder

#: Seconds between heartbeats, and seconds without one after which the lock is free.
HEARTBEAT_INTERVAL = 60.0
EXPIRES_AFTER = 600.0
#: An object store may let two writers create the file at once. The last one has the lock. Both check after this time.
SETTLE_TIME = 1.0
#: A writer that takes over waits for `SETTLE_TIME`, so a check stays valid for half of that.
CHECK_VALID_FOR = SETTLE_TIME / 2
_MAX_ATTEMPTS = 8
_VERSION = 1
#: A later time, in seconds since the epoch, is none. It is in the year 5138.
_MAX_TIME = 1e11
#: Seconds by which the clocks of two machines may differ before a message says so.
_MAX_CLOCK_DIFFERENCE = 60.0


class FolderLock:
    """The right to write to a folder.

    A retry takes over from an earlier try of the same task at once, because Airflow runs one try at a time. The
    earlier try, if it is still alive, finds that out at its next `check`.

    :param folder: the folder of the lock file.
    :param writer: names the task; the same for every try.
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
        self._heartbeat_at = self._checked_at = 0.0

    def acquire(self) -> None:
        """Take the lock.

        :raises ExportError: if another task has it.
        """
        taken_over = False
        for attempt in range(_MAX_ATTEMPTS):
            if self._folder.create(LOCK, self._body()):
                break
            body = self._folder.read(LOCK)
            found = _parse(body or b"")
            if found is None and attempt < _MAX_ATTEMPTS - 2:  # just released, or not yet complete
                self._sleep(SETTLE_TIME / 5)
            elif found is None and body:
                raise ExportError(
                    f"{self._folder}/{LOCK} is damaged, or a newer version of this package wrote it. Nothing was "
                    "changed. If no other task writes to this destination, remove the file, then retry.",
                    permanent=True,
                )
            elif found is None or self._may_take_over(found):
                self._folder.remove(LOCK)
                taken_over = True
            else:
                raise ExportError(self._describe(found))
        if taken_over or not self._folder.is_local:
            self._sleep(SETTLE_TIME)
        self._heartbeat_at = self._now()
        self.check()
        if taken_over:
            for name in self._folder.names(""):
                if name.startswith(f"{TEMPORARY_PREFIX}{LOCK}"):
                    self._folder.remove(name)

    def _may_take_over(self, found: dict[str, Any]) -> bool:
        return bool(found["writer"] == self._writer or self._now() - found["seen"] > EXPIRES_AFTER)

    def _describe(self, found: dict[str, Any]) -> str:
        seen = datetime.fromtimestamp(found["seen"], timezone.utc).isoformat(timespec="seconds")
        text = f"{self._folder} is being written by {found['writer']}, last seen at {seen}. "
        ahead = found["seen"] - self._now()
        if ahead > _MAX_CLOCK_DIFFERENCE:
            return (
                f"{text}That is {ahead / 60:.0f} minutes ahead of this machine's clock. Compare the clocks of the two "
                f"machines. If that task has ended, remove {self._folder}/{LOCK}, then retry."
            )
        return (
            f"{text}Retry when that task has ended. If it was killed, retry {EXPIRES_AFTER / 60:.0f} minutes after "
            "that time."
        )

    def check(self) -> None:
        """Check that this writer still has the lock, and write a heartbeat if one is due.

        :raises ExportError: if another writer has taken it.
        """
        now = self._now()
        if 0 <= now - self._checked_at < CHECK_VALID_FOR:
            return
        found = _parse(self._folder.read(LOCK) or b"")
        if found is None or found["token"] != self._token:
            other = "another task" if found is None else found["writer"]
            raise ExportError(f"{self._folder} is now being written by {other}. This try stops.")
        self._checked_at = now
        if now - self._heartbeat_at > HEARTBEAT_INTERVAL:
            self._folder.write(LOCK, self._body())
            self._heartbeat_at = now

    def release(self) -> None:
        """Remove the lock file, if it is still this writer's."""
        found = _parse(self._folder.read(LOCK) or b"")
        if found is not None and found["token"] == self._token:
            self._folder.remove(LOCK)

    def _body(self) -> bytes:
        lock = {"format_version": _VERSION, "writer": self._writer, "token": self._token, "seen": self._now()}
        return json.dumps(lock).encode()


def _parse(body: bytes) -> dict[str, Any] | None:
    """Return the content of a lock file, or None if this version does not understand it."""
    try:
        lock = json.loads(body)
        version, seen, texts = lock["format_version"], lock["seen"], (lock["writer"], lock["token"])
        is_time = type(seen) in (int, float) and 0 <= seen < _MAX_TIME  # a bool is an int, and NaN is a float
        known = type(version) is int and version == _VERSION
        return lock if known and is_time and all(isinstance(each, str) for each in texts) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
