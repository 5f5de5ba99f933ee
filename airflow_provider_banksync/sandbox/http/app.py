"""The ASGI application: turns a request into a call of the backend, and its result or error into a response.

The steps: faults before → edge (default user agents) → route → key → rate limit → workspace → scope → parameters →
backend → faults after → connection.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from airflow_provider_banksync.sandbox.errors import ApiError
from airflow_provider_banksync.sandbox.exact_json import encode
from airflow_provider_banksync.sandbox.http.operations import OPERATIONS, Operation, RouteTable
from airflow_provider_banksync.sandbox.http.rate_limit import RateLimiter, RequestRecord
from airflow_provider_banksync.sandbox.http.rewriting import Exchange, rewrite
from airflow_provider_banksync.sandbox.http.wire import (
    HTML,
    HttpRequest,
    ResponseWriter,
    SandboxResponse,
    error_body,
)
from airflow_provider_banksync.sandbox.rules.api_call import (
    ApiCall,
    Envelope,
    check_fields,
    parse_object,
    parse_query,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from airflow_provider_banksync.sandbox.clock import SandboxClock
    from airflow_provider_banksync.sandbox.http.fault_rules import AppliedFaults, Faults
    from airflow_provider_banksync.sandbox.rules.auth import Credentials
    from airflow_provider_banksync.sandbox.rules.editor import WritableBackend

log = logging.getLogger(__name__)

ADMIN_ROOT = "/_sandbox"
CLIENT_CLOSED_REQUEST = 499
_ROUTES = RouteTable(OPERATIONS)
# The names that HTTP libraries send by default.
_DEFAULT_AGENT = re.compile(
    r"(python-requests|python-urllib|python-urllib3|python-httpx|python/\d[\d.]* aiohttp|aiohttp|httpx|urllib3"
    r"|curl|wget|go-http-client|java|okhttp|apache-httpclient|axios|node-fetch|undici|node|libwww-perl|ruby"
    r"|guzzlehttp|pycurl|libcurl|scrapy|dart)(/|$|\s)",
    re.IGNORECASE,
)
_BLOCKED_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Access denied</title></head>"
    b"<body><h1>Access denied</h1><p>error code: 1010</p>"
    b"<p>The owner of this website has banned your access based on your browser's signature.</p></body></html>\n"
)
_KEY, _TOKEN, _WORKSPACE = b"x-api-key", b"authorization", b"x-workspace-id"


@dataclass
class SandboxApp:
    """The ASGI application of one sandbox. ``admin`` answers everything under ``/_sandbox``."""

    backend: WritableBackend
    credentials: Credentials
    clock: SandboxClock
    faults: Faults
    limiter: RateLimiter
    record: Callable[[RequestRecord], None]
    admin: Callable[[HttpRequest], Awaitable[SandboxResponse]]
    block_default_user_agents: bool
    check_response: Callable[[str, str, SandboxResponse], str | None] | None
    """Returns how a response breaks the contract; None if there is no check."""
    writer: ResponseWriter = field(default_factory=ResponseWriter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = HttpRequest(scope, receive, self.clock.now())
        is_admin = scope["path"] == ADMIN_ROOT or scope["path"].startswith(f"{ADMIN_ROOT}/")
        try:
            response = await (self.admin(request) if is_admin else self._answer(request))
        except ClientDisconnect:
            return
        await self.writer.send(response, self.clock.now(), scope, receive, send)

    async def _answer(self, request: HttpRequest) -> SandboxResponse:
        """Answer a request to the API. Records it first: a client that has the response finds its record."""
        faults = self.faults.match(request.method, request.path, request.header(_WORKSPACE))
        try:
            response = await self._apply_faults(request, faults)
        except ClientDisconnect:
            self._record(request, CLIENT_CLOSED_REQUEST, faults.name)
            raise
        except Exception:
            log.exception("The sandbox has a bug: %s %s", request.method, request.path)
            response = SandboxResponse(500, error_body("Internal error of the sandbox; see its log"))
        self._record(request, response.status, faults.name)
        return response

    async def _apply_faults(self, request: HttpRequest, faults: AppliedFaults) -> SandboxResponse:
        response = await self._replace_or_change(request, faults)
        for rule in faults.always:
            if rule.fault.stamp:
                response = rule.fault.stamp(response)
        return response

    async def _replace_or_change(self, request: HttpRequest, faults: AppliedFaults) -> SandboxResponse:
        for rule in faults.before:
            await self.writer.pause(rule.fault.pause)
            if rule.fault.instead:
                return rule.fault.instead(self.clock.now())
        response = await self._route(request)
        for rule in faults.after:
            fault = rule.fault
            await self.writer.pause(fault.pause)
            if fault.instead:
                return fault.instead(self.clock.now())
            if fault.reshape:
                response = fault.reshape(response)
            if fault.rewrite:
                what = request.method, request.path, dict(request.query)
                exchange = Exchange(*what, self.clock.now(), rule.memory)
                response = rewrite(response, fault.rewrite, exchange)
        return response

    async def _route(self, request: HttpRequest) -> SandboxResponse:
        found = _ROUTES.find(request.path)
        operation = found[0].get(request.method) if found else None
        if self.block_default_user_agents and _is_default_agent(request.header(b"user-agent") or ""):
            response = SandboxResponse(403, _BLOCKED_PAGE, HTML, {"Server": "cloudflare"})
        elif found is None:
            response = SandboxResponse(404, error_body("Not found"))
        elif operation is None:
            allowed = {"Allow": ", ".join(sorted(found[0]))}
            response = SandboxResponse(405, error_body("Method not allowed"), headers=allowed)
        else:
            response = await self._handle(request, operation, found[1])
            credential = self.credentials.find(request.header(_KEY), request.header(_TOKEN))
            stated = {} if credential is None else self.limiter.headers(credential.id, request.time)
            response.headers.update(stated)
        if operation is None or self.check_response is None:
            return response
        breach = self.check_response(operation.method, operation.path, response)
        if breach is None:
            return response
        return SandboxResponse(500, error_body(f"The sandbox broke its contract: {breach}"))

    async def _handle(
        self, request: HttpRequest, operation: Operation, ids: tuple[str, ...]
    ) -> SandboxResponse:
        try:
            call = await self._authorize(request, operation, ids)
            result = operation.handle(self.backend, call)
        except ApiError as error:
            return SandboxResponse(error.status, encode(error.envelope), headers=error.headers)
        if not isinstance(result, Envelope):
            result = {} if result is None else {"data": result}
        return SandboxResponse(operation.status, encode({"success": True, **result}))

    async def _authorize(self, request: HttpRequest, operation: Operation, ids: tuple[str, ...]) -> ApiCall:
        duplicate = request.duplicate_header((_KEY, _TOKEN, _WORKSPACE))
        if duplicate is not None:
            raise ApiError(400, f"Header given twice: {duplicate}")
        credential = self.credentials.identify(request.header(_KEY), request.header(_TOKEN), request.time)
        self.limiter.check(credential.id, request.time)
        request.admitted = True
        caller = self.credentials.authorize(credential, request.header(_WORKSPACE))
        caller.require(operation.scope)
        query = parse_query(request.query, operation.query)
        body = await _parse_body(request, operation)
        return ApiCall(caller, ids, query, body)

    def _record(self, request: HttpRequest, status: int, fault: str | None) -> None:
        credential = self.credentials.find(request.header(_KEY), request.header(_TOKEN))
        key_id = None if credential is None else credential.id
        query, workspace_id = dict(request.query), request.header(_WORKSPACE)
        what = request.time, request.method, request.path, query, workspace_id
        self.record(RequestRecord(*what, key_id, status, fault, request.admitted))


async def _parse_body(request: HttpRequest, operation: Operation) -> dict[str, object]:
    content_type = request.header(b"content-type")
    if operation.saved:
        return parse_object(await request.body(), content_type)
    if operation.fields is None:
        return {}
    content = await request.body()
    body = parse_object(content, content_type) if content else {}
    check_fields(body, operation.fields, operation.required)
    return body


@lru_cache(maxsize=256)
def _is_default_agent(user_agent: str) -> bool:
    return not user_agent.strip() or _DEFAULT_AGENT.match(user_agent.strip()) is not None
