"""What one try of a task over the family leaves to the next."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.task import for_xcom
from airflow_provider_banksync.task_store import TaskStore

if TYPE_CHECKING:
    import logging

    from airflow.providers.common.compat.sdk import Context

#: Keys in Airflow's task state store. Renaming them would lose what running tasks have stored.
KEY = "banksync_family"
KEY_KEPT = "banksync_family_kept_{}"
#: So many feeds go into one value: Airflow warns of values above 64 KiB.
_CHUNK = 150
_KEPT = ("feed_id", "workspace_id", "portal", "name", "job_id", "written", "seconds", "unwritten")


class Memory:
    """When the run began, and which feeds an earlier try has synced.

    Airflow 3.3 has a store that tries of a task share; it also outlives a clearing of the task, which begins a new
    run and must not find the old one's. Before 3.3, a retry takes the start of the DAG run for the run's: what was
    synced since then is found by asking BankSync. So it is where the store fails.

    :param wanted: what is asked for, as JSON takes it; the record of a try that asked for something else is none for
        this one.
    :param durable: False remembers nothing.
    """

    def __init__(
        self, context: Context, log: logging.Logger | Any, wanted: dict[str, Any], *, durable: bool
    ) -> None:
        self._context: Any = context
        self._wanted = wanted
        ti: Any = context["ti"]
        task = getattr(ti, "task", None)
        retries = getattr(task, "retries", None) or 0
        #: The first try since the task was last cleared, as Airflow itself counts it.
        self._first_try = getattr(ti, "max_tries", retries) - retries + 1
        self._retry = getattr(ti, "try_number", 1) > self._first_try
        self._durable = durable
        self._store = TaskStore(context, log, durable=durable)

    def begin(
        self, date: float | None, received: float
    ) -> tuple[float | None, float | None, list[dict[str, Any]]]:
        """Return when the run began and when this try did, by the server's clock, and what is synced already.

        :param date: the server's clock at our first request, which it tells in whole seconds; `received` is when, by
            the monotonic clock. The run begins with the next second: what others started in this one is not ours.
        """
        if date is None:
            return None, None, []
        now = date + 1.0
        if not self._durable:
            return now, now, []
        stored = self._stored()
        if stored is not None:
            return stored["since"], now, self._kept(stored)
        self._store.set(KEY, {**self._record(), "since": now, "kept": 0})
        if self._store:
            return now, now, []
        began = getattr(self._context.get("dag_run"), "start_date", None)
        if not self._retry or began is None:
            return now, now, []
        waited = time.monotonic() - received
        return date - (time.time() - waited - began.timestamp()), now, []

    def keep(self, rows: list[dict[str, Any]]) -> None:
        """Store the outcomes that a retry need not ask for again."""
        stored = self._stored()
        if stored is None:
            return
        chunks = [rows[at : at + _CHUNK] for at in range(0, len(rows), _CHUNK)]
        for number, chunk in enumerate(chunks):
            values = [[_plain(row[name]) for name in _KEPT] for row in chunk]
            self._store.set(KEY_KEPT.format(number), values)
        self._store.set(KEY, {**stored, "kept": len(chunks)})

    def _stored(self) -> dict[str, Any] | None:
        stored = self._store.get(KEY)
        if isinstance(stored, dict) and stored.items() >= self._record().items():
            return stored
        return None

    def _record(self) -> dict[str, Any]:
        return {"first_try": self._first_try, "wanted": self._wanted}

    def _kept(self, stored: dict[str, Any]) -> list[dict[str, Any]]:
        rows = []
        for number in range(stored.get("kept", 0)):
            for values in self._store.get(KEY_KEPT.format(number)) or []:
                row = dict(zip(_KEPT, values, strict=True))
                rows.append(
                    {**row, "status": "completed", "error": None, "permanent": False, "how": "earlier"}
                )
        return rows


def _plain(value: Any) -> Any:
    """Return a value as the store takes it, which is what XCom takes; a `Decimal` that is left is an exact float."""
    from decimal import Decimal

    kept = for_xcom(value)
    return float(kept) if isinstance(kept, Decimal) else kept
