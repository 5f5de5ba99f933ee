"""Airflow's task state store, which no task must fail for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

    from airflow.providers.common.compat.sdk import Context


class TaskStore:
    """What tries of a task share, on Airflow 3.3 and later.

    False where there is none: on older Airflow, with ``durable=False``, and from the first failure of its backend on,
    which is warned of. It then gives None and keeps nothing, and a retry asks BankSync, as on older Airflow.
    """

    def __init__(self, context: Context, log: logging.Logger | Any, *, durable: bool) -> None:
        self._log = log
        self._store: Any = context.get("task_state_store") if durable else None

    def __bool__(self) -> bool:
        return self._store is not None

    def get(self, key: str) -> Any:
        """Return what is stored, if anything is."""
        return self._call("get", key)

    def set(self, key: str, value: Any) -> None:
        """Store a value."""
        self._call("set", key, value)

    def delete(self, key: str) -> None:
        """Forget a value."""
        self._call("delete", key)

    def _call(self, name: str, *arguments: Any) -> Any:
        if self._store is None:
            return None
        try:
            return getattr(self._store, name)(*arguments)
        except Exception as error:  # noqa: BLE001 - of a backend that Airflow lets anybody write
            self._log.warning(
                "Airflow's task state store failed (%s): a retry of this task will ask BankSync what there is already.",
                type(error).__name__,
            )
            self._store = None
            return None
