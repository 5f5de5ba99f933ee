"""One writer at a time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_banksync.export.storage.folder import ExportError
from airflow_provider_banksync.export.storage.lock import (
    CHECK_VALID_FOR,
    EXPIRES_AFTER,
    HEARTBEAT_INTERVAL,
    SETTLE_TIME,
    FolderLock,
)
from airflow_provider_banksync.tasks.destination import folder_of

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_banksync.export.storage.folder import Folder


class Clock:
    """A clock that a test moves; a sleep moves it, too."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return folder_of(ObjectStoragePath(tmp_path.as_uri()))


def lock(folder: Folder, writer: str, clock: Clock) -> FolderLock:
    return FolderLock(folder, writer, now=clock, sleep=clock.sleep)


def test_another_task_is_kept_out_and_told_who_is_in(folder: Folder, clock: Clock) -> None:
    lock(folder, "lake.export of monday", clock).acquire()
    with pytest.raises(ExportError, match=r"being written by lake\.export of monday, last seen at 1970"):
        lock(folder, "lake.export of tuesday", clock).acquire()


def test_a_lock_from_a_clock_that_is_ahead_is_explained(folder: Folder, clock: Clock) -> None:
    ahead = Clock()
    ahead.now += 7200
    lock(folder, "lake.export of monday", ahead).acquire()
    with pytest.raises(
        ExportError, match=r"120 minutes ahead of this machine's clock.*remove .*/_lock\.json, then retry"
    ):
        lock(folder, "lake.export of tuesday", clock).acquire()


def test_what_is_given_back_can_be_taken(folder: Folder, clock: Clock, tmp_path: Path) -> None:
    first = lock(folder, "one", clock)
    first.acquire()
    first.release()
    assert list(tmp_path.iterdir()) == []
    lock(folder, "two", clock).acquire()


def test_the_next_try_takes_over_and_the_one_before_finds_out(folder: Folder, clock: Clock) -> None:
    before, after = lock(folder, "task", clock), lock(folder, "task", clock)
    before.acquire()
    after.acquire()
    with pytest.raises(ExportError, match="now being written by task"):
        before.check()
    before.release()
    after.check()


def test_who_has_just_looked_need_not_look_again(folder: Folder, clock: Clock, tmp_path: Path) -> None:
    first = lock(folder, "one", clock)
    first.acquire()
    (tmp_path / "_lock.json").unlink()
    clock.sleep(CHECK_VALID_FOR * 0.9)
    first.check()
    clock.sleep(CHECK_VALID_FOR * 0.2)
    with pytest.raises(ExportError):
        first.check()
    assert CHECK_VALID_FOR < SETTLE_TIME, "who takes over waits longer"


@pytest.mark.parametrize("writer", ["one", "two"])
def test_what_a_writer_left_that_died_is_removed(
    folder: Folder, clock: Clock, tmp_path: Path, writer: str
) -> None:
    first = lock(folder, "one", clock)
    first.acquire()
    (tmp_path / "_tmp-_lock.json.1234").touch()  # he died while he said that he was there
    clock.sleep(EXPIRES_AFTER + 1)
    second = lock(folder, writer, clock)
    second.acquire()
    with pytest.raises(ExportError):
        first.check()
    assert [path.name for path in tmp_path.iterdir()] == ["_lock.json"]


def test_one_that_died_is_taken_over_in_time(folder: Folder, clock: Clock) -> None:
    lock(folder, "one", clock).acquire()
    clock.sleep(EXPIRES_AFTER - 1)
    with pytest.raises(ExportError):
        lock(folder, "two", clock).acquire()
    clock.sleep(2)
    lock(folder, "two", clock).acquire()


def test_one_that_lives_says_so(folder: Folder, clock: Clock) -> None:
    first = lock(folder, "one", clock)
    first.acquire()
    for _ in range(30):
        clock.sleep(HEARTBEAT_INTERVAL + 1)
        first.check()
        with pytest.raises(ExportError):
            lock(folder, "two", clock).acquire()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"format_version": 1, "writer": "x", "token": "y", "seen": "noon"}',
        b'{"format_version": 2, "writer": "x", "token": "y", "seen": 0}',
    ],
)
def test_a_lock_that_cannot_be_understood_is_refused(
    folder: Folder, clock: Clock, tmp_path: Path, body: bytes
) -> None:
    path = tmp_path / "_lock.json"
    path.write_bytes(body)
    with pytest.raises(ExportError, match=f"{path} is damaged, or a newer .* remove the file") as caught:
        lock(folder, "one", clock).acquire()
    assert caught.value.permanent
    assert path.read_bytes() == body


def test_a_writer_that_died_before_it_wrote_the_lock_is_no_obstacle(
    folder: Folder, clock: Clock, tmp_path: Path
) -> None:
    tmp_path.joinpath("_lock.json").touch()
    lock(folder, "one", clock).acquire()


def test_of_many_at_once_one_gets_it(folder: Folder) -> None:
    got: list[str] = []
    begin = threading.Barrier(12)

    def work(name: str) -> None:
        begin.wait()
        try:
            FolderLock(folder, name).acquire()
        except ExportError:
            return
        got.append(name)

    threads = [threading.Thread(target=work, args=(f"task {n}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
