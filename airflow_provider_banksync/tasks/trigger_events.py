"""Build and read the events of triggers.

An event is a dict with a ``status``. Rows travel as JSON text, so that numbers keep every digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync import exceptions
from airflow_provider_banksync.api import codec
from airflow_provider_banksync.compat import redact_secrets
from airflow_provider_banksync.exceptions import BankSyncError, BankSyncJobTimeoutError
from airflow_provider_banksync.tasks.xcom import storable

if TYPE_CHECKING:
    from airflow_provider_banksync.api.family.state import FeedResult


def encode_rows(rows: Any) -> str:
    """Return rows as the JSON text of an event."""
    return codec.dumps(storable(rows)).decode()


def error_to_event(error: BankSyncError) -> dict[str, Any]:
    """Return an error as the ``error`` of an event."""
    return {"type": type(error).__name__, "message": redact_secrets(storable(str(error)))}


def raise_event_error(error: dict[str, Any]) -> None:
    """Raise, in the task, the error that the trigger met."""
    kind = getattr(exceptions, str(error.get("type")), BankSyncError)
    if not (isinstance(kind, type) and issubclass(kind, BankSyncError)):
        kind = BankSyncError
    raise kind(str(error.get("message", "the trigger failed without a reason")))


def job_from_event(event: Any) -> dict[str, Any]:
    """Return the ended job of an event of `BankSyncJobTrigger`.

    :raises BankSyncJobTimeoutError: the wait timed out. `.job` is the job's last known state.
    :raises BankSyncError: the trigger's error; or the event is unknown.
    """
    from airflow_provider_banksync.api.jobs import describe

    job: dict[str, Any] = _read_rows(event, ("ended", "timeout"), "job")
    if event["status"] == "timeout":
        raise BankSyncJobTimeoutError(
            f"the wait timed out. Last known state: {describe(job)}.",
            job=job,
            hint=str(event.get("left_running") or ""),
        )
    return job


def row_from_event(event: Any) -> dict[str, Any] | None:
    """Return the row of an event of a sensor's trigger; None if the wait timed out.

    :raises BankSyncError: the trigger's error; or the event is unknown.
    """
    if isinstance(event, dict) and event.get("status") == "timeout":
        return None
    row: dict[str, Any] = _read_rows(event, ("found",), "row")
    return row


def results_from_event(event: Any) -> list[FeedResult]:
    """Return the results of the feeds of an event of `BankSyncFamilyJobsTrigger`.

    An event with an error has results, too.

    :raises BankSyncError: the event is unknown.
    """
    _read_rows(event, ("ended", "error"), "results")
    return decode_results(event["results"])


def decode_results(text: str | bytes) -> list[FeedResult]:
    """Return the results of feeds from their JSON text.

    :raises BankSyncError: they are unknown.
    """
    from airflow_provider_banksync.api.family.state import FeedResult

    try:
        return [FeedResult(**row) for row in codec.loads(text)]
    except TypeError as error:
        raise BankSyncError(f"the trigger sent unknown results: {error}.") from error


def _read_rows(event: Any, statuses: tuple[str, ...], key: str) -> Any:
    """Return the rows under this key of an event. Raise the event's error if its status is not one of these."""
    if not isinstance(event, dict):
        raise BankSyncError(f"the trigger sent {type(event).__name__}, not an event of this provider.")
    status = event.get("status")
    if status == "error" and status not in statuses and isinstance(event.get("error"), dict):
        raise_event_error(event["error"])
    if status not in statuses or not isinstance(event.get(key), str):
        raise BankSyncError(f"the trigger sent an unknown event: status {status!r}, without {key}.")
    return codec.loads(event[key])
