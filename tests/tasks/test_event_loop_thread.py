"""A coroutine in a thread: its result, its error, and every way to stop it."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from airflow_provider_banksync.tasks.event_loop_thread import EventLoopThread


async def forever(stopped: threading.Event) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        stopped.set()


def test_the_result_and_the_error_reach_the_caller() -> None:
    async def name() -> str:
        return threading.current_thread().name

    async def fail() -> None:
        raise ValueError("why")

    assert EventLoopThread("banksync-test").run(name) == "banksync-test"
    with pytest.raises(ValueError, match="why"):
        EventLoopThread("banksync-test").run(fail)


def test_cancel_from_another_thread_ends_the_run() -> None:
    thread, stopped = EventLoopThread("banksync-test"), threading.Event()
    threading.Timer(0.2, thread.cancel).start()
    with pytest.raises(CancelledError):
        thread.run(lambda: forever(stopped))
    assert stopped.is_set()
    thread.cancel()  # the loop is closed by now


def test_a_run_that_is_cancelled_before_it_starts_does_nothing() -> None:
    thread, stopped = EventLoopThread("banksync-test"), threading.Event()
    thread.cancel()
    with pytest.raises(CancelledError):
        thread.run(lambda: forever(stopped))
    assert not stopped.is_set()


def test_a_timeout_cancels_the_coroutine() -> None:
    stopped, began = threading.Event(), time.monotonic()
    with pytest.raises(FutureTimeoutError):
        EventLoopThread("banksync-test").run(lambda: forever(stopped), timeout=0.2)
    assert stopped.is_set()
    assert time.monotonic() - began < 5
