"""Polling until a condition is met or the deadline passes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_banksync.api import retry_policy
from airflow_provider_banksync.api.flows.core import Clock, Flow, Send, Sleep
from airflow_provider_banksync.api.retry_policy import NotFoundGrace
from airflow_provider_banksync.exceptions import BankSyncError, BankSyncNotFoundError, BankSyncResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from airflow_provider_banksync.api.flows.conditions import Condition
    from airflow_provider_banksync.api.messages import Reply, Row

log = logging.getLogger(__name__)
T = TypeVar("T")
#: A poll may take this many seconds past the deadline, because the last poll starts at the deadline.
FINAL_POLL_GRACE = 30.0
#: Maximum seconds between two attempts of `outlast_not_found`. The first interval is one second, and they double.
_MAX_NOT_FOUND_INTERVAL = 8.0


@dataclass(frozen=True)
class PollPolicy:
    """When to poll, and when to stop.

    :param initial_interval: seconds between the first poll, which is immediate, and the second.
    :param max_interval: the interval grows by half after each poll, up to this many seconds.
    :param deadline: moment of `clock` at which the wait ends.
    :param rng: returns numbers from 0 to 1, which spread the intervals by a tenth. This keeps tasks
        that wait at the same time from polling together.
    """

    initial_interval: float
    max_interval: float
    deadline: float
    clock: Clock
    rng: Callable[[], float]

    def intervals(self) -> Generator[float, None, None]:
        """Yield the seconds between polls, without end."""
        interval = max(self.initial_interval, 0.01)
        while True:
            yield interval * (0.9 + 0.2 * self.rng())
            interval = max(min(interval * 1.5, self.max_interval), self.initial_interval)


def may_pass(error: BankSyncError) -> bool:
    """Tell whether the next poll may succeed. An answer with wrong content, such as another job, ends no wait."""
    has_wrong_content = isinstance(error, BankSyncResponseError) and (error.status or 0) // 100 == 2
    return error.transient or has_wrong_content


def poll_once(condition: Condition[T], max_wait: float | None = None) -> Flow[Row | None]:
    """Return what the condition waits for, or None if it is not there yet.

    :param max_wait: maximum seconds to wait for the rate limit or for a retry.
    """
    reply: Reply[T] = yield Send(condition.request, max_wait)
    found = condition.check(reply.value)
    if condition.follow_up is not None:
        call, condition.follow_up = condition.follow_up, None
        try:
            answer: Reply[Row] = yield Send(call, max_wait)
        except BankSyncError:
            condition.on_follow_up(None)
        else:
            condition.on_follow_up(answer.value)
    return found


def poll_until(
    condition: Condition[T],
    policy: PollPolicy,
    tolerates: Callable[[BankSyncError], bool] = may_pass,
) -> Flow[Row | None]:
    """Poll until the condition is met, and return what it waits for; None if the deadline passes first.

    The last poll starts at the deadline. If it fails, there is one more. A 404 ends the wait only if it lasts
    `NOT_FOUND_GRACE` seconds.

    :param tolerates: tells whether polling continues after an error; `Condition.last_error` keeps the error of the
        last poll.
    """
    not_found = NotFoundGrace()
    has_failed_late = False
    for interval in policy.intervals():
        left = policy.deadline - policy.clock()
        condition.last_error = None
        try:
            found = yield from poll_once(condition, max(0.0, left) + FINAL_POLL_GRACE)
        except BankSyncError as error:
            if not (tolerates(error) or not_found.covers(error, policy.clock())):
                raise
            log.warning("Could not poll %s: %s Polling again.", condition.subject, error)
            condition.last_error = error
        else:
            not_found.reset()
            if found is not None:
                return found
        if left <= 0 and (has_failed_late or condition.last_error is None):
            return None
        has_failed_late = left <= 0
        yield Sleep(min(interval, max(0.0, policy.deadline - policy.clock())))
    raise AssertionError("unreachable: the intervals never end")


def outlast_not_found(attempt: Callable[[], Flow[T]], grace: float | None = None) -> Flow[T]:
    """Run a flow again after each 404, because a replica of BankSync may not have the object yet.

    :param attempt: returns the flow.
    :param grace: seconds to wait in total; None for `NOT_FOUND_GRACE`.
    :raises BankSyncNotFoundError: the last attempt got a 404, too.
    """
    left = retry_policy.NOT_FOUND_GRACE if grace is None else grace
    interval = 1.0
    while True:
        try:
            return (yield from attempt())
        except BankSyncNotFoundError as error:
            if left <= 0:
                raise
            log.info("%s The object may be new. Trying again.", error)
        yield Sleep(min(interval, left))
        left -= interval
        interval = min(interval * 2, _MAX_NOT_FOUND_INTERVAL)
