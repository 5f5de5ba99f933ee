"""The feeds of a deferred family sync, as Airflow stores them with the trigger and with the task.

On MySQL, Airflow has 65,535 bytes for the arguments of a trigger, of which its encryption takes a quarter. The ids and
names of a large family do not fit. So the trigger gets a short fingerprint of each feed, and reads the listing again.
There is room for the names in what Airflow stores with the deferred task.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, astuple
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import codec, endpoints
from airflow_provider_banksync.api.family.state import Feed, FeedResult
from airflow_provider_banksync.api.ownership import portal_name
from airflow_provider_banksync.tasks.trigger_events import encode_rows

if TYPE_CHECKING:
    from airflow_provider_banksync.api.http.async_client import AsyncClient
    from airflow_provider_banksync.api.messages import Row

#: Characters of the feeds and of the results of other feeds that a trigger gets. Above that, it gets fingerprints.
MAX_PLAN = 20_000
#: Bytes of a fingerprint.
_SIZE = 8


def stored_size(text: str) -> int:
    """Return the number of characters that Airflow stores for a text. In JSON, one Chinese character needs six."""
    return len(json.dumps(text))


def encode_plan(feeds: list[Feed], results: list[FeedResult]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of the trigger, and those of the method in which the task continues.

    :param results: results of other feeds.
    """
    plan = {
        "feeds": encode_rows([astuple(feed) for feed in feeds]),
        "known": encode_rows([result.to_json() for result in results]),
    }
    if sum(map(stored_size, plan.values())) <= MAX_PLAN:
        return plan, {}
    fingerprints = b"".join(_fingerprint(feed) for feed in feeds)
    return {"feeds": base64.b85encode(fingerprints).decode()}, plan


async def read_plan(plan: str, scope: str, workspace_id: str | None, client: AsyncClient) -> list[Feed]:
    """Return the feeds of a trigger's plan, without those that the listing does not have any more."""
    if _has_names(plan):
        return named_feeds(plan)
    packed = base64.b85decode(plan)
    wanted = {packed[at : at + _SIZE] for at in range(0, len(packed), _SIZE)}
    rows = (await client.send(endpoints.list_feeds(scope))).value
    feeds = [feed_of_row(row, workspace_id) for row in rows]
    return [feed for feed in feeds if _fingerprint(feed) in wanted]


def named_feeds(plan: str) -> list[Feed]:
    """Return the feeds of a plan; none if it has only their fingerprints."""
    return [Feed(*feed) for feed in codec.loads(plan)] if _has_names(plan) else []


def results_of_missing(plan: str, results: list[FeedResult]) -> list[FeedResult]:
    """Return a result for each feed of a plan that has none: the trigger did not find it in the listing."""
    # A feed of the connection's own workspace may have no workspace_id, but its result has the one of the job.
    done = {key for result in results for key in (result.key, ("", result.feed_id))}
    reason = "BankSync does not list the feed any more"
    return [
        FeedResult(**asdict(feed), status="not_started", error=reason)
        for feed in named_feeds(plan)
        if feed.key not in done
    ]


def _has_names(plan: str) -> bool:
    return plan[:1] in ("[", b"[")


def _fingerprint(feed: Feed) -> bytes:
    return hashlib.blake2b("\n".join(feed.key).encode(), digest_size=_SIZE).digest()


def feed_of_row(row: Row, own_workspace_id: str | None) -> Feed:
    """Return the feed of a row of a listing."""
    workspace_id = row.get("workspaceId") or own_workspace_id
    return Feed(row["id"], workspace_id, portal_name(row), str(row.get("name")))
