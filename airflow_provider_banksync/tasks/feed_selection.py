"""Select the feeds of a family sync."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import endpoints
from airflow_provider_banksync.api.family.state import Feed, FeedResult
from airflow_provider_banksync.api.flows.listings import find_unknown_workspaces
from airflow_provider_banksync.api.validation import DATA_TYPES, validate_days
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.extract.filters import parse_ids, refuse_unknown
from airflow_provider_banksync.tasks.family_plan import feed_of_row

if TYPE_CHECKING:
    from datetime import date

    from airflow_provider_banksync.api.http.client import Client
    from airflow_provider_banksync.hooks.banksync import BankSyncHook

#: Each filter of the operator, and the field of a feed that it compares.
_FILTERED_FIELDS = {"workspace_ids": "workspaceId", "feed_ids": "id", "data_types": "dataType"}


@dataclass
class SelectedFeeds:
    """The selected feeds.

    :param feeds: by `Feed.key`.
    :param not_startable: results of the selected feeds that cannot be synced with these arguments.
    :param server_time: BankSync's clock at the listing, in seconds since the epoch; None if it is unknown.
    :param received_at: our monotonic clock at the same moment.
    """

    from_date: str | None
    to_date: str | None
    feeds: dict[tuple[str, str], Feed] = field(default_factory=dict)
    not_startable: list[FeedResult] = field(default_factory=list)
    server_time: float | None = None
    received_at: float = 0.0

    def key_of(self, result: FeedResult) -> tuple[str, str] | None:
        """Return the key that the feed of a result has among the selected feeds, or None if it is not selected."""
        # A feed of the connection's own workspace may have no workspace_id, but its result has the one of the job.
        return next((key for key in (result.key, ("", result.feed_id)) if key in self.feeds), None)


def select_feeds(
    hook: BankSyncHook,
    scope: str,
    from_date: str | date | None,
    to_date: str | date | None,
    **filters: object,
) -> SelectedFeeds:
    """List the feeds and select among them.

    :param filters: the operator's ``workspace_ids``, ``feed_ids`` and ``data_types``.
    :raises BankSyncConfigError: an argument is wrong, or names something that does not exist.
    """
    selected = SelectedFeeds(*validate_days(from_date, to_date))
    parsed = {name: parse_ids(name, value) for name, value in filters.items()}
    wanted = {name: values for name, values in parsed.items() if values is not None}
    if "workspace_ids" in wanted and scope != "family":
        raise BankSyncConfigError(
            "workspace_ids needs scope='family', because other listings do not name the workspace of a feed."
        )
    if not all(wanted.values()):
        return selected  # the task upstream that lists the ids has found none
    reply = hook.get_conn().send(endpoints.list_feeds(scope))
    selected.server_time, selected.received_at = reply.server_time, reply.received_at
    _refuse_unknown(wanted, reply.value, hook.get_conn())
    for feed in reply.value:
        if all(_text(feed, _FILTERED_FIELDS[name]) in values for name, values in wanted.items()):
            _add(feed, selected, hook.workspace_id, by_id="feed_ids" in wanted)
    return selected


def _refuse_unknown(wanted: dict[str, set[str]], feeds: list[dict[str, Any]], client: Client) -> None:
    refuse_unknown("feed_ids", wanted.get("feed_ids"), {feed["id"] for feed in feeds})
    workspace_ids, workspace_id = wanted.get("workspace_ids", ()), client.config.workspace_id
    unknown = client.run(find_unknown_workspaces(workspace_ids, feeds, workspace_id=workspace_id))
    refuse_unknown("workspace_ids", unknown, set())
    known_types = {*DATA_TYPES, *(_text(feed, "dataType") for feed in feeds)}
    hint = f"The types are {', '.join(DATA_TYPES)}."
    refuse_unknown("data_types", wanted.get("data_types"), known_types, noun="types", hint=hint)


def _text(feed: dict[str, Any], name: str) -> str:
    """Return a field of a feed; empty if it is no text."""
    value = feed.get(name)
    return value if isinstance(value, str) else ""


def _add(feed: dict[str, Any], selected: SelectedFeeds, own_workspace_id: str | None, *, by_id: bool) -> None:
    if feed.get("source", "sync") != "sync":
        if by_id:
            raise BankSyncConfigError(
                f"feed_ids names feed {feed['id']}, which has nothing to sync: its source is {feed['source']!r}."
            )
        return
    entry = feed_of_row(feed, own_workspace_id)
    selected.feeds[entry.key] = entry
    if feed.get("dataType") == "trades" and not (selected.from_date and selected.to_date):
        reason = (
            "trades feeds are synced only for given days: pass from_date and to_date, or exclude them with "
            "data_types"
        )
        selected.not_startable.append(
            FeedResult(**asdict(entry), status="not_started", error=reason, permanent=True)
        )
