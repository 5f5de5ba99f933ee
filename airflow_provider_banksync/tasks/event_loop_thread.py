"""A thread with an event loop, for a task that a signal may interrupt at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_R = TypeVar("_R")
#: Seconds to wait for a cancelled coroutine to end.
CANCEL_TIMEOUT = 5.0


class EventLoopThread:
    """Runs one coroutine in a thread, while the caller waits and can be interrupted.

    :param name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._result: Future[Any] = Future()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    def run(self, main: Callable[[], Coroutine[Any, Any, _R]], timeout: float | None = None) -> _R:
        """Return the coroutine's result, or raise its error. If the wait is interrupted, cancel the coroutine.

        :raises CancelledError: `cancel` was called.
        :raises concurrent.futures.TimeoutError: it took longer than `timeout` seconds, and is cancelled.
        """
        self._thread = threading.Thread(target=self._work, args=(main,), name=self._name, daemon=True)
        self._thread.start()
        try:
            return self._result.result(timeout)  # type: ignore[no-any-return]  # what `main` returned
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Cancel the coroutine, from any thread or from a signal's handler, and wait a few seconds for its end."""
        self._cancelled = True
        if self._thread is None or self._loop is None or self._task is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: the coroutine has ended
            self._loop.call_soon_threadsafe(self._task.cancel)
        if threading.current_thread() is not self._thread:
            self._thread.join(CANCEL_TIMEOUT)

    def _work(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        try:
            result = asyncio.run(self._main(main))
        except (asyncio.CancelledError, CancelledError):
            self._result.set_exception(CancelledError())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self._result.set_exception(error)
        else:
            self._result.set_result(result)

    async def _main(self, main: Callable[[], Coroutine[Any, Any, _R]]) -> _R:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._cancelled:
            raise asyncio.CancelledError
        return await main()
