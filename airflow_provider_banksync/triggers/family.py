"""Start and follow the syncs of many feeds on the triggerer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.compat import BaseTrigger, TriggerEvent
from airflow_provider_banksync.task import error_payload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_banksync.api.aio import AsyncClient
    from airflow_provider_banksync.api.family import FamilyRun


class BankSyncFamilyJobsTrigger(BaseTrigger):
    """Starts the syncs of these feeds, follows them all, and fires once: when all have ended or the time is up.

    It may be stopped at any moment and started elsewhere from its stored form: it then asks BankSync what there is of
    this run already, and starts no feed a second time.

    The event is a dict: ``status`` (``ended`` or ``error``), ``rows`` (the outcome of each feed, as JSON text),
    ``limit``, ``late`` (whether the time was up before all had ended), and with ``error`` the error's ``type`` and
    ``message``: one that concerns every feed, such as a wrong key.

    :param feeds: JSON text: a list of ``[feed_id, workspace_id, name of the portal, name of the feed]``.
    :param known: JSON text: outcomes that are known already, and come back with the others.
    :param deadline: moment when to give up, in seconds since the epoch.
    :param limit: what the deadline comes from, for the event: ``timeout`` or ``execution_timeout``.
    :param since: moment when the run began, by BankSync's clock, in seconds since the epoch.
    :param attempt_since: moment when this try of the task began, by the same clock.
    :param banksync_conn_id: connection to use.
    :param workspace_id: workspace of the feeds that name none.
    :param cancel_on_kill: cancel the jobs that this run started when somebody kills the deferred task (Airflow 3.3
        and later tell triggers).

    The other parameters are those of `BankSyncFamilySyncOperator`.
    """

    def __init__(
        self,
        *,
        feeds: str,
        deadline: float,
        since: float | None,
        attempt_since: float | None,
        limit: str = "timeout",
        known: str = "[]",
        banksync_conn_id: str = "banksync_default",
        workspace_id: str | None = None,
        from_date: str | None = None,
        to_date: str | None = None,
        if_running: str = "attach",
        max_active: int | None = None,
        poll_interval: float = 5,
        max_poll_interval: float = 60,
        cancel_on_timeout: bool = True,
        fail_on_job_errors: bool = False,
        cancel_on_kill: bool = False,
    ) -> None:
        super().__init__()
        self.feeds = feeds
        self.known = known
        self.limit = limit
        self.banksync_conn_id = banksync_conn_id
        self.workspace_id = workspace_id
        self.cancel_on_kill = cancel_on_kill
        self.settings: dict[str, Any] = {
            "deadline": deadline,
            "since": since,
            "attempt_since": attempt_since,
            "from_date": from_date,
            "to_date": to_date,
            "if_running": if_running,
            "max_active": max_active,
            "poll_interval": poll_interval,
            "max_poll_interval": max_poll_interval,
            "cancel_on_timeout": cancel_on_timeout,
            "fail_on_job_errors": fail_on_job_errors,
        }
        self._run: FamilyRun | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and every argument; the connection's secret is in none of them."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "feeds": self.feeds,
                "known": self.known,
                "limit": self.limit,
                "banksync_conn_id": self.banksync_conn_id,
                "workspace_id": self.workspace_id,
                "cancel_on_kill": self.cancel_on_kill,
                **self.settings,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Do it all, and yield the one event."""
        from airflow_provider_banksync.exceptions import BankSyncError

        event: dict[str, Any] = {"status": "ended"}
        try:
            async with await self._client() as client:
                from airflow_provider_banksync.api import crew

                self._run = self._new_run()
                await crew.drive(self._run, client)
        except BankSyncError as error:
            event = {"status": "error", "error": error_payload(error)}
        from airflow_provider_banksync.api import codec

        run = self._run or self._new_run()
        outcomes = [track.outcome() for track in run.tracks]
        event["limit"], event["late"] = self.limit, run.late
        event["rows"] = codec.dumps([*codec.loads(self.known), *outcomes]).decode()
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Cancel the jobs that this run has started. A mere restart of the triggerer does not come here."""
        if not self.cancel_on_kill:
            return
        from airflow_provider_banksync.exceptions import BankSyncError

        try:
            config = (await self._client()).config
            from airflow_provider_banksync.api import crew

            run = self._run or self._new_run()
            done = await crew.withdraw(run, config)
        except BankSyncError as error:
            self.log.warning("The task was killed, and not all of its jobs could be cancelled: %s", error)
        else:
            self.log.info("The task was killed. %s", run.withdrawn(in_time=done))

    async def _client(self) -> AsyncClient:
        from airflow_provider_banksync.async_client import open_client

        return await open_client(self.banksync_conn_id, self.workspace_id)

    def _new_run(self) -> FamilyRun:
        from airflow_provider_banksync.api import codec
        from airflow_provider_banksync.api.family import FamilyRun, Feed, Settings

        return FamilyRun(
            [Feed(*feed) for feed in codec.loads(self.feeds)],
            Settings(**self.settings),
            clock=time.time,
            log=self.log,
        )


def rows_of_event(event: Any) -> list[dict[str, Any]]:
    """Return the outcomes that an event of `BankSyncFamilyJobsTrigger` tells of.

    :raises BankSyncError: the event is none that this version knows.
    """
    from airflow_provider_banksync.api import codec
    from airflow_provider_banksync.exceptions import BankSyncError

    if not isinstance(event, dict) or event.get("status") not in ("ended", "error"):
        kind = event.get("status") if isinstance(event, dict) else type(event).__name__
        raise BankSyncError(f"the trigger sent an event of an unknown kind: {kind!r}.")
    if not isinstance(event.get("rows"), str):
        raise BankSyncError("the trigger sent an event without the outcomes of the feeds.")
    rows: list[dict[str, Any]] = codec.loads(event["rows"])
    return rows
