"""What differs between Airflow 2.11 and 3.x and has no name in the common.compat provider."""

from __future__ import annotations

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
    "mask_secret",
    "was_rescheduled",
]

#: The running Airflow: (3, 3).
AIRFLOW = tuple(int(part) for part in __version__.split(".")[:2])


def mask_secret(secret: str) -> None:
    """Have Airflow's logs show ``***`` in the place of a secret.

    common.compat has this name, but not in its last version for Python 3.10.
    """
    _masking().mask_secret(secret)


async def amask_secret(secret: str) -> None:
    """Do the same on an event loop: from Airflow 3 on, a supervisor is told of it, which must not block the loop."""
    masking = _masking()
    if hasattr(masking, "amask_secret"):  # Airflow 3.3
        await masking.amask_secret(secret)
    else:
        from asgiref.sync import sync_to_async

        await sync_to_async(mask_secret)(secret)


def was_rescheduled(context: Any) -> bool:
    """Tell whether this try of a sensor has looked before, in another process."""
    if AIRFLOW >= (3,):
        return bool(context.get("task_reschedule_count"))
    # Airflow 2 tells no task, and its own sensors ask the database.
    rows = import_module("airflow.models.taskreschedule").TaskReschedule
    with import_module("airflow.utils.session").create_session() as session:
        return session.scalar(rows.stmt_for_task_instance(context["ti"]).limit(1)) is not None


def _masking() -> Any:
    try:
        return import_module("airflow.sdk.log")
    except ImportError:  # Airflow 2
        return import_module("airflow.utils.log.secrets_masker")
