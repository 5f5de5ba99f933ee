"""The days that a DAG run reads, and the time that names its batch."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_provider_banksync.api.validation import validate_days
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.extract.windows import Window, previous_schedule_time, window_of_interval

if TYPE_CHECKING:
    from datetime import date

    from airflow.providers.common.compat.sdk import Context


def window_of_run(context: Context, from_date: str | date | None, to_date: str | date | None) -> Window:
    """Return the days that a run reads: those of the arguments, or those that ended in its data interval.

    :raises AirflowSkipException: if no day ended in the data interval.
    :raises BankSyncConfigError: if the arguments are wrong, or if there are none and it is unknown when the run before
        was due.
    """
    first, last = validate_days(from_date, to_date)
    if last and not first:
        raise BankSyncConfigError("to_date needs a from_date.")
    if first and last:
        return Window.from_days(first, last)
    window = _interval_window(context, only_last=first is not None)
    if window is None:
        raise AirflowSkipException(
            "No day ended in the data interval of the run, so there is nothing to read."
        )
    last = window.last.isoformat()
    if first and first > last:
        raise BankSyncConfigError(
            f"from_date {first} is after the last day of the data interval of the run, {last}."
        )
    return Window.from_days(first, last) if first else window


def _interval_window(context: Context, *, only_last: bool) -> Window | None:
    """Return the days that ended in the data interval of the run.

    :param only_last: the caller uses only the last of them.
    """
    dag = context["dag"]
    start: datetime | None = context.get("data_interval_start")
    end: datetime | None = context.get("data_interval_end")
    if start is None or end is None:
        start = end = due_time(context)
    if start == end and _is_scheduled(context):
        timetable = getattr(dag, "timetable", None)
        start = previous_schedule_time(timetable, end) or (end if only_last else None)
        if start is None:
            raise BankSyncConfigError(
                f"the timetable {type(timetable).__name__} gives the run no data interval, and does not tell when the "
                "run before it was due. So it is unknown which days to read.",
                hint="Pass from_date, and to_date if you need it.",
            )
    return window_of_interval(start, end, dag.timezone)


def _is_scheduled(context: Context) -> bool:
    run_type = getattr(context["dag_run"], "run_type", None)
    return getattr(run_type, "value", run_type) in ("scheduled", "backfill")


def due_time(context: Context) -> datetime:
    """Return when the run was due. Later runs have later times."""
    run = context["dag_run"]
    moment = getattr(run, "run_after", None)
    if moment is None:  # Airflow 2
        # The interval of a run that datasets triggered is that of the runs which wrote them, however old.
        moment = context.get("data_interval_end") if _is_scheduled(context) else None
        moment = moment or getattr(run, "execution_date", None) or context.get("logical_date")
    return moment or datetime.now(timezone.utc)
