"""What the sensors have in common: every way to wait that Airflow has."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_banksync.api.checks import check_workspace_id
from airflow_provider_banksync.compat import AIRFLOW, StartTriggerArgs, was_rescheduled
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncError, BankSyncJobError
from airflow_provider_banksync.task import BankSyncTaskMixin, for_xcom, permanent_errors_fail

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.watches import Watch
    from airflow_provider_banksync.triggers.sensors import BankSyncSensorTrigger

#: As `triggers.sensors.DEFERRAL_GRACE`, which a DAG file need not load.
_GRACE = 600.0
#: Airflow 3.1 and 3.2 start no task in the triggerer; 3.3 renders templates there; those before it do not.
_STARTS_IN_TRIGGERER = AIRFLOW < (3, 1) or AIRFLOW >= (3, 3)
_RENDERS_IN_TRIGGERER = AIRFLOW >= (3, 3)
#: What a template may name that is rendered there.
_DATES = ("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz")
_IN_TRIGGERER = {
    "conn",
    "dag_run",
    "data_interval_end",
    "data_interval_start",
    "logical_date",
    "macros",
    "params",
}
_IN_TRIGGERER |= {"run_id", "task_instance", "ti", "var", *_DATES}
_XCOM_PULL = re.compile(r"xcom_pull\(([^()]*)\)")
_OTHER_OF_TI = re.compile(r"\b(?:ti|task_instance)\b(?!\.xcom_pull\()")


class BankSyncSensor(BankSyncTaskMixin, BaseSensorOperator):
    """Base of the sensors: waits by poking, rescheduled, on the triggerer, or without any worker at all.

    What is wrong is warned of once in each try of the task; ``mode="reschedule"``, where each look is a process of its
    own, logs it with the later looks as information, and what comes to light in those, too.

    ``timeout`` and ``soft_fail`` mean in each mode what they mean to Airflow. An error that no retry can cure fails
    the task at once.

    :param banksync_conn_id: connection to use.
    :param workspace_id: portal to look in (templated); None: the connection's workspace.
    :param deferrable: wait on the triggerer, without a worker. ``poke_interval`` is then the longest time between
        looks; the first ones come sooner.
    :param start_from_trigger: with `deferrable`, go to the triggerer straight from the scheduler, past any pool.
        With ``do_xcom_push=False``, too, and without outlets, hooks and callbacks for start or success, the task also
        ends there and no worker is used at all, unless it fails: a worker sees to its retries. (Listeners are not told
        of such an end.) Airflow 3.3 and later can, 2.11 and 3.0 where no field is templated. Where Airflow cannot, and
        for mapped tasks and templates that only a worker can render, a worker takes the task to the triggerer as
        without this. The triggerer renders ``params``, ``var``, ``conn``, ``macros``, ``dag_run``, the run's dates, and
        XComs of tasks that are not mapped.
    """

    #: Where the class of the trigger is, which a DAG file need not load.
    _trigger_path: str

    def __init__(
        self,
        *,
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        start_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if start_from_trigger and not deferrable:
            raise BankSyncConfigError("start_from_trigger=True needs deferrable=True.")
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id
        self.deferrable = deferrable
        self._watch: Watch[Any] | None = None

    def execute(self, context: Context) -> Any:
        """Wait, here or on the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        try:
            with permanent_errors_fail():
                trigger = self._trigger(deadline=time.time() + self.timeout)
                trigger.watch(self.log)  # for what is wrong with the arguments
        except AirflowFailException as error:  # as Airflow has it where a sensor pokes
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout + _GRACE),
        )
        return None

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once. A look that fails for a passing reason counts as "not yet"."""
        from airflow_provider_banksync.api import waits

        with permanent_errors_fail(BankSyncJobError):
            if self._watch is None:
                self._watch = self._trigger().watch(self.log)
                self._watch.again = self.reschedule and was_rescheduled(context)
            try:
                found = self.hook.get_conn().run(waits.look_once(self._watch, self.timeout))
            except BankSyncError as error:
                if not error.transient:
                    raise
                self.log.warning("Could not look: %s Waiting on.", error)
                found = None
            return PokeReturnValue(is_done=found is not None, xcom_value=for_xcom(found))

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Come back from the triggerer."""
        from airflow_provider_banksync.triggers.sensors import row_of_event

        with permanent_errors_fail(BankSyncJobError):
            row = row_of_event(event)
        if row is None:
            raise AirflowSensorTimeout(event["message"])
        return for_xcom(row)  # type: ignore[no-any-return]  # a dict stays a dict

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Come back from the triggerer; ``never_fail`` is for all errors, as where a sensor pokes."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSkipException:
            raise
        except Exception as error:
            if self.never_fail:
                raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
            raise

    def _trigger_arguments(self) -> dict[str, Any]:
        """Return what one wait has that another has not."""
        raise NotImplementedError

    def _trigger(self, **when: Any) -> BankSyncSensorTrigger:
        from airflow_provider_banksync.triggers import sensors

        if self._workspace_lost or self.workspace_id is not None:
            check_workspace_id(self.workspace_id)
        kind: type[BankSyncSensorTrigger] = getattr(sensors, self._trigger_path.rpartition(".")[2])
        return kind(**self._all_arguments(), **when)

    def _all_arguments(self) -> dict[str, Any]:
        return {
            **self._trigger_arguments(),
            "banksync_conn_id": self.banksync_conn_id,
            "workspace_id": self.workspace_id,
            "poll_interval": min(5.0, self.poke_interval),
            "max_poll_interval": self.poke_interval,
        }

    def _start_from_trigger(self, wanted: bool) -> None:
        """Have Airflow start the task in the triggerer, if it can; to be called when all arguments are in place."""
        if not wanted or not _STARTS_IN_TRIGGERER:
            return
        try:
            arguments = {name: self._for_triggerer(value) for name, value in self._all_arguments().items()}
        except _NeedsWorkerError as reason:
            self.log.debug("Task %s is not started in the triggerer: %s.", self.task_id, reason)
            return
        deferral = self.timeout + _GRACE
        if self.execution_timeout is not None:  # Airflow lets the deferral last no longer
            deferral = min(deferral, self.execution_timeout.total_seconds())
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls=self._trigger_path,
            trigger_kwargs={
                **arguments,
                "timeout": self.timeout,
                "leeway": deferral - self.timeout,
                "ends_task": not self._ends_in_worker(),
            },
            next_method="execute_complete",
            timeout=timedelta(seconds=self.timeout + _GRACE),
        )
        self.start_from_trigger = True

    def _for_triggerer(self, value: Any) -> Any:
        from airflow.providers.common.compat.sdk import XComArg

        if isinstance(value, XComArg):
            if self.get_dag() is None:
                raise _NeedsWorkerError("the XCom's DAG is not known yet")
            value = str(value)  # a template, where it is all that a task pushed
            if "{{" not in value:
                raise _NeedsWorkerError("only a worker maps and zips XComs")
        if not isinstance(value, str) or "{" not in value:
            return value
        if not _RENDERS_IN_TRIGGERER:
            raise _NeedsWorkerError("this Airflow renders no templates in the triggerer")
        if self.get_closest_mapped_task_group() is not None:
            raise _NeedsWorkerError("only a worker knows the map index")
        return _template_for_triggerer(value)

    def _ends_in_worker(self) -> bool:
        """Tell whether only a worker can do all that the end of this task asks for."""
        return bool(
            self.outlets
            or self.on_success_callback
            or self.on_execute_callback
            or self._pre_execute_hook
            or self._post_execute_hook
            # Airflow 3 encodes twice what its triggerer pushes; and it never asks the user's own XCom backend.
            or self.do_xcom_push
        )


class _NeedsWorkerError(Exception):
    """An argument has a value that only a worker can work out."""


def _template_for_triggerer(text: str) -> str:
    """Return a template in the form in which the triggerer can render it.

    It knows no macros of the user's, and asks for an XCom only where that is said to be of no mapped task; anything
    else that it would have to ask for, it waits for without an end.
    """
    from jinja2 import Environment, TemplateSyntaxError, meta

    text = _XCOM_PULL.sub(_pull_of_unmapped, text)
    environment = Environment(autoescape=True)
    environment.filters.update(dict.fromkeys(_DATES, str))  # Airflow's own filters are named as its dates
    try:
        names = meta.find_undeclared_variables(environment.parse(text))
    except TemplateSyntaxError as error:
        raise _NeedsWorkerError(str(error)) from error
    if unknown := names - _IN_TRIGGERER:
        raise _NeedsWorkerError(f"the triggerer does not know {', '.join(sorted(unknown))}")
    if _OTHER_OF_TI.search(text) or text.count("xcom_pull") != text.count("map_indexes="):
        raise _NeedsWorkerError("the triggerer cannot ask for all of that")
    return text


def _pull_of_unmapped(match: re.Match[str]) -> str:
    inside = match[1].strip().rstrip(",")
    if "map_indexes" in inside:
        return match[0]
    return f"xcom_pull({inside}, map_indexes=-1)" if inside else "xcom_pull(map_indexes=-1)"
