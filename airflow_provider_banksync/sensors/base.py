"""The base of the sensors: every way to wait that Airflow has."""

from __future__ import annotations

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

from airflow_provider_banksync.api.validation import validate_flags, validate_workspace_id
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncError, BankSyncJobError
from airflow_provider_banksync.tasks.base import (
    DEFERRAL_GRACE,
    BankSyncTaskMixin,
    fail_on_permanent_errors,
    log_deferral,
)
from airflow_provider_banksync.tasks.literals import validate_literal_arguments

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.api.flows.conditions import Condition
    from airflow_provider_banksync.api.retry_policy import NotFoundGrace
    from airflow_provider_banksync.triggers.sensors import BankSyncSensorTrigger


class BankSyncSensor(BankSyncTaskMixin, BaseSensorOperator):
    """Base of the sensors. A sensor waits in poke mode, in reschedule mode, on the triggerer, or without any worker.

    A problem is a WARNING once in each try, then INFO.

    ``timeout`` and ``soft_fail`` work as in Airflow's sensors, in each mode. An error that no retry can fix fails the
    task at once.

    :param banksync_conn_id: connection to use.
    :param workspace_id: workspace to poll, for example a portal (templated); None for the connection's.
    :param deferrable: wait on the triggerer, without a worker. ``poke_interval`` is then the maximum time between
        polls; the first polls come sooner.
    :param start_from_trigger: with `deferrable`, the scheduler starts the task in the triggerer, outside of any pool.
        With ``do_xcom_push=False``, and without outlets, hooks and callbacks for start or success, the task also ends
        there. It then needs a worker only if it fails. (Airflow notifies no listener of this.) Airflow 3.3 and later
        can do this; 2.11 and 3.0 can if no field is templated. Otherwise, and for mapped tasks and templates that only
        a worker can render, a worker starts the task. The triggerer renders ``params``, ``var``, ``conn``, ``macros``,
        ``dag_run``, the run's dates, and XComs of tasks that are not mapped.
    """

    _not_found: NotFoundGrace
    #: Path of the trigger's class, which a DAG file need not load.
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
        validate_flags(deferrable=deferrable, start_from_trigger=start_from_trigger)
        if start_from_trigger and not deferrable:
            raise BankSyncConfigError("start_from_trigger=True needs deferrable=True.")
        self.banksync_conn_id = banksync_conn_id
        validate_literal_arguments(workspace_id=workspace_id)
        self.workspace_id = workspace_id
        self.deferrable = deferrable
        self._condition: Condition[Any] | None = None

    def execute(self, context: Context) -> Any:
        """Wait, here or on the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        try:
            with fail_on_permanent_errors():
                trigger = self._trigger(deadline=time.time() + self.timeout)
                trigger.condition(self.log)  # raises if an argument is wrong
        except AirflowFailException as error:  # as Airflow does when a sensor pokes
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        log_deferral(self.log, "what this sensor waits for")
        self.defer(
            trigger=trigger,
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout + DEFERRAL_GRACE),
        )
        return None

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once. A poll that fails with a transient error counts as "not yet".

        So does a 404 that has not lasted a minute, or in reschedule mode a 404 in the first minute of the wait.
        """
        from airflow_provider_banksync.api.flows import polling
        from airflow_provider_banksync.api.retry_policy import NotFoundGrace
        from airflow_provider_banksync.compat import rescheduled_since

        with fail_on_permanent_errors(BankSyncJobError):
            if self._condition is None:
                self._condition = self._trigger().condition(self.log)
                since = rescheduled_since(context) if self.reschedule else None
                self._condition.already_warned = since is not None
                self._not_found = NotFoundGrace(since)
            try:
                row = self.hook.get_conn().run(polling.poll_once(self._condition, self.timeout))
            except BankSyncError as error:
                if not (polling.may_pass(error) or self._not_found.covers(error, time.time())):
                    raise
                self.log.warning("The poll failed: %s Polling again.", error)
                row = None
            else:
                self._not_found.reset()
            return PokeReturnValue(is_done=row is not None, xcom_value=self.to_xcom(row))

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Return the row that the triggerer waited for, or fail as the event says."""
        from airflow_provider_banksync.tasks.trigger_events import row_from_event

        with fail_on_permanent_errors(BankSyncJobError):
            row = row_from_event(event)
        if row is None:
            raise AirflowSensorTimeout(event["message"])
        return self.to_xcom(row)  # type: ignore[no-any-return]  # a dict stays a dict

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral, and skip the task after any error with ``never_fail``, as poke mode does."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSkipException:
            raise
        except Exception as error:
            if self.never_fail:
                raise AirflowSkipException("Skipping due to never_fail is set to True.") from error
            raise

    def _trigger_arguments(self) -> dict[str, Any]:
        """Return the arguments that only this sensor's trigger has."""
        raise NotImplementedError

    def _trigger(self, **when: Any) -> BankSyncSensorTrigger:
        from airflow_provider_banksync.triggers import sensors

        if self._workspace_rendered_empty or self.workspace_id is not None:
            validate_workspace_id(self.workspace_id)
        trigger: type[BankSyncSensorTrigger] = getattr(sensors, self._trigger_path.rpartition(".")[2])
        return trigger(**self._all_arguments(), **when)

    def _all_arguments(self) -> dict[str, Any]:
        return {
            **self._trigger_arguments(),
            "banksync_conn_id": self.banksync_conn_id,
            "workspace_id": self.workspace_id,
            "poll_interval": min(5.0, self.poke_interval),
            "max_poll_interval": self.poke_interval,
        }

    def _start_from_trigger(self, enabled: bool) -> None:
        """Let Airflow start the task in the triggerer, if it can. Call this when all arguments are set."""
        if not enabled:
            return
        from airflow_provider_banksync.tasks.start_from_trigger import start_trigger_args

        arguments = start_trigger_args(
            self, self._trigger_path, self._all_arguments(), ends_task=not self._needs_worker_to_finish()
        )
        if arguments is not None:
            self.start_trigger_args = arguments
            self.start_from_trigger = True

    def _needs_worker_to_finish(self) -> bool:
        return bool(
            self.outlets
            or self.on_success_callback
            or self.on_execute_callback
            or self._pre_execute_hook
            or self._post_execute_hook
            # Airflow 3 encodes an XCom of its triggerer twice, and ignores the user's XCom backend there.
            or self.do_xcom_push
        )
