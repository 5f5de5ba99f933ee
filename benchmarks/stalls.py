"""Measures how long an event loop is blocked, without the time of other processes and of the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BEAT = 0.005
#: A longer stall (seconds) delays other tasks of the loop noticeably.
GOAL = 0.050
_FULL = 2


@dataclass
class Stalls:
    """What a heartbeat in the loop measured. All times are in seconds.

    A beat can be late because other processes used the processor. On Linux, the kernel reports how long the loop's
    thread waited for the processor, and this time is subtracted. The time of a full garbage collection depends on the
    number of objects in the process, and Airflow alone has 200,000. So collections are counted separately.
    """

    longest: float = 0.0
    """The longest stall."""
    at: float = 0.0
    """When it happened, in seconds after the first beat."""
    total: float = 0.0
    """The sum of all stalls above `GOAL`."""
    measured_for: float = 0.0
    """How long the heartbeat ran."""
    raw: float = 0.0
    """The longest stall, uncorrected."""
    collections: int = 0
    """The number of full garbage collections."""
    collecting: float = 0.0
    """The longest of them."""


class _Heartbeat:
    def __init__(self) -> None:
        self.stalls = Stalls()
        self.began = time.perf_counter()
        self._collected = 0.0
        self._collection: tuple[float, float] | None = None
        try:
            self._waits: int | None = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            self._waits = None

    def waited(self) -> float:
        """Return how long the loop's thread has waited for the processor so far."""
        return 0.0 if self._waits is None else int(os.pread(self._waits, 100, 0).split()[1]) / 1e9

    def collected(self) -> float:
        """Return how long full collections have taken so far."""
        return self._collected + self._collecting()

    def _collecting(self) -> float:
        # A collection in another thread may have ended before that thread reported its end.
        if self._collection is None:
            return 0.0
        start, waited = self._collection
        return time.perf_counter() - start - (self.waited() - waited)

    def on_collection(self, phase: str, info: dict[str, Any]) -> None:
        if info["generation"] != _FULL:
            return
        if phase == "start":
            self._collection = (time.perf_counter(), self.waited())
            return
        took = self._collecting()
        self._collection = None
        self._collected += took
        self.stalls.collections += 1
        self.stalls.collecting = max(self.stalls.collecting, took)

    async def beat(self) -> None:
        while True:
            start, waited, collected = time.perf_counter(), self.waited(), self.collected()
            await asyncio.sleep(BEAT)
            late = time.perf_counter() - start - BEAT
            own = late - (self.waited() - waited) - (self.collected() - collected)
            stalls = self.stalls
            stalls.measured_for = start + late + BEAT - self.began
            stalls.raw = max(stalls.raw, late)
            if own > stalls.longest:
                stalls.longest, stalls.at = own, start - self.began
            if own > GOAL:
                stalls.total += own

    def close(self) -> None:
        if self._waits is not None:
            os.close(self._waits)


@asynccontextmanager
async def measure_stalls() -> AsyncIterator[Stalls]:
    """Measure the stalls of the running loop. The result is complete after the block."""
    heartbeat = _Heartbeat()
    gc.callbacks.append(heartbeat.on_collection)
    beating = asyncio.create_task(heartbeat.beat())
    await asyncio.sleep(0)
    try:
        yield heartbeat.stalls
    finally:
        await asyncio.sleep(2 * BEAT)  # include the beat of the last stall
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        gc.callbacks.remove(heartbeat.on_collection)
        heartbeat.close()
