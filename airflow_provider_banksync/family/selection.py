"""Which feeds a sync of the family is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api.checks import check_days
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.filters import names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_banksync.operators.family import BankSyncFamilySyncOperator

DATA_TYPES = (
    "transactions",
    "balances",
    "trades",
    "holdings",
    "loans",
    "receipts",
    "invoices",
    "documents",
)


class Selection:
    """The feeds that an operator's arguments choose, by one listing.

    `rows` holds ``[id, workspace_id, name of the portal, name]`` of each, `refused` the outcomes of those that cannot
    be synced this way. `from_date` and `to_date` are the days as the API writes them; `date` is the server's clock at
    the listing, `received` ours (monotonic).
    """

    def __init__(self, operator: BankSyncFamilySyncOperator) -> None:
        self._operator = operator
        self.rows: dict[str, list[Any]] = {}
        self.refused: list[dict[str, Any]] = []
        self.from_date: str | None = None
        self.to_date: str | None = None
        self.date: float | None = None
        self.received = 0.0

    def choose(self) -> Selection:
        """List, and choose.

        :raises BankSyncConfigError: an argument is wrong, or names what there is not.
        """
        from airflow_provider_banksync.api import endpoints

        operator = self._operator
        self.from_date, self.to_date = check_days(operator.from_date, operator.to_date)
        wanted = {
            name: names(name, getattr(operator, name)) for name in ("workspace_ids", "feed_ids", "data_types")
        }
        if wanted["workspace_ids"] is not None and operator.scope != "family":
            raise BankSyncConfigError(
                "workspace_ids needs scope='family': other listings do not tell whose a feed is."
            )
        if any(only is not None and not only for only in wanted.values()):
            return self  # an upstream task that lists them has found none
        reply = operator.hook.get_conn().send(endpoints.list_feeds(operator.scope))
        self.date, self.received = reply.date, reply.received
        self._check(wanted, reply.value)
        fields = (("workspaceId", "workspace_ids"), ("id", "feed_ids"), ("dataType", "data_types"))
        filters = [(field, only) for field, name in fields if (only := wanted[name]) is not None]
        for feed in reply.value:
            if all(feed.get(field) in only for field, only in filters):
                self._take(feed, named=wanted["feed_ids"] is not None)
        return self

    def _check(self, wanted: dict[str, Any], feeds: list[dict[str, Any]]) -> None:
        """Refuse a filter that names what there is not: it is a slip, and would quietly leave a client out."""
        unknown = (wanted["feed_ids"] or set()) - {feed["id"] for feed in feeds}
        if unknown:
            raise BankSyncConfigError(f"feed_ids names feeds that there are not: {_list(unknown)}.")
        unknown = (wanted["workspace_ids"] or set()) - {feed.get("workspaceId") for feed in feeds}
        if unknown:  # a portal without feeds is none of these, but is no slip
            hook = self._operator.hook
            unknown -= {portal["id"] for portal in hook.list_portals()}
            unknown -= {hook.own_workspace_id()} if unknown else set()
        if unknown:
            raise BankSyncConfigError(f"workspace_ids names workspaces that there are not: {_list(unknown)}.")
        unknown = (wanted["data_types"] or set()) - {feed.get("dataType") for feed in feeds} - set(DATA_TYPES)
        if unknown:
            raise BankSyncConfigError(
                f"data_types names what BankSync does not have: {_list(unknown)}; there are {', '.join(DATA_TYPES)}."
            )

    def _take(self, feed: dict[str, Any], *, named: bool) -> None:
        operator = self._operator
        if feed.get("source", "sync") != "sync":
            if named:
                raise BankSyncConfigError(
                    f"feed_ids names feed {feed['id']}, which has nothing to sync: its source is {feed['source']!r}."
                )
            return
        workspace_id = feed.get("workspaceId") or operator.workspace_id or None
        portal = (feed.get("portal") or {}).get("name")
        self.rows[feed["id"]] = [feed["id"], workspace_id, portal, str(feed.get("name"))]
        if feed.get("dataType") == "trades" and not (self.from_date and self.to_date):
            self.refused.append(_refusal(*self.rows[feed["id"]]))


def _refusal(feed_id: str, workspace_id: str | None, portal: str | None, name: str) -> dict[str, Any]:
    return {
        "feed_id": feed_id,
        "workspace_id": workspace_id,
        "portal": portal,
        "name": name,
        "job_id": None,
        "status": "not_started",
        "written": None,
        "error": "trades are synced for given days only: give from_date and to_date, or leave them out with data_types",
        "permanent": True,
        "how": "",
        "seconds": None,
        "unwritten": 0,
    }


def _list(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids))
