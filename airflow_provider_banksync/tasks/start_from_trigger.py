"""What Airflow needs to start a sensor in the triggerer, without a worker, and when it cannot."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.compat import AIRFLOW, StartTriggerArgs
from airflow_provider_banksync.tasks.base import DEFERRAL_GRACE, is_empty_param

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseSensorOperator

#: Airflow 3.1 and 3.2 start no task in the triggerer. 3.3 renders templates there, and earlier versions do not.
_STARTS_IN_TRIGGERER = AIRFLOW < (3, 1) or AIRFLOW >= (3, 3)
_RENDERS_IN_TRIGGERER = AIRFLOW >= (3, 3)
#: The names that the triggerer can render.
_DATES = ("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz")
_KNOWN_NAMES = {
    "conn",
    "dag_run",
    "data_interval_end",
    "data_interval_start",
    "logical_date",
    "macros",
    "params",
    "run_id",
    "task_instance",
    "ti",
    "var",
    *_DATES,
}
_XCOM_PULL = re.compile(r"xcom_pull\(([^()]*)\)")
_OTHER_TI_ATTRIBUTES = re.compile(r"\b(?:ti|task_instance)\b(?!\.xcom_pull\()")


class _NeedsWorkerError(Exception):
    """Only a worker can render an argument."""


def start_trigger_args(
    sensor: BaseSensorOperator, trigger_path: str, arguments: dict[str, Any], *, ends_task: bool
) -> StartTriggerArgs | None:
    """Return what Airflow needs to start the sensor's trigger; None if a worker must start the task.

    :param ends_task: the trigger may end the task without a worker.
    """
    if not _STARTS_IN_TRIGGERER:
        return None
    try:
        rendered = {name: _render_for_triggerer(sensor, value) for name, value in arguments.items()}
    except _NeedsWorkerError as reason:
        sensor.log.debug("A worker starts task %s, not the triggerer: %s.", sensor.task_id, reason)
        return None
    deferral = sensor.timeout + DEFERRAL_GRACE
    if sensor.execution_timeout is not None:  # Airflow ends the deferral after that
        deferral = min(deferral, sensor.execution_timeout.total_seconds())
    return StartTriggerArgs(
        trigger_cls=trigger_path,
        trigger_kwargs={
            **rendered,
            "timeout": sensor.timeout,
            "leeway": deferral - sensor.timeout,
            "ends_task": ends_task,
        },
        next_method="execute_complete",
        timeout=timedelta(seconds=sensor.timeout + DEFERRAL_GRACE),
    )


def _render_for_triggerer(sensor: BaseSensorOperator, value: Any) -> Any:
    """Return an argument in a form that the triggerer can render."""
    from airflow.providers.common.compat.sdk import XComArg

    if isinstance(value, XComArg):
        if sensor.get_dag() is None:
            raise _NeedsWorkerError("the DAG of the XCom is not known yet")
        value = str(value)  # a template, unless the XCom is mapped or zipped
        if "{{" not in value:
            raise _NeedsWorkerError("only a worker can map and zip XComs")
    if not isinstance(value, str) or "{" not in value:
        return value
    if (dag := sensor.get_dag()) is not None and is_empty_param(value, dag.params):
        raise _NeedsWorkerError("only a worker passes on that a param is None")
    if not _RENDERS_IN_TRIGGERER:
        raise _NeedsWorkerError("this Airflow renders no templates in the triggerer")
    if sensor.get_closest_mapped_task_group() is not None:
        raise _NeedsWorkerError("only a worker knows the map index")
    return _check_template(value)


def _check_template(text: str) -> str:
    """Return a template that the triggerer can render.

    It knows no user-defined macros. It can pull an XCom only if the template says that the task is not mapped. If
    it has to request anything else, it waits forever.
    """
    from jinja2 import Environment, TemplateSyntaxError, meta

    text = _XCOM_PULL.sub(_add_map_index, text)
    environment = Environment(autoescape=True)
    environment.filters.update(dict.fromkeys(_DATES, str))  # Airflow has filters of these names
    try:
        names = meta.find_undeclared_variables(environment.parse(text))
    except TemplateSyntaxError as error:
        raise _NeedsWorkerError(str(error)) from error
    if unknown := names - _KNOWN_NAMES:
        raise _NeedsWorkerError(f"the triggerer does not know {', '.join(sorted(unknown))}")
    if _OTHER_TI_ATTRIBUTES.search(text) or text.count("xcom_pull") != text.count("map_indexes="):
        raise _NeedsWorkerError(
            "the triggerer cannot render this attribute of the task instance, or this xcom_pull"
        )
    return text


def _add_map_index(match: re.Match[str]) -> str:
    inside = match[1].strip().rstrip(",")
    if "map_indexes" in inside:
        return match[0]
    return f"xcom_pull({inside}, map_indexes=-1)" if inside else "xcom_pull(map_indexes=-1)"
