"""How long an event loop stood still, and what of that is neither the machine's fault nor the garbage collector's."""

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
#: A stall that is longer than this (seconds) is one that others in the loop feel.
GOAL = 0.050
_FULL = 2


@dataclass
class Stalls:
    """What a heartbeat of the loop saw; all in seconds.

    A beat that came late because other processes had the processor says nothing about the loop. Linux tells how long
    the loop's thread waited for it, and that is taken off; elsewhere it is not. A full run of the garbage collector
    takes as long as the process has objects, and Airflow alone brings two hundred thousand: it is counted apart.
    """

    longest: float = 0.0
    """The longest stall."""
    at: float = 0.0
    """When that was, from the first beat."""
    standing: float = 0.0
    """All stalls above `GOAL` together."""
    watched: float = 0.0
    """How long the loop was watched."""
    raw: float = 0.0
    """The longest, with nothing taken off."""
    collections: int = 0
    """Full runs of the garbage collector."""
    collecting: float = 0.0
    """The longest of them."""


class _Watch:
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
        """How long the loop's thread has been ready to run, and another had the processor."""
        return 0.0 if self._waits is None else int(os.pread(self._waits, 100, 0).split()[1]) / 1e9

    def collected(self) -> float:
        """How long full collections have taken so far."""
        return self._collected + self._collecting()

    def _collecting(self) -> float:
        # One in another thread may be over without that thread having told so: the loop's was quicker to go on.
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
            stalls.watched = start + late + BEAT - self.began
            stalls.raw = max(stalls.raw, late)
            if own > stalls.longest:
                stalls.longest, stalls.at = own, start - self.began
            if own > GOAL:
                stalls.standing += own

    def close(self) -> None:
        if self._waits is not None:
            os.close(self._waits)


@asynccontextmanager
async def watched() -> AsyncIterator[Stalls]:
    """Watch the running loop; the result is complete after the block."""
    watch = _Watch()
    gc.callbacks.append(watch.on_collection)
    heart = asyncio.create_task(watch.beat())
    await asyncio.sleep(0)
    try:
        yield watch.stalls
    finally:
        await asyncio.sleep(2 * BEAT)  # the beat that was due during the last stall
        heart.cancel()
        await asyncio.gather(heart, return_exceptions=True)
        gc.callbacks.remove(watch.on_collection)
        watch.close()
