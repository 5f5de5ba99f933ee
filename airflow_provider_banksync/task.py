"""What the operators and sensors share: the hook, what an error means to Airflow, what fits into XCom."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_banksync import exceptions
from airflow_provider_banksync.api.checks import moment, seconds
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

    from airflow_provider_banksync.hooks.banksync import BankSyncHook

__all__ = [
    "BankSyncTaskMixin",
    "error_payload",
    "for_xcom",
    "moment",
    "permanent_errors_fail",
    "progress_log",
    "raise_error",
    "require_id",
    "seconds",
]

#: What to do about a job of a feed that is queued or running already.
IF_RUNNING = ("attach", "wait", "skip", "fail")
#: A job that goes on is mentioned in the log when its status changes, and otherwise this often (seconds).
PROGRESS_EVERY = 60.0


@contextmanager
def permanent_errors_fail(*also: type[BankSyncError]) -> Iterator[None]:
    """Fail the task at once where a retry cannot help; let every other error through to the task's retries.

    :param also: errors that no retry of this task can cure, although they are not permanent as such.
    """
    try:
        yield
    except BankSyncError as error:
        if error.permanent or isinstance(error, also):
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        raise


class BankSyncTaskMixin:
    """Gives an operator or a sensor its hook, by its ``banksync_conn_id`` and ``workspace_id``."""

    banksync_conn_id: str
    workspace_id: str | None
    _workspace_lost = False

    def _do_render_template_fields(self, *args: Any, **kwargs: Any) -> None:
        """Render, and see whether a template or an XCom for the workspace gave nothing. Mapped tasks call this, too."""
        given = self.workspace_id
        super()._do_render_template_fields(*args, **kwargs)  # type: ignore[misc]  # the operator's
        self._workspace_lost = given is not None and self.workspace_id is None

    @cached_property
    def hook(self) -> BankSyncHook:
        """The hook; made when the task runs, so that a DAG file loads no HTTP library.

        :raises BankSyncConfigError: ``workspace_id`` was given, but is empty now: that would address the parent.
        """
        from airflow_provider_banksync.hooks.banksync import BankSyncHook

        if self._workspace_lost:
            require_id("workspace_id", self.workspace_id)
        return BankSyncHook(self.banksync_conn_id, workspace_id=self.workspace_id)


def require_id(name: str, value: object) -> str:
    """Return a rendered id.

    :raises BankSyncConfigError: when a template or an XCom left it empty, or it is not text.
    """
    if not isinstance(value, str) or not value.strip() or value == "None":
        raise BankSyncConfigError(
            f"{name} is {value!r}; it must be the id of one in BankSync.",
            hint="If it is a template or an XCom, look at what that gave in the rendered template.",
        )
    return value


def progress_log(
    log: logging.Logger | Any, *, clock: Callable[[], float] = time.monotonic
) -> Callable[[Any], None]:
    """Return a function that logs a job now and then: at each change of its status, and once a minute."""
    last: dict[str, Any] = {"status": None, "at": 0.0}

    def on_progress(job: dict[str, Any]) -> None:
        from airflow_provider_banksync.api.jobs import describe

        if job.get("status") != last["status"] or clock() - last["at"] >= PROGRESS_EVERY:
            last.update(status=job.get("status"), at=clock())
            log.info("%s", describe(job))

    return on_progress


def for_xcom(value: Any) -> Any:
    """Return the value with every number in a form that comes out of XCom as it went in.

    Airflow stores a `Decimal` as a float and reads it back as a `Decimal`, which keeps 15 digits and no more. A
    number that this would round is handed over as text, with every digit.
    """
    from decimal import Decimal

    if isinstance(value, dict):
        return {name: for_xcom(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [for_xcom(entry) for entry in value]
    if isinstance(value, Decimal) and Decimal(str(float(value))) != value:
        return str(value)
    return value


def error_payload(error: BankSyncError) -> dict[str, Any]:
    """Return what a trigger sends of an error, for `raise_error`."""
    return {"type": type(error).__name__, "message": str(error)}


def raise_error(payload: dict[str, Any]) -> None:
    """Raise the error that a trigger met, in the task, as what it was."""
    kind = getattr(exceptions, str(payload.get("type")), BankSyncError)
    if not (isinstance(kind, type) and issubclass(kind, BankSyncError)):
        kind = BankSyncError
    raise kind(str(payload.get("message", "the trigger failed without a reason")))
