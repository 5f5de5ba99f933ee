"""The jobs that a deferred family sync certainly started, for a trigger that continues it in another process.

A trigger cannot use Airflow's task state store. So it writes XComs of its task. Airflow deletes them before the next
try, but `FamilyState` keeps the jobs for that try. Before Airflow 3.3, nothing is recorded.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.redaction import counted
from airflow_provider_banksync.compat import AIRFLOW, read_xcom, write_xcom
from airflow_provider_banksync.tasks import family_plan
from airflow_provider_banksync.tasks.trigger_events import encode_rows
from airflow_provider_banksync.tasks.xcom import storable

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Mapping

    from airflow_provider_banksync.api.family.sync import FamilySync

#: Key of an XCom. A large family needs several, so that each write is small.
KEY = "banksync_started_jobs_{}"
JOBS_PER_KEY = 100
#: Seconds between two writes of a trigger.
WRITE_INTERVAL = 1.0


class StartedJobs:
    """The record of one try. Two triggers may write it at the same time, while one takes over from the other.

    False if Airflow has no place for a record, and after Airflow has failed once.

    :param instance: the task instance; None: the trigger runs without one, as in ``dag.test``.
    """

    def __init__(self, instance: Any, log: logging.Logger | Any) -> None:
        self._instance: Any = instance if AIRFLOW >= (3, 3) else None
        self._log = log
        self._lock = threading.Lock()
        #: The jobs, by feed, under each key. Later ones count.
        self._chunks: list[dict[str, str]] = []

    def __bool__(self) -> bool:
        return self._instance is not None

    def load(self) -> dict[str, str]:
        """Return the recorded jobs, by feed."""
        with self._lock:
            self._chunks = []
            while (chunk := self._read(len(self._chunks))) is not None:
                self._chunks.append(chunk)
            return self._merged()

    def save(self, jobs: Mapping[str, str]) -> bool:
        """Record these jobs, by feed. Return whether that succeeded."""
        with self._lock:
            recorded = self._merged()
            new = [(feed, job) for feed, job in jobs.items() if recorded.get(feed) != job]
            while new and self:
                if not self._chunks or len(self._chunks[-1]) >= JOBS_PER_KEY:
                    self._chunks.append({})
                chunk, number = self._chunks[-1], len(self._chunks) - 1
                room = JOBS_PER_KEY - len(chunk)
                chunk.update(new[:room])
                del new[:room]
                self._write(number, {**(self._read(number) or {}), **chunk})
            return bool(self)

    def pass_to_trigger(self, jobs: Mapping[str, str]) -> str:
        """Return the jobs as JSON text for a new trigger. If it has no room for them, it reads the record instead."""
        text = encode_rows(dict(jobs))
        if family_plan.stored_size(text) <= family_plan.MAX_PLAN:
            return text
        if not self.save(jobs):
            self._log.warning(
                "Airflow cannot store %s for the trigger. A kill leaves such jobs running.",
                counted(len(jobs), "job"),
            )
        return "{}"

    @asynccontextmanager
    async def recording(self, sync: FamilySync) -> AsyncIterator[None]:
        """Record the jobs that the family sync starts meanwhile, about once a second."""
        writes = asyncio.ensure_future(self._keep_saving(sync))
        try:
            yield
        finally:
            writes.cancel()
            await asyncio.gather(writes, return_exceptions=True)

    async def _keep_saving(self, sync: FamilySync) -> None:
        while self:
            await asyncio.sleep(WRITE_INTERVAL)
            await asyncio.to_thread(self.save, sync.own_jobs())

    def _merged(self) -> dict[str, str]:
        return {feed: job for chunk in self._chunks for feed, job in chunk.items()}

    def _read(self, number: int) -> dict[str, str] | None:
        if not self:
            return None
        try:
            value = read_xcom(self._instance, KEY.format(number))
        except Exception as error:  # noqa: BLE001 - the backend is a plug-in of Airflow's users
            self._disable(error)
            return None
        # A trigger of an earlier try may have written this late.
        if not isinstance(value, dict) or value.get("try_number") != self._instance.try_number:
            return None
        jobs = value.get("jobs")
        return jobs if isinstance(jobs, dict) else None

    def _write(self, number: int, jobs: dict[str, str]) -> None:
        if not self:  # reading it has failed
            return
        value = storable({"try_number": self._instance.try_number, "jobs": jobs})
        try:
            write_xcom(self._instance, KEY.format(number), value)
        except Exception as error:  # noqa: BLE001 - as above
            self._disable(error)

    def _disable(self, error: Exception) -> None:
        self._instance = None
        self._log.warning(
            "Airflow did not read or write an XCom (%s). If the triggerer restarts and the task is then killed, jobs"
            " that it started before continue.",
            type(error).__name__,
        )
