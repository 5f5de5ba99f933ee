"""A coroutine in a thread of its own, for a caller that may be interrupted by a signal at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_R = TypeVar("_R")
#: How long an interrupted caller waits for the thread to leave off (seconds).
LEAVE_OFF = 5.0


def drive(main: Callable[[], Coroutine[Any, Any, _R]], *, name: str) -> _R:
    """Run a coroutine to its end and return its result, or raise what it raises.

    Where the wait is interrupted (a signal's handler raises), the coroutine is cancelled, and the interruption goes on.
    """
    ended: Future[_R] = Future()
    under_way: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def begin() -> _R:
        under_way.append((asyncio.get_running_loop(), asyncio.current_task()))
        return await main()

    def work() -> None:
        try:
            result = asyncio.run(begin())
        except asyncio.CancelledError:
            ended.set_exception(CancelledError())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            ended.set_exception(error)
        else:
            ended.set_result(result)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        return ended.result()
    except BaseException:
        for loop, task in under_way:
            with contextlib.suppress(RuntimeError):  # it is closed: all has ended
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)
        thread.join(LEAVE_OFF)
        raise
