"""A request and a response as plain values, and the pair of a request with the parser of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_banksync.api.checks import check_workspace_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

#: A row or object as the API sends it: open, unknown fields included; a number with a fraction is a `Decimal`.
Row = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request, before any transport knows of it.

    :param operation: the contract's operationId, for messages and logs.
    :param path: quoted, from ``/v1`` on.
    :param workspace_id: goes into ``X-Workspace-Id``; None, and nothing else, leaves the client's own.
    :param repeatable: sending it twice does no more than sending it once.
    """

    operation: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    workspace_id: str | None = None
    repeatable: bool = True

    def __post_init__(self) -> None:
        # An empty one, of a template perhaps, would address the parent in the place of a client.
        if self.workspace_id is not None:
            check_workspace_id(self.workspace_id)


@dataclass(frozen=True)
class Response:
    """What came back.

    :param headers: their names in lower case.
    :param body: already unpacked (gzip).
    :param begun: the client's own monotonic clock when the first of it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    begun: float = 0.0


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request and what turns the ``data`` and the rest of its envelope into the result.

    :param scan: a short cut from the bytes of a 200 to the result; None of it leaves the answer to `parse`.
    """

    request: Request
    parse: Callable[[Row], T]
    scan: Callable[[bytes], T | None] | None = None


@dataclass(frozen=True)
class Page:
    """One page of transactions.

    :param cursor: where the next page, or after the last page the next incremental read, begins; None when the API
        gave none.
    """

    rows: list[Row]
    cursor: str | None
    has_more: bool


@dataclass(frozen=True)
class Reply(Generic[T]):
    """The result of a call, and when it came.

    :param value: what the call's parser made of the answer.
    :param date: the server's clock (its ``Date`` header) in epoch seconds; None when it did not say.
    :param received: the client's own monotonic clock when the answer was complete.
    """

    value: T
    date: float | None
    received: float
