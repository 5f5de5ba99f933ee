"""Runs an operator the way Airflow does, deferrals included, and shows what it left behind."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_banksync.compat import AIRFLOW

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox import BankSyncSandbox

#: A sandbox whose jobs go on until the test lets them end, see ``ending``. It is noon there: BankSync's own jobs, which
#: are in anybody's way, begin at night.
HELD = {"job_seconds": (600, 600), "row_error_share": 0, "now": datetime(2026, 3, 4, 12, tzinfo=timezone.utc)}

Said = Callable[[], str]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Said:
    """Give what was logged since the last call.

    Airflow 2 logs, 3 writes to the terminal where no task runs, and 3.0 may do both.
    """

    def read() -> str:
        messages = [record.getMessage() for record in caplog.records]
        written = capsys.readouterr().out.splitlines() if AIRFLOW >= (3,) else []
        alone = [line for line in written if not any(message and message in line for message in messages)]
        text = "\n".join([*messages, *alone])
        caplog.clear()
        return text

    return read


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
        while not over.wait(0.1):
            sandbox.clock.advance(601)

    clock = threading.Thread(target=end_them)
    clock.start()
    try:
        yield
    finally:
        over.set()
        clock.join()


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
