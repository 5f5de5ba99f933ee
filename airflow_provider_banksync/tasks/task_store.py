"""Airflow's task state store, and how Airflow counts tries: what the tries of a task share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.tasks.xcom import storable

if TYPE_CHECKING:
    import logging

    from airflow.providers.common.compat.sdk import Context


@dataclass(frozen=True)
class TaskTries:
    """Which try of a task this is.

    Only clearing a task raises ``max_tries``. The tries since then belong together.

    :param number: number of this try. Clearing the task does not reset it.
    :param first_try: number of the first try since the task was last cleared.
    :param dag_run_started_at: seconds since the epoch; None if Airflow does not say.
    """

    number: int
    max_tries: int
    first_try: int
    dag_run_started_at: float | None

    @classmethod
    def from_context(cls, context: Context, *, retries: int) -> TaskTries:
        """Return what Airflow's context says; `retries` are the task's."""
        ti: Any = context["ti"]
        max_tries = getattr(ti, "max_tries", retries)
        started_at = getattr(context.get("dag_run"), "start_date", None)
        return cls(
            number=getattr(ti, "try_number", 1),
            max_tries=max_tries,
            first_try=max_tries - retries + 1,
            dag_run_started_at=None if started_at is None else started_at.timestamp(),
        )

    @property
    def is_last(self) -> bool:
        """Whether Airflow will not retry the task after this try."""
        return self.number > self.max_tries

    @property
    def is_retry(self) -> bool:
        """Whether a try came before this one since the task was last cleared."""
        return self.number > self.first_try


class TaskStore:
    """Airflow's task state store, which exists in Airflow 3.3 and later. It outlives a clearing of the task.

    False if there is none: on older Airflow, with ``durable=False``, and after its backend has failed once. It then
    returns None and stores nothing, so that no task fails because of it. A retry asks BankSync instead.
    """

    def __init__(self, context: Context, log: logging.Logger | Any, *, durable: bool) -> None:
        self._log = log
        self._store: Any = context.get("task_state_store") if durable else None

    def __bool__(self) -> bool:
        return self._store is not None

    def get(self, key: str) -> Any:
        """Return the stored value; None if there is none."""
        return self._call("get", key)

    def set(self, key: str, value: Any) -> None:
        """Store a value."""
        self._call("set", key, storable(value))

    def delete(self, key: str) -> None:
        """Delete a value."""
        self._call("delete", key)

    def _call(self, name: str, *arguments: Any) -> Any:
        if self._store is None:
            return None
        try:
            return getattr(self._store, name)(*arguments)
        except Exception as error:  # noqa: BLE001 - the backend is a plug-in of Airflow's users
            self._log.warning(
                "Airflow's task state store failed (%s). A retry of this task asks BankSync for its jobs instead.",
                type(error).__name__,
            )
            self._store = None
            return None
