"""Flows: several requests that belong together, as generators without I/O.

A flow decides what happens next; a driver does it. The flow yields a `Send` or a `Sleep` and receives the reply, so
the same flow runs in the blocking client, on an event loop, and in a test without a network or a clock. Example::

    def wait_for_name(feed_id: str, name: str) -> Flow[Row]:
        while True:
            reply: Reply[Row] = yield Send(endpoints.get_feed(feed_id))
            if reply.value["name"] == name:
                return reply.value
            yield Sleep(5.0)

    feed = client.run(wait_for_name("fd_1", "Operating"))  # or: await async_client.run(...)

Rules for a driver (`Client.run`, `AsyncClient.run`):

1. For a `Send`, send the call with its retries. Pass the `Reply` to `flow.send`, or the `BankSyncError` to
   `flow.throw`. The flow may catch the error and continue.
2. For a `Sleep`, wait, then call `flow.send(None)`.
3. Return the value of `StopIteration`. Every other exception goes to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_banksync.exceptions import BankSyncError

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import Call

_R = TypeVar("_R")


@dataclass(frozen=True)
class Send:
    """A request that the driver sends, with retries.

    :param max_wait: maximum seconds to wait for the rate limit or for a retry; None: no limit.
    :param is_current: asked immediately before the request leaves, after the wait for the rate limit. If it returns
        False, the driver does not send the request, and throws `RequestDroppedError`.
    """

    call: Call[Any]
    max_wait: float | None = None
    is_current: Callable[[], bool] | None = None


class RequestDroppedError(BankSyncError):
    """The request was not sent, because what the flow knows may no longer be true."""


@dataclass(frozen=True)
class Sleep:
    """A pause that the driver makes."""

    seconds: float


Flow = Generator["Send | Sleep", Any, _R]
Clock = Callable[[], float]
