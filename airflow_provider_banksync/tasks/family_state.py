"""What a retry must know of the family sync that an earlier try started."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import astuple, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.family.state import FeedResult
from airflow_provider_banksync.tasks.started_jobs import StartedJobs
from airflow_provider_banksync.tasks.task_store import TaskStore, TaskTries
from airflow_provider_banksync.tasks.xcom import to_xcom

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Iterator

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.family.sync import FamilySync

#: Keys in the task state store: the record, and the results of feeds.
KEY = "banksync_family"
RESULTS_KEY = "banksync_family_results_{}"
#: Key of jobs that a try without a trigger started. Each key has about this many, so that each write is small.
JOBS_KEY, JOBS_PER_KEY = "banksync_family_jobs_{}", 100
#: Seconds between two writes of them.
WRITE_INTERVAL = 1.0
#: Format of all. A record in another format is ignored.
VERSION = 3
#: The number of results under one key. Airflow warns about values of more than 64 KiB.
_RESULTS_PER_KEY = 150


class FamilyState:
    """When the family sync began, which jobs it started first, and which feeds earlier tries have synced.

    It begins with the first try, or with the first try after the task was cleared. Before Airflow 3.3, or if the
    task state store fails, a retry uses the start of the DAG run, and asks BankSync what was synced since then.

    :param request: the operator's arguments, as JSON values. A record of another request is ignored.
    :param retries: the task's retries.
    :param durable: False stores nothing.
    """

    def __init__(
        self,
        context: Context,
        log: logging.Logger | Any,
        request: dict[str, Any],
        *,
        retries: int,
        durable: bool,
    ) -> None:
        self._tries = TaskTries.from_context(context, retries=retries)
        self._request = request
        self._durable = durable
        self._store = TaskStore(context, log, durable=durable)
        #: The jobs that the trigger started in this try.
        self.started_jobs = StartedJobs(context["ti"], log)
        #: When the first job of the family sync was created, by BankSync's clock; None: there is no job.
        self.since: float | None = None
        #: The jobs, by feed, that the task certainly started.
        self.own_jobs: dict[str, str] = {}
        #: The jobs of feeds before a start whose answer is unknown.
        self.known_job_ids: dict[str, list[str]] = {}
        #: What is stored under each key of `JOBS_KEY`.
        self._job_chunks: list[dict[str, str]] = []

    def start_try(self, server_time: float | None, received_at: float) -> list[FeedResult]:
        """Read what earlier tries recorded, and return their results. If there is no record, write one.

        :param server_time: the server's clock at our first request; None if it is unknown.
        :param received_at: our monotonic clock at the same moment.
        """
        if not self._durable:
            return []
        record = self._read()
        if record is not None:
            self.since, self.own_jobs = record["since"], record["own_jobs"]
            self.known_job_ids = record["known_job_ids"]
            self._job_chunks = self._stored_jobs()
            for chunk in self._job_chunks:
                self.own_jobs.update(chunk)
            return self._stored_results(record)
        self._write()
        dag_run_started_at = self._tries.dag_run_started_at
        if not self._store and self._tries.is_retry and dag_run_started_at is not None:
            our_time = time.time() - (time.monotonic() - received_at)
            clock_difference = 0.0 if server_time is None else server_time - our_time
            self.since = dag_run_started_at + clock_difference
        return []

    def note_start(self, record_key: str, known_job_ids: list[str]) -> None:
        """Record the ids of a feed's jobs before its sync is requested. A retry then recognizes the new job."""
        self.known_job_ids[record_key] = known_job_ids
        self._write()

    def note_first_job(self, since: float | None, own_jobs: dict[str, str]) -> None:
        """Record when the first job was created, and the jobs that were started until now."""
        self.since, self.own_jobs = since, own_jobs
        if since is not None:  # a retry recognizes all other jobs by this time
            self.known_job_ids = {}
        self._write()

    @asynccontextmanager
    async def recording(self, sync: FamilySync) -> AsyncIterator[None]:
        """Record the jobs that a family sync starts meanwhile, about once a second.

        If the worker dies, a retry then knows that they are its own.
        """
        writes = asyncio.ensure_future(self._keep_recording(sync))
        try:
            yield
        finally:
            writes.cancel()
            await asyncio.gather(writes, return_exceptions=True)

    async def _keep_recording(self, sync: FamilySync) -> None:
        while self._store:
            await asyncio.sleep(WRITE_INTERVAL)
            await asyncio.to_thread(self.record_jobs, sync.own_jobs())

    def record_jobs(self, own_jobs: dict[str, str]) -> None:
        """Record the jobs that the task has started until now."""
        new = {feed: job for feed, job in own_jobs.items() if self.own_jobs.get(feed) != job}
        if not new:
            return
        self.own_jobs = {**self.own_jobs, **new}
        if not self._job_chunks or len(self._job_chunks[-1]) >= JOBS_PER_KEY:
            self._job_chunks.append({})
        self._job_chunks[-1].update(new)
        number = len(self._job_chunks) - 1
        self._store.set(JOBS_KEY.format(number), {**self._identity(), "jobs": self._job_chunks[number]})

    def _stored_jobs(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        while (value := self._read(JOBS_KEY.format(len(found)))) is not None:
            found.append(dict(value["jobs"]))
        return found

    @contextmanager
    def keeping_started_jobs(self) -> Iterator[None]:
        """If the task fails meanwhile, keep the jobs that the trigger started for a retry."""
        try:
            yield
        except BaseException:
            self._keep_started_jobs()
            raise

    def _keep_started_jobs(self) -> None:
        # A retry does not need the jobs of feeds that are synced.
        record = self._read()
        if record is None:
            return
        synced = {result.record_key for result in self._stored_results(record)}
        started = self.started_jobs.load()
        jobs = {feed: job for feed, job in started.items() if feed not in synced}
        if jobs:
            self._store.set(KEY, {**record, "own_jobs": {**record["own_jobs"], **jobs}})

    def store_results(self, results: list[FeedResult]) -> None:
        """Store the results of feeds that a retry need not sync again."""
        record = self._read()
        if record is None:
            return
        chunks = [results[at : at + _RESULTS_PER_KEY] for at in range(0, len(results), _RESULTS_PER_KEY)]
        for number, chunk in enumerate(chunks):
            values = [[_to_stored(value) for value in astuple(result)] for result in chunk]
            self._store.set(RESULTS_KEY.format(number), values)
        self._store.set(KEY, {**record, "result_keys": len(chunks)})

    def _write(self) -> None:
        """Write the record, if the family sync is durable."""
        record = self._read() or {**self._identity(), "result_keys": 0}
        state = {"since": self.since, "own_jobs": self.own_jobs, "known_job_ids": self.known_job_ids}
        self._store.set(KEY, {**record, **state})

    def _identity(self) -> dict[str, Any]:
        return {"version": VERSION, "first_try": self._tries.first_try, "request": self._request}

    def _read(self, key: str = KEY) -> dict[str, Any] | None:
        record = self._store.get(key)
        return record if isinstance(record, dict) and record.items() >= self._identity().items() else None

    def _stored_results(self, record: dict[str, Any]) -> list[FeedResult]:
        return [
            replace(FeedResult(*values), origin="from an earlier try")
            for number in range(record["result_keys"])
            for values in self._store.get(RESULTS_KEY.format(number)) or []
        ]


def _to_stored(value: Any) -> Any:
    """Return a value as the store takes it. A `Decimal` that `to_xcom` leaves is exact as a float."""
    stored = to_xcom(value)
    return float(stored) if isinstance(stored, Decimal) else stored
