"""One writer at a time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_banksync.export.lock import BEAT, DEAD, FRESH, SETTLE, Lock
from airflow_provider_banksync.export.store import ExportError, Folder

if TYPE_CHECKING:
    from pathlib import Path


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
    return Folder.of(ObjectStoragePath(tmp_path.as_uri()))


def lock(folder: Folder, writer: str, clock: Clock) -> Lock:
    return Lock(folder, writer, now=clock, sleep=clock.sleep)


def test_another_task_is_kept_out_and_told_who_is_in(folder: Folder, clock: Clock) -> None:
    lock(folder, "lake.export of monday", clock).take()
    with pytest.raises(ExportError, match=r"being written by lake\.export of monday, seen last at 1970"):
        lock(folder, "lake.export of tuesday", clock).take()


def test_what_is_given_back_can_be_taken(folder: Folder, clock: Clock, tmp_path: Path) -> None:
    first = lock(folder, "one", clock)
    first.take()
    first.release()
    assert list(tmp_path.iterdir()) == []
    lock(folder, "two", clock).take()


def test_the_next_try_takes_over_and_the_one_before_finds_out(folder: Folder, clock: Clock) -> None:
    before, after = lock(folder, "task", clock), lock(folder, "task", clock)
    before.take()
    after.take()
    with pytest.raises(ExportError, match="now being written by task"):
        before.check()
    before.release()
    after.check()


def test_who_has_just_looked_need_not_look_again(folder: Folder, clock: Clock, tmp_path: Path) -> None:
    first = lock(folder, "one", clock)
    first.take()
    (tmp_path / "_lock.json").unlink()
    clock.sleep(FRESH * 0.9)
    first.check()
    clock.sleep(FRESH * 0.2)
    with pytest.raises(ExportError):
        first.check()
    assert FRESH < SETTLE, "who takes over waits longer"


@pytest.mark.parametrize("writer", ["one", "two"])
def test_it_is_known_that_somebody_died(folder: Folder, clock: Clock, tmp_path: Path, writer: str) -> None:
    first = lock(folder, "one", clock)
    first.take()
    (tmp_path / "_tmp-_lock.json.1234").touch()  # he died while he said that he was there
    clock.sleep(DEAD + 1)
    second = lock(folder, writer, clock)
    second.take()
    assert (first.taken_over, second.taken_over) == (False, True)
    assert [path.name for path in tmp_path.iterdir()] == ["_lock.json"]


def test_one_that_died_is_taken_over_in_time(folder: Folder, clock: Clock) -> None:
    lock(folder, "one", clock).take()
    clock.sleep(DEAD - 1)
    with pytest.raises(ExportError):
        lock(folder, "two", clock).take()
    clock.sleep(2)
    lock(folder, "two", clock).take()


def test_one_that_lives_says_so(folder: Folder, clock: Clock) -> None:
    first = lock(folder, "one", clock)
    first.take()
    for _ in range(30):
        clock.sleep(BEAT + 1)
        first.check()
        with pytest.raises(ExportError):
            lock(folder, "two", clock).take()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"writer": "x", "seen": "noon"}'])
def test_a_damaged_lock_is_no_obstacle(folder: Folder, clock: Clock, tmp_path: Path, body: bytes) -> None:
    tmp_path.joinpath("_lock.json").write_bytes(body)
    lock(folder, "one", clock).take()


def test_of_many_at_once_one_gets_it(folder: Folder) -> None:
    got: list[str] = []
    begin = threading.Barrier(12)

    def work(name: str) -> None:
        begin.wait()
        try:
            Lock(folder, name).take()
        except ExportError:
            return
        got.append(name)

    threads = [threading.Thread(target=work, args=(f"task {n}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
