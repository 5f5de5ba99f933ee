"""HTTP in and out: a request becomes a call of the backend, its result or its refusal becomes a response.

Edge (who may knock at all) → route → key → workspace → key scope → parameters → backend.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from email.utils import format_datetime
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from airflow_provider_banksync.sandbox.encoding import encode
from airflow_provider_banksync.sandbox.errors import ApiError
from airflow_provider_banksync.sandbox.journal import Journal, RequestRecord
from airflow_provider_banksync.sandbox.operations import Call, Operation, Routes
from airflow_provider_banksync.sandbox.params import read_body, read_query

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from starlette.types import Receive, Scope, Send

    from airflow_provider_banksync.sandbox.auth import Keyring
    from airflow_provider_banksync.sandbox.backend import Backend
    from airflow_provider_banksync.sandbox.clock import SandboxClock

log = logging.getLogger(__name__)

# What HTTP libraries call themselves when nobody gave them a name.
_DEFAULT_AGENT = re.compile(
    r"(python-requests|python-urllib|python-urllib3|python-httpx|python/\d[\d.]* aiohttp|aiohttp|httpx|urllib3"
    r"|curl|wget|go-http-client|java|okhttp|apache-httpclient|axios|node-fetch|undici|node|libwww-perl|ruby"
    r"|guzzlehttp)(/|$|\s)",
    re.IGNORECASE,
)
_BLOCKED_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>Access denied</title></head>"
    "<body><h1>Access denied</h1><p>error code: 1010</p>"
    "<p>The owner of this website has banned your access based on your browser's signature.</p></body></html>\n"
)
_HUNG_UP = 499


@dataclass
class _Exchange:
    """One request on its way through, and whose it turned out to be."""

    request: Request
    now: datetime
    key_id: str | None = None

    def reply(
        self, status: int, envelope: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> Response:
        return self.send(status, encode(envelope), "application/json", headers)

    def send(
        self, status: int, body: bytes, media_type: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        # The sandbox's own time: whoever compares a job's createdAt with the Date header must find one clock.
        dated = {"Date": format_datetime(self.now, usegmt=True), **(headers or {})}
        return Response(body, status, dated, media_type)


class SandboxApp:
    """The ASGI application of one sandbox."""

    def __init__(
        self,
        backend: Backend,
        keyring: Keyring,
        clock: SandboxClock,
        journal: Journal,
        *,
        block_default_user_agents: bool,
    ) -> None:
        self._backend = backend
        self._keyring = keyring
        self._clock = clock
        self._journal = journal
        self._block_default_user_agents = block_default_user_agents
        self._routes = Routes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = _Exchange(Request(scope, receive), self._clock.now())
        try:
            response = await self._answer(exchange)
        except ClientDisconnect:
            self._record(exchange, _HUNG_UP)
            return
        # Written down before it is sent: who has the answer finds the request in the journal.
        self._record(exchange, response.status_code)
        await response(scope, receive, send)

    async def _answer(self, exchange: _Exchange) -> Response:
        request = exchange.request
        if self._block_default_user_agents and _is_default_agent(request.headers.get("user-agent", "")):
            return exchange.send(
                403, _BLOCKED_PAGE.encode(), "text/html; charset=UTF-8", {"Server": "cloudflare"}
            )
        found = self._routes.find(request.url.path)
        if found is None:
            return exchange.reply(404, _refusal("Not found"))
        resource, path = found
        operation = resource.operations.get(request.method)
        if operation is None:
            allowed = ", ".join(sorted(resource.operations))
            return exchange.reply(405, _refusal("Method not allowed"), {"Allow": allowed})
        try:
            members = await self._perform(exchange, operation, path)
        except ApiError as error:
            return exchange.reply(error.status, _refusal(error.message))
        except ClientDisconnect:
            raise
        except Exception:
            log.exception("The sandbox has a bug: %s %s", request.method, request.url.path)
            return exchange.reply(500, _refusal("Internal error of the sandbox; see its log"))
        return exchange.reply(operation.status, {"success": True, **members})

    async def _perform(
        self, exchange: _Exchange, operation: Operation, path: dict[str, str]
    ) -> dict[str, object]:
        headers = exchange.request.headers
        credential = self._keyring.identify(
            headers.get("x-api-key"), headers.get("authorization"), self._clock.now()
        )
        exchange.key_id = credential.id
        caller = self._keyring.enter(credential, headers.get("x-workspace-id"))
        caller.require(operation.needs)
        query = read_query(exchange.request.query_params.multi_items(), operation.query)
        body: dict[str, object] = {}
        if operation.fields is not None:
            body = read_body(await exchange.request.body(), headers.get("content-type", ""), operation.fields)
        return operation.answer(Call(self._backend, caller, path, query, body))

    def _record(self, exchange: _Exchange, status: int) -> None:
        request = exchange.request
        self._journal.add(
            RequestRecord(
                time=exchange.now,
                method=request.method,
                path=request.url.path,
                query=dict(request.query_params),
                workspace_id=request.headers.get("x-workspace-id"),
                key_id=exchange.key_id,
                status=status,
            )
        )


def _is_default_agent(user_agent: str) -> bool:
    return not user_agent.strip() or _DEFAULT_AGENT.match(user_agent.strip()) is not None


def _refusal(message: str) -> dict[str, object]:
    return {"success": False, "error": message}
