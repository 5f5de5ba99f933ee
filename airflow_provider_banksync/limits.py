"""How long a task waits: by its own ``timeout``, or by ``execution_timeout`` where Airflow does not see to that."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_banksync.exceptions import BankSyncJobTimeoutError

#: The trigger of a task with an `execution_timeout` ends this share of it early, but at most so many seconds: Airflow 2
#: would otherwise end the task before the job is cancelled.
EARLY_SHARE, EARLY_MOST = 0.1, 5.0


class Waits(Protocol):
    """What an operator that waits has."""

    timeout: float
    execution_timeout: timedelta | None
    deferrable: bool


@dataclass(frozen=True)
class Limit:
    """When to give up.

    :param deadline: the moment, in seconds since the epoch.
    :param name: what sets it: ``timeout`` or ``execution_timeout``.
    """

    deadline: float
    name: str = "timeout"

    @classmethod
    def of_try(cls, context: Context, task: Waits) -> Limit:
        """Return the limit of a try that begins.

        Where the task defers, its `execution_timeout` counts from the beginning of the try, as on Airflow 2; Airflow 3
        leaves out the time of a deferral.
        """
        now, timeout, execution_timeout = time.time(), task.timeout, task.execution_timeout
        if task.deferrable and execution_timeout is not None:
            began = getattr(context["ti"], "start_date", None)
            whole = execution_timeout.total_seconds()
            early = min(EARLY_SHARE * whole, EARLY_MOST)
            deadline = (began.timestamp() if began is not None else now) + whole - early
            if deadline < now + timeout:
                return cls(deadline, "execution_timeout")
        return cls(now + timeout)

    @classmethod
    def of_event(cls, event: dict[str, Any]) -> Limit:
        """Return the limit that the trigger was given; one of an earlier version was told no name."""
        return cls(event["deadline"], event.get("limit", "timeout"))

    def error(self, error: BankSyncJobTimeoutError) -> BaseException:
        """Return what the task raises when the time is up: what Airflow itself raises for a task in a worker."""
        return AirflowTaskTimeout(str(error)) if self.name == "execution_timeout" else error
