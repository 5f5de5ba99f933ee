"""Runs an operator the way Airflow does, deferrals included, and shows what it left behind."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_banksync.operators import family as family_operator
from airflow_provider_banksync.operators.sync import BankSyncTriggerSyncOperator
from airflow_provider_banksync.tasks import base
from airflow_provider_banksync.triggers import family as family_trigger

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

#: A sandbox whose jobs go on until the test lets them end, see ``ending``. It is noon there: BankSync's own jobs, which
#: are in anybody's way, begin at night.
HELD = {"job_seconds": (600, 600), "row_error_share": 0, "now": datetime(2026, 3, 4, 12, tzinfo=timezone.utc)}

#: What the fixture ``logged`` gives: a function that returns what was logged since its last call.
Logged = Callable[[], str]

BOTH = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])


@dataclass
class Run:
    """What a task did: its XComs, what its triggers sent, and its result."""

    xcom: dict[str, Any] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    deferrals: list[TaskDeferred] = field(default_factory=list)
    result: Any = None
    # What Airflow tells a task of its tries; the store is there on Airflow 3.3 and later.
    try_number: int = 1
    max_tries: int = 0
    start_date: Any = None
    store: Any = None
    dag_run: Any = None

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = value


def run_task(operator: Any, run: Run | None = None) -> Run:
    """Execute, and where the task defers, run its trigger from its stored form and come back with the event."""
    run = run or Run()
    context = {"ti": run, "task_instance": run, "dag_run": run.dag_run}
    if run.store is not None:
        context["task_state_store"] = run.store
    step, kwargs = operator.execute, {}
    while True:
        try:
            run.result = step(context=context, **kwargs)
        except TaskDeferred as deferred:
            run.deferrals.append(deferred)
            event = run_trigger(deferred.trigger)
            run.events.append(event)
            # As Airflow does it: a sensor's soft_fail is applied there.
            step, kwargs = (
                operator.resume_execution,
                {
                    "next_method": deferred.method_name,
                    "next_kwargs": {**(deferred.kwargs or {}), "event": event},
                },
            )
        else:
            return run


@contextmanager
def ending(sandbox: BankSyncSandbox, begin: Callable[[], bool]) -> Iterator[None]:
    """Let the jobs of a ``HELD`` sandbox end once something has come true, however slow the machine is until then."""
    over = threading.Event()

    def end_them() -> None:
        while not begin() and not over.wait(0.01):
            pass
        over.wait(0.4)  # so that what follows the answer that `begin` saw still finds the jobs running
        while not over.wait(0.1):
            sandbox.clock.advance(601)

    clock = threading.Thread(target=end_them)
    clock.start()
    try:
        yield
    finally:
        over.set()
        clock.join()


class MovedTime:
    """Stands in for the module `time`: the same time, and from some moment on a later one."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.sleep = time.sleep

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@contextmanager
def time_is_up(when: Callable[[], bool]) -> Iterator[None]:
    """Let the deadlines of a family's tasks pass once something has come true, however slow the machine is."""
    moved, over = MovedTime(), threading.Event()

    def move() -> None:
        while not over.wait(0.01):
            if when():
                moved.ahead = 100_000.0
                return

    mover = threading.Thread(target=move)
    with pytest.MonkeyPatch.context() as patch:
        for module in (base, family_operator, family_trigger):
            patch.setattr(module, "time", moved)
        mover.start()
        try:
            yield
        finally:
            over.set()
            mover.join()


def restored(trigger: Any) -> Any:
    """The trigger as another process would build it from the database."""
    path, kwargs = trigger.serialize()
    module, name = path.rsplit(".", 1)
    return getattr(import_module(module), name)(**json.loads(json.dumps(kwargs)))


def run_trigger(trigger: Any) -> Any:
    """Run a trigger to its end and return its one event, as it comes back from the database."""

    async def events() -> list[Any]:
        return [event.payload async for event in restored(trigger).run()]

    (payload,) = asyncio.run(events())
    return json.loads(json.dumps(payload))


LATE = ("resource", "scope", "from_date", "to_date")
LATE_OF_ANY_TYPE = (
    *("where", "fields", "workspace_ids", "bank_ids", "account_ids", "feed_ids"),
    *("workspace_id", "feed_id", "job_id", "bank_id"),
)


def rendered(kind: Any, **arguments: Any) -> Any:
    """Return the operator as it is when Airflow has rendered its arguments: they were templates in the DAG file."""
    late = {name: arguments[name] for name in LATE if isinstance(arguments.get(name), str)}
    late |= {name: arguments[name] for name in LATE_OF_ANY_TYPE if name in arguments}
    operator = kind(**{**arguments, **dict.fromkeys(late, "{{ params.later }}")})
    for name, value in late.items():
        setattr(operator, name, value)
    return operator


def sync_operator(**arguments: Any) -> BankSyncTriggerSyncOperator:
    """A sync operator that polls often."""
    return BankSyncTriggerSyncOperator(**{"task_id": "sync", "poll_interval": 0.05, **arguments})


def jobs_of(sandbox: BankSyncSandbox, feed_id: str) -> list[Any]:
    """The jobs of a feed, as the sandbox knows them."""
    return [job for job in sandbox.jobs if job["feedId"] == feed_id]


def refused_and_listed(sandbox: BankSyncSandbox, feed_id: str) -> bool:
    """Whether a sync of this feed was refused because a job was running, and its jobs were listed afterwards."""
    answers = [(answer.status, answer.path) for answer in sandbox.requests if feed_id in answer.path]
    refused = next((number for number, (status, _) in enumerate(answers) if status == 409), len(answers))
    return any(path.endswith("/jobs") for _, path in answers[refused:])


def was_polled(sandbox: BankSyncSandbox, job: dict[str, Any]) -> bool:
    """Whether the sandbox has answered a request for this job."""
    return any(request.path.endswith(f"/jobs/{job['id']}") for request in sandbox.requests)
