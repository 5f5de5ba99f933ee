"""HTTP in and out: a request becomes a call of the backend, its result or its refusal becomes a response.

Faults before → edge (who may knock at all) → route → key → rate limit → workspace → key scope → parameters → backend
→ faults after → wire.
"""

from __future__ import annotations

import contextlib
import logging
import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from starlette.requests import ClientDisconnect, Request

from airflow_provider_banksync.sandbox.admin import ROOT
from airflow_provider_banksync.sandbox.answer import HTML, Answer, refusal_body
from airflow_provider_banksync.sandbox.encoding import encode
from airflow_provider_banksync.sandbox.errors import ApiError, BadRequestError
from airflow_provider_banksync.sandbox.journal import Journal, RequestRecord
from airflow_provider_banksync.sandbox.operations import OPERATIONS
from airflow_provider_banksync.sandbox.params import read_body, read_object, read_query
from airflow_provider_banksync.sandbox.routing import Call, Operation, Routes
from airflow_provider_banksync.sandbox.wire import Wire

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.types import Receive, Scope, Send

    from airflow_provider_banksync.sandbox.admin import Admin
    from airflow_provider_banksync.sandbox.auth import Keyring
    from airflow_provider_banksync.sandbox.backend import Backend
    from airflow_provider_banksync.sandbox.clock import SandboxClock
    from airflow_provider_banksync.sandbox.contract import Witness
    from airflow_provider_banksync.sandbox.editor import Editor
    from airflow_provider_banksync.sandbox.fault import Fault
    from airflow_provider_banksync.sandbox.faults import Faults, Strike
    from airflow_provider_banksync.sandbox.ratelimit import RateLimiter

log = logging.getLogger(__name__)

# What HTTP libraries call themselves when nobody gave them a name.
_DEFAULT_AGENT = re.compile(
    r"(python-requests|python-urllib|python-urllib3|python-httpx|python/\d[\d.]* aiohttp|aiohttp|httpx|urllib3"
    r"|curl|wget|go-http-client|java|okhttp|apache-httpclient|axios|node-fetch|undici|node|libwww-perl|ruby"
    r"|guzzlehttp|pycurl|libcurl|scrapy|dart)(/|$|\s)",
    re.IGNORECASE,
)
_BLOCKED_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>Access denied</title></head>"
    "<body><h1>Access denied</h1><p>error code: 1010</p>"
    "<p>The owner of this website has banned your access based on your browser's signature.</p></body></html>\n"
)
_HUNG_UP = 499
_ONCE = (b"x-api-key", b"authorization", b"x-workspace-id")


class _Exchange:
    """One request on its way through, and whose it turned out to be.

    Not starlette's Request, which takes longer to look up its headers than a page takes to be found.
    """

    def __init__(self, scope: Scope, receive: Receive, now: datetime, keyring: Keyring) -> None:
        self.now = now
        self.method: str = scope["method"]
        self.path = _path(scope["raw_path"])
        self._scope = scope
        self._receive = receive
        # Of a header that was sent twice, the first counts.
        self._headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        text = scope["query_string"].decode("latin-1")
        self.query = parse_qsl(text, keep_blank_values=True) if text else []
        self.workspace_id = self.header(b"x-workspace-id")
        credential = keyring.find(self.header(b"x-api-key"), self.header(b"authorization"))
        self.key_id = None if credential is None else credential.id
        self.admitted = False

    def header(self, name: bytes) -> str | None:
        """Give a header; None where it was not sent."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def twice(self) -> str | None:
        """Name a header that was sent twice and must not be; None where all is well."""
        if len(self._headers) == len(self._scope["headers"]):
            return None
        sent = [name for name, _ in self._scope["headers"]]
        return next((name.decode() for name in _ONCE if sent.count(name) > 1), None)

    async def body(self) -> bytes:
        """Read the body."""
        return await Request(self._scope, self._receive).body()


class SandboxApp:
    """The ASGI application of one sandbox."""

    def __init__(
        self,
        backend: Backend,
        editor: Editor,
        keyring: Keyring,
        clock: SandboxClock,
        journal: Journal,
        faults: Faults,
        limiter: RateLimiter,
        admin: Admin,
        witness: Witness | None,
        *,
        block_default_user_agents: bool,
    ) -> None:
        self._backend = backend
        self._editor = editor
        self._keyring = keyring
        self._clock = clock
        self._journal = journal
        self._faults = faults
        self._limiter = limiter
        self._admin = admin
        self._witness = witness
        self._block_default_user_agents = block_default_user_agents
        self._routes = Routes(OPERATIONS)
        self.wire = Wire()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] == ROOT or scope["path"].startswith(f"{ROOT}/"):
            with contextlib.suppress(ClientDisconnect):
                answer = await self._admin.answer(Request(scope, receive))
                await self.wire.deliver(answer, self._clock.now(), scope, receive, send)
            return
        exchange = _Exchange(scope, receive, self._clock.now(), self._keyring)
        strike = self._faults.strike(exchange.method, exchange.path, exchange.workspace_id)
        try:
            answer = await self._struck(exchange, strike)
        except ClientDisconnect:
            self._record(exchange, _HUNG_UP, strike.name)
            return
        except Exception:
            log.exception("The sandbox has a bug: %s %s", exchange.method, exchange.path)
            answer = Answer(500, refusal_body("Internal error of the sandbox; see its log"))
        # Written down before it is sent: who has the answer finds the request in the journal.
        self._record(exchange, answer.status, strike.name)
        await self.wire.deliver(answer, self._clock.now(), scope, receive, send)

    async def _struck(self, exchange: _Exchange, strike: Strike) -> Answer:
        """Answer, with what goes wrong before the work and after it."""
        for fault in strike.before:
            await self._pause(fault)
            if fault.instead:
                return fault.instead(self._clock.now())
        answer = await self._answer(exchange)
        for fault in strike.after:
            await self._pause(fault)
            if fault.instead:
                return fault.instead(self._clock.now())
            if fault.reshape:
                answer = fault.reshape(answer)
        return answer

    async def _pause(self, fault: Fault) -> None:
        if fault.pause:
            await self.wire.pause(fault.pause)

    async def _answer(self, exchange: _Exchange) -> Answer:
        agent = exchange.header(b"user-agent") or ""
        found = self._routes.find(exchange.path)
        operation = found[0].operations.get(exchange.method) if found else None
        if self._block_default_user_agents and _is_default_agent(agent):
            answer = Answer(403, _BLOCKED_PAGE.encode(), HTML, {"Server": "cloudflare"})
        elif found is None:
            answer = Answer(404, refusal_body("Not found"))
        elif operation is None:
            allowed = ", ".join(sorted(found[0].operations))
            answer = Answer(405, refusal_body("Method not allowed"), headers={"Allow": allowed})
        else:
            answer = await self._operate(exchange, operation, found[1])
        return self._witnessed(answer, operation)

    def _witnessed(self, answer: Answer, operation: Operation | None) -> Answer:
        """Let the tests' witness see an answer; without one, as always outside of tests, nothing happens here."""
        if self._witness is None or operation is None:
            return answer
        wrong = self._witness.complaint(operation.method, operation.path, answer)
        return (
            answer if wrong is None else Answer(500, refusal_body(f"The sandbox broke its contract: {wrong}"))
        )

    async def _operate(self, exchange: _Exchange, operation: Operation, path: dict[str, str]) -> Answer:
        try:
            members = await self._perform(exchange, operation, path)
        except ApiError as error:
            return Answer(error.status, encode(error.envelope()), headers=error.headers)
        return Answer(operation.status, encode({"success": True, **members}))

    async def _perform(
        self, exchange: _Exchange, operation: Operation, path: dict[str, str]
    ) -> dict[str, object]:
        twice = exchange.twice()
        if twice is not None:
            raise BadRequestError(f"Header given twice: {twice}")
        credential = self._keyring.identify(
            exchange.header(b"x-api-key"), exchange.header(b"authorization"), exchange.now
        )
        self._limiter.admit(credential.id, exchange.now)
        exchange.admitted = True
        caller = self._keyring.enter(credential, exchange.workspace_id)
        caller.require(operation.needs)
        query = read_query(exchange.query, operation.query)
        body = await _body(exchange, operation)
        return operation.answer(Call(self._backend, self._editor, caller, path, query, body))

    def _record(self, exchange: _Exchange, status: int, fault: str | None) -> None:
        self._journal.add(
            RequestRecord(
                time=exchange.now,
                method=exchange.method,
                path=exchange.path,
                query=dict(exchange.query),
                workspace_id=exchange.workspace_id,
                key_id=exchange.key_id,
                status=status,
                fault=fault,
                admitted=exchange.admitted,
            )
        )


async def _body(exchange: _Exchange, operation: Operation) -> dict[str, object]:
    sort = exchange.header(b"content-type") or ""
    if operation.keeps:
        return read_object(await exchange.body(), sort)
    if operation.fields is None:
        return {}
    return read_body(await exchange.body(), sort, operation.fields, operation.required)


def _path(raw: bytes) -> str:
    """Decode a path segment by segment: an encoded slash is part of an id, and never ends one."""
    path = raw.decode("latin-1")
    if "%" not in path:
        return path
    return "/".join(unquote(segment).replace("/", "%2F") for segment in path.split("/"))


@lru_cache(maxsize=256)
def _is_default_agent(user_agent: str) -> bool:
    return not user_agent.strip() or _DEFAULT_AGENT.match(user_agent.strip()) is not None
