"""Requests and responses as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_banksync.api.validation import validate_workspace_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")
#: A row or object as the API sends it, unknown fields included. A number with a fraction is a `Decimal`.
Row = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request, independent of the HTTP library.

    :param operation: the contract's operationId, for messages and logs.
    :param path: the quoted path, from ``/v1`` on.
    :param workspace_id: the ``X-Workspace-Id`` header. None means the workspace of the client.
    :param retry_safe: whether sending the request twice has the same effect as sending it once.
    """

    operation: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    workspace_id: str | None = None
    retry_safe: bool = True

    def __post_init__(self) -> None:
        # An empty id, perhaps from a template, would address the parent instead of a client.
        if self.workspace_id is not None:
            validate_workspace_id(self.workspace_id)


@dataclass(frozen=True)
class Response:
    """The server's answer to one request.

    :param headers: header values by lower-case name.
    :param body: the body after decompression.
    :param headers_at: when the headers arrived, by the client's monotonic clock.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    headers_at: float = 0.0


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request and the parser of its answer.

    :param parse: converts the envelope (``data``, ``meta``) to the result.
    :param parse_bytes: converts the bytes of a 200 to the result, without decoding every row. If it returns None,
        `parse` handles the answer.
    :param owner: names and values of the fields that each object in the answer has with this value, or not at all.
    """

    request: Request
    parse: Callable[[Row], T]
    parse_bytes: Callable[[bytes], T | None] | None = None
    owner: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Page:
    """One page of transactions.

    :param cursor: where the next page starts, or after the last page the next incremental read. None if the API sent
        no cursor.
    :param has_more: None if the API did not say. Then more rows may follow the cursor.
    :param count: number of rows, as the API says; None if it does not.
    """

    rows: list[Row]
    cursor: str | None
    has_more: bool | None
    count: int | None = None


@dataclass(frozen=True)
class RawPage:
    """One page of transactions whose rows are not decoded.

    :param raw: a JSON object for each row: UTF-8, no line breaks, every digit as sent.
    :param cursor, has_more, count: as in `Page`.
    :param ids: the id of each row, or None.
    :param days: the ``date`` of each row as it was sent, or None.
    """

    raw: Sequence[bytes]
    cursor: str | None
    has_more: bool | None
    ids: Sequence[str | None]
    days: Sequence[str | None]
    count: int | None = None


@dataclass(frozen=True)
class Reply(Generic[T]):
    """The result of a call and when it came.

    :param server_time: the server's ``Date`` header in epoch seconds, or None.
    :param received_at: when the answer was complete, by the client's monotonic clock.
    """

    value: T
    server_time: float | None
    received_at: float
