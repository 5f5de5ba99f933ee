"""What operators, sensors, triggers and transfers share: the hook, errors, deadlines, values for XCom."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowTaskTimeout

from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncError, BankSyncNotFoundError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.exceptions import BankSyncJobTimeoutError
    from airflow_provider_banksync.hooks.banksync import BankSyncHook

T = TypeVar("T")
#: Seconds between two attempts of `outlast_not_found`.
NOT_FOUND_INTERVAL = 2.0
#: Characters of a text in an XCom or an asset event. All errors of a family sync share `MAX_ERRORS` characters, but
#: each has at least `MIN_ERROR`.
MAX_TEXT, MAX_ERRORS, MIN_ERROR = 300, 256 * 1024, 100
#: Airflow ends a deferral this long (seconds) after the trigger's deadline. The trigger needs the time for a final poll
#: and to cancel jobs, so that its event reports the result.
DEFERRAL_GRACE = 600.0
#: A trigger stops this share of the `execution_timeout` early, but at most this many seconds. Otherwise Airflow 2 ends
#: the task before the trigger has cancelled the job.
CANCEL_SHARE, MAX_CANCEL_TIME = 0.1, 5.0
#: ``{{ params.name }}`` or ``{{ params["name"] }}``.
_ONE_PARAM = re.compile(r"""\s*\{\{-?\s*params(?:\.(\w+)|\[["'](.+?)["']\])\s*-?\}\}\s*""")
#: Seconds between two log lines about a job whose status does not change.
PROGRESS_INTERVAL = 60.0


def outlast_not_found(action: Callable[[], T], log: logging.Logger | Any) -> T:
    """Call a function again after each 404, for up to a minute.

    Use it if a listing has just had the object. A replica of BankSync may not have it yet.

    :raises BankSyncNotFoundError: the 404 lasts.
    """
    from airflow_provider_banksync.api import retry_policy

    grace = retry_policy.NotFoundGrace()
    while True:
        try:
            return action()
        except BankSyncNotFoundError as error:
            if not grace.covers(error, time.monotonic()):
                raise
            log.info("%s The object may be new. Trying again.", error)
            time.sleep(min(NOT_FOUND_INTERVAL, retry_policy.NOT_FOUND_GRACE))


@contextmanager
def fail_on_permanent_errors(*more: type[BankSyncError]) -> Iterator[None]:
    """Fail the task without retries if the error is permanent. Other errors pass through, and Airflow retries.

    No error quotes a secret that Airflow knows, such as a rendered argument from a connection.

    :param more: errors that no retry of this task can fix, although they are not permanent in general.
    """
    try:
        yield
    except BankSyncError as error:
        _hide_secrets(error)
        if error.permanent or isinstance(error, more):
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        raise
    except AirflowException as error:
        _hide_secrets(error)
        raise


def _hide_secrets(error: BaseException) -> None:
    """Remove each secret that Airflow knows from an error, and from the error that caused it."""
    from airflow_provider_banksync.compat import redact_secrets
    from airflow_provider_banksync.tasks.xcom import storable  # Airflow 2 cannot redact half an emoji

    for each in (error, error.__cause__):
        if isinstance(each, BankSyncError):
            each.rewrite(lambda text: redact_secrets(storable(text)))
        elif isinstance(each, AirflowException):
            each.args = tuple(
                redact_secrets(storable(text)) if isinstance(text, str) else text for text in each.args
            )


class BankSyncTaskMixin:
    """The hook of an operator or a sensor, from its ``banksync_conn_id`` and ``workspace_id``."""

    banksync_conn_id: str
    workspace_id: str | None
    _workspace_rendered_empty = False
    #: What other tasks return, and clients named, is no template: see `tasks.xcom`.
    takes_rows_unrendered = True

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Render, and note whether the template of the workspace rendered as empty. Mapped tasks also call it.

        A template that is one param, such as ``{{ params.workspace_id }}``, keeps the param's None.
        """
        from airflow_provider_banksync.tasks.xcom import row_texts

        before = self.workspace_id
        params = context.get("params") or {}
        left_empty = [name for name in template_fields if is_empty_param(getattr(parent, name, None), params)]
        if parent is self:
            seen_oids |= row_texts(self, context, template_fields)
        super()._do_render_template_fields(  # type: ignore[misc]  # the operator's
            parent, template_fields, context, jinja_env, seen_oids
        )
        for name in left_empty:
            setattr(parent, name, None)
        became_empty = before is not None and self.workspace_id is None
        self._workspace_rendered_empty = became_empty and "workspace_id" not in left_empty

    def to_xcom(self, value: Any) -> Any:
        """Return a result in a form that XCom returns unchanged, and that no task downstream renders."""
        from airflow_provider_banksync.tasks.xcom import to_xcom, withhold_templates

        return withhold_templates(self, to_xcom(value))

    @cached_property
    def hook(self) -> BankSyncHook:
        """The hook. It is created when the task runs, so that a DAG file loads no HTTP library.

        :raises BankSyncConfigError: the template of ``workspace_id`` rendered as empty. None would address the parent.
        """
        from airflow_provider_banksync.hooks.banksync import BankSyncHook

        if self._workspace_rendered_empty:
            require_id("workspace_id", self.workspace_id)
        return BankSyncHook(self.banksync_conn_id, workspace_id=self.workspace_id)


def is_empty_param(template: object, params: Any) -> bool:
    """Tell whether a template is one param and nothing else, and the param is None. Jinja writes it as "None"."""
    match = _ONE_PARAM.fullmatch(template) if isinstance(template, str) else None
    name = match and (match[1] or match[2])
    return bool(name) and name in params and params[name] is None


def require_id(name: str, value: object) -> str:
    """Return a rendered id.

    :raises BankSyncConfigError: it is empty or not text, for example because an XCom does not exist.
    """
    if not isinstance(value, str) or not value.strip() or value == "None":
        raise BankSyncConfigError(
            f"{name} is {value!r}; it must be the id of an object in BankSync.",
            hint="If it is a template or an XCom, check its value under Rendered Templates.",
        )
    return value


def shorten(value: Any, most: int) -> Any:
    """Return a text with at most this many characters. Other values stay."""
    return f"{value[: most - 1]}…" if isinstance(value, str) and len(value) > most else value


def bound_errors(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the rows of a result with short texts. The more rows have an error, the shorter each error is."""
    errors = sum(row["error"] is not None for row in rows.values())
    most_of_error = max(MIN_ERROR, MAX_ERRORS // max(errors, 1))
    return {
        key: {
            name: shorten(value, most_of_error if name == "error" else MAX_TEXT)
            for name, value in row.items()
        }
        for key, row in rows.items()
    }


def log_deferral(log: logging.Logger | Any, what: str) -> None:
    """Log what the triggerer waits for from now on, and what to check if it does not."""
    log.info(
        "Deferring: the triggerer waits for %s. If this log does not go on, check that a triggerer runs: without one, "
        "the task waits past its timeout.",
        what,
    )


def log_cancellation(
    log: logging.Logger | Any,
    feed_id: str,
    job_id: str,
    outcome: bool | str | None,
    reason: str = "the task timed out",
) -> None:
    """Log the outcome of a cancellation: True, the error, or None if the task did not try to cancel."""
    if outcome is True:
        log.info("Cancelled job %s of feed %s: %s.", job_id, feed_id, reason)
    elif outcome:
        log.warning("Could not cancel job %s of feed %s: %s", job_id, feed_id, outcome)


def progress_logger(log: logging.Logger | Any) -> Callable[[Any], None]:
    """Return a function that logs a job if its status has changed, or if a minute has passed."""
    last: dict[str, Any] = {"status": None, "at": 0.0}

    def on_progress(job: dict[str, Any]) -> None:
        from airflow_provider_banksync.api.jobs import describe

        now = time.monotonic()
        if job.get("status") != last["status"] or now - last["at"] >= PROGRESS_INTERVAL:
            last.update(status=job.get("status"), at=now)
            log.info("%s", describe(job))

    return on_progress


@dataclass(frozen=True)
class TaskDeadline:
    """When a task stops waiting.

    :param deadline: seconds since the epoch.
    :param source: what sets it: ``timeout`` or ``execution_timeout``.
    """

    deadline: float
    source: str = "timeout"

    @classmethod
    def for_try(
        cls, context: Context, timeout: float, execution_timeout: timedelta | None, deferrable: bool
    ) -> TaskDeadline:
        """Return the deadline of a try that starts now.

        Airflow 3 does not count a deferral towards `execution_timeout`. A deferrable task counts it from the start of
        the try, in every version.
        """
        now = time.time()
        if deferrable and execution_timeout is not None:
            started_at = getattr(context["ti"], "start_date", None)
            seconds = execution_timeout.total_seconds()
            deadline = (started_at.timestamp() if started_at is not None else now) + seconds
            deadline -= min(CANCEL_SHARE * seconds, MAX_CANCEL_TIME)
            if deadline < now + timeout:
                return cls(deadline, "execution_timeout")
        return cls(now + timeout)

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> TaskDeadline:
        """Return the deadline that the trigger had."""
        return cls(event["deadline"], event.get("limit", "timeout"))

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; 0 if it has passed."""
        return max(0.0, self.deadline - time.time())

    def to_exception(self, error: BankSyncJobTimeoutError) -> BaseException:
        """Return what the task raises: for an `execution_timeout`, the error that Airflow raises in a worker."""
        return AirflowTaskTimeout(str(error)) if self.source == "execution_timeout" else error
