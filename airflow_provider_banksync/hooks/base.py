"""What the groups of the hook's methods build on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from airflow_provider_banksync.api.client import Client
    from airflow_provider_banksync.api.conversations import Conversation
    from airflow_provider_banksync.api.messages import Call

_T = TypeVar("_T")


class ApiMethods:
    """A group of the hook's methods; the hook gives them the client."""

    if TYPE_CHECKING:

        def get_conn(self) -> Client:
            """Return the blocking client."""

        def _send(self, call: Call[_T]) -> _T: ...

        def _run(self, conversation: Conversation[_T]) -> _T: ...
