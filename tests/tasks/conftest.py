"""Runs an operator the way Airflow does, deferrals included, and shows what it left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_banksync.compat import AIRFLOW

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
