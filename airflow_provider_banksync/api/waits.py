"""Wait for what somebody else brings about."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_banksync.api.conversations import LAST_LOOK, Conversation, Polling, Send, Wait
from airflow_provider_banksync.exceptions import BankSyncError

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Reply, Row
    from airflow_provider_banksync.api.watches import Watch

log = logging.getLogger(__name__)

T = TypeVar("T")


def look_once(watch: Watch[T], patience: float | None = None) -> Conversation[Row | None]:
    """Look, and return what the watch waits for, if it is there.

    :param patience: seconds after which the look makes no sense any more.
    """
    reply: Reply[T] = yield Send(watch.look, patience)
    found = watch.found(reply.value)
    if watch.aside is not None:
        call, watch.aside = watch.aside, None
        try:
            beside: Reply[Row] = yield Send(call, patience)
        except BankSyncError:
            watch.told(None)
        else:
            watch.told(beside.value)
    return found


def wait_until(watch: Watch[T], polling: Polling) -> Conversation[Row | None]:
    """Look until there is what the watch waits for, and return it; None when the deadline has passed.

    Looks once more when the deadline has come, and only then gives up. Failed looks that another try may cure do not
    end the wait; every other error does.
    """
    for interval in polling.intervals():
        left = polling.deadline - polling.clock()
        try:
            found = yield from look_once(watch, max(0.0, left) + LAST_LOOK)
        except BankSyncError as error:
            if not error.transient:
                raise
            log.warning("Could not look: %s Waiting on.", error)
        else:
            if found is not None:
                return found
        if left <= 0:
            return None
        yield Wait(min(interval, max(0.0, polling.deadline - polling.clock())))
    raise AssertionError("unreachable: the intervals never end")
