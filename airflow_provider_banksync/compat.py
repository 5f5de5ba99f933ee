"""Names that differ between Airflow 2.11 and 3.x, and that the common.compat provider does not have."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from airflow import __version__
from airflow.triggers.base import BaseTrigger, StartTriggerArgs, TaskSuccessEvent, TriggerEvent

__all__ = [
    "AIRFLOW",
    "BaseTrigger",
    "StartTriggerArgs",
    "TaskSuccessEvent",
    "TriggerEvent",
    "amask_secret",
    "expand_input",
    "mapped_arguments",
    "mask_secret",
    "read_xcom",
    "redact_secrets",
    "rescheduled_since",
    "stored_size",
    "task_state",
    "write_xcom",
]

#: Version of the running Airflow, for example (3, 3).
AIRFLOW = tuple(int(part) for part in __version__.split(".")[:2])


def mask_secret(secret: str) -> None:
    """Make Airflow's logs show ``***`` instead of a secret.

    The last version of common.compat for Python 3.10 lacks this name.
    """
    _masking().mask_secret(secret)


async def amask_secret(secret: str) -> None:
    """Do the same without blocking the event loop. In Airflow 3 it is a message to another process."""
    masking = _masking()
    if hasattr(masking, "amask_secret"):  # Airflow 3.3
        await masking.amask_secret(secret)
    else:
        from asgiref.sync import sync_to_async

        await sync_to_async(mask_secret)(secret)


def redact_secrets(text: str) -> str:
    """Return a text with ``***`` for each secret that Airflow knows in this process."""
    masking = _masking()
    if not hasattr(masking, "redact"):  # Airflow 3.0
        masking = import_module("airflow.sdk.execution_time.secrets_masker")
    try:
        return str(masking.redact(text))
    except RuntimeError:  # Airflow 2, with a logging configuration that masks nothing
        return text


def stored_size(value: Any) -> int:
    """Return the bytes that Airflow's database takes for a value of an XCom."""
    module = "airflow.sdk.bases.xcom" if AIRFLOW >= (3,) else "airflow.models.xcom"
    stored = import_module(module).BaseXCom.serialize_value(value)
    return len(stored if isinstance(stored, bytes) else json.dumps(stored))


def rescheduled_since(context: Any) -> float | None:
    """Return when a sensor first polled, if it has polled before, in another process. None: this is its first poll.

    In seconds since the epoch; 0.0 if Airflow does not say when.
    """
    if AIRFLOW >= (3,):
        if not context.get("task_reschedule_count"):
            return None
        first = context["ti"].get_first_reschedule_date(context) if "ti" in context else None
        return first.timestamp() if first is not None else 0.0
    # Airflow 2 has no such value. Its own sensors also query the database.
    rows = import_module("airflow.models.taskreschedule").TaskReschedule
    with import_module("airflow.utils.session").create_session() as session:
        row = session.scalar(rows.stmt_for_task_instance(context["ti"]).limit(1))
        return None if row is None else row.start_date.timestamp()


def task_state(instance: Any) -> str | None:
    """Ask Airflow for the state of a trigger's task instance. None: the task was cleared.

    :raises Exception: Airflow is older than 3.3, or the triggerer does not answer, or the task is gone.
    """
    runner = import_module("airflow.sdk.execution_time.task_runner")
    states = runner.RuntimeTaskInstance.get_task_states(
        instance.dag_id, map_index=instance.map_index, task_ids=[instance.task_id], run_ids=[instance.run_id]
    )
    (state,) = states[instance.run_id].values()
    return None if state is None else str(state)


def read_xcom(instance: Any, key: str) -> Any:
    """Return an XCom of a task instance, in its task or in its trigger; None: there is none.

    :raises Exception: Airflow is older than 3.3, or it does not answer.
    """
    return _xcom().get_one(key=key, **_ids_of(instance))


def write_xcom(instance: Any, key: str, value: Any) -> None:
    """Write an XCom of a task instance, in its task or in its trigger.

    :raises Exception: as `read_xcom`.
    """
    _xcom().set(key, value, **_ids_of(instance))


def _xcom() -> Any:
    return import_module("airflow.sdk.execution_time.xcom").XCom


def _ids_of(instance: Any) -> dict[str, Any]:
    return {name: getattr(instance, name) for name in ("dag_id", "task_id", "run_id", "map_index")}


def expand_input(task: Any) -> Any:
    """Return what a task is mapped over; None if it is not mapped. Airflow has no public name for it."""
    get = getattr(task, "_get_specified_expand_input", None)
    return None if get is None else get()


def mapped_arguments(task: Any, context: Any) -> Any:
    """Return the arguments that a mapped task gets from what it is mapped over."""
    if AIRFLOW >= (3,):
        return expand_input(task).resolve(context)[0]
    with import_module("airflow.utils.session").create_session() as session:
        return expand_input(task).resolve(context, session)[0]


def _masking() -> Any:
    try:
        return import_module("airflow.sdk.log")
    except ImportError:  # Airflow 2
        return import_module("airflow.utils.log.secrets_masker")
