"""Flows that create and delete, and that handle an answer that was lost.

A POST is repeated only if the listing shows that it had no effect. A DELETE may be repeated at once.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_banksync.api import codec, endpoints
from airflow_provider_banksync.api.flows.core import Flow, Send, Sleep
from airflow_provider_banksync.api.flows.polling import outlast_not_found
from airflow_provider_banksync.exceptions import (
    BankSyncConfigError,
    BankSyncConflictError,
    BankSyncError,
    BankSyncNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_banksync.api.messages import Call, Reply, Row

log = logging.getLogger(__name__)
#: Maximum attempts of a write whose outcome is unknown.
MAX_WRITE_ATTEMPTS = 3
#: Seconds before the second attempt of a DELETE. They grow with each attempt.
WRITE_RETRY_DELAY = 2.0
#: A listing may show a new row late. So a row that is not there is searched again after each of these delays (seconds).
SEARCH_DELAYS = (1.0, 2.0, 4.0, 8.0)
_R = TypeVar("_R")


def create_resource(post: Call[Row], listing: Call[list[Row]], *, name: object) -> Flow[Row]:
    """Create one feed or enrichment, never two, and return it.

    :param name: name of the new row. It distinguishes the row from others that were created at the same time.
    """
    known: Reply[list[Row]] = yield Send(listing)
    row, _ = yield from create_once(post, listing, _is_new_with_name(name, known.value))
    return row


def create_unique_feed(body: Row) -> Flow[tuple[Row, bool]]:
    """Create a feed whose name must be unique, although other tasks may create the same feed at this moment.

    The oldest of the new feeds stays, by the API's clock (by the ids, if the times are equal). Each task deletes its
    own newer one. If the answer was lost, a new feed in the listing may belong to another task, so it is never deleted.

    :raises BankSyncConfigError: BankSync stored another name. The next run would not find the feed by the name that it
        was given, and would create another. So the new feed is deleted again.
    :return: the feed that stays, and whether this call created it.
    """
    name, listing = body["name"], endpoints.list_feeds()
    known: Reply[list[Row]] = yield Send(listing)
    is_new = _is_new_with_name(name, known.value)
    created, confirmed = yield from create_once(endpoints.create_feed(body), listing, is_new)
    if created.get("name", name) != name:
        yield from _delete_new_feed(created["id"])
        raise BankSyncConfigError(
            f"BankSync stored the name of the feed as {created['name']!r}, not {name!r}.",
            hint="The new feed was deleted again. Pass the name as BankSync stores it.",
        )
    rows: Reply[list[Row]] = yield Send(listing)
    named = {created.get("id"): created} | {
        row.get("id"): row for row in rows.value if row.get("name") == name
    }
    oldest = min(named.values(), key=_creation_order)
    if oldest.get("id") == created.get("id"):
        return oldest, True
    if confirmed:
        log.info("Feed %r exists already (%s). Deleting its copy %s.", name, oldest.get("id"), created["id"])
        yield from _delete_new_feed(created["id"])
    return oldest, False


def create_once(
    post: Call[Row],
    listing: Call[list[Row]],
    is_new: Callable[[Row], bool],
    is_current: Callable[[], bool] | None = None,
) -> Flow[tuple[Row, bool]]:
    """Send a POST that must not be repeated. If its outcome is unknown, search the listing for the new row.

    No clock decides which row is new: the caller knows the ids from before the POST. The POST is sent again only after
    a search of about 15 seconds.

    :param is_new: tells whether a row did not exist before the POST and fits it.
    :param is_current: as in `Send`, for the POST.
    :return: the row, and whether the answer to the POST contained it.
    """
    failure: BankSyncError | None = None
    for _ in range(MAX_WRITE_ATTEMPTS):
        try:
            # Everything that creates something is sent here: POST .../sync, POST /v1/feeds, POST /v1/enrichments.
            reply: Reply[Row] = yield Send(post, is_current=is_current)
        except BankSyncError as error:
            conflict = isinstance(error, BankSyncConflictError)
            if not error.ambiguous and not (conflict and failure is not None):
                error.ambiguous = failure is not None  # an earlier attempt may have worked
                raise
            log.warning("%s The outcome is unknown. Reading the listing.", error)
            error.ambiguous = True
            failure = error
        else:
            return reply.value, True
        try:
            row = yield from find_new_row(listing, is_new)
        except BankSyncError as error:
            log.warning("Reading the listing failed: %s", error)
            raise failure from error
        if row is not None:
            log.info("The request had worked: it created %s.", row.get("id"))
            return row, False
        if conflict:
            break
    raise failure or AssertionError("unreachable: without a failure, the loop returns")


def find_new_row(listing: Call[list[Row]], is_new: Callable[[Row], bool]) -> Flow[Row | None]:
    """Search a listing for a new row, several times, because the listing may be late. None: it is not there."""
    for delay in (0.0, *SEARCH_DELAYS):
        if delay:
            yield Sleep(delay)
        rows: Reply[list[Row]] = yield Send(listing)
        found = next((row for row in rows.value if is_new(row)), None)
        if found is not None:
            return found
    return None


def delete_resource(call: Call[Any]) -> Flow[None]:
    """Delete one resource. If an earlier attempt without an answer has deleted it, that is a success."""
    yield from delete_until_known(call, BankSyncNotFoundError)


def _delete_new_feed(feed_id: str) -> Flow[None]:
    """Delete a feed that was just created. A 404 must last a minute: then somebody else has deleted it."""
    with suppress(BankSyncNotFoundError):
        yield from outlast_not_found(lambda: delete_resource(endpoints.delete_feed(feed_id)))


def delete_until_known(call: Call[_R], already_done: type[BankSyncError]) -> Flow[Reply[_R] | BankSyncError]:
    """Send a DELETE until its outcome is known.

    :param already_done: the error of a second DELETE after the first has succeeded.
    :return: the reply; or this error, if an earlier attempt may have succeeded.
    """
    in_doubt = False
    for attempt in range(1, MAX_WRITE_ATTEMPTS + 1):
        try:
            reply: Reply[_R] = yield Send(call)
        except BankSyncError as error:
            if in_doubt and isinstance(error, already_done):
                return error
            if not error.ambiguous or attempt == MAX_WRITE_ATTEMPTS:
                raise
            in_doubt = True
        else:
            return reply
        yield Sleep(WRITE_RETRY_DELAY * attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def ids_of(rows: list[Row]) -> list[str]:
    """Return the ids of rows."""
    return [str(row.get("id")) for row in rows]


def _is_new_with_name(name: object, known: list[Row]) -> Callable[[Row], bool]:
    known_ids = ids_of(known)
    return lambda row: row.get("name") == name and str(row.get("id")) not in known_ids


def _creation_order(row: Row) -> tuple[float, str]:
    created = codec.epoch_seconds(row.get("createdAt"))
    return (math.inf if created is None else created), str(row.get("id"))
