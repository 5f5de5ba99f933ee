"""The sandbox object over HTTP, for a sandbox that runs as a process of its own: everything under ``/_sandbox``.

The real API has nothing there. No key is asked for, so it answers only who is on this machine and came straight here.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from decimal import Decimal
from inspect import signature
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.sandbox.answer import Answer
from airflow_provider_banksync.sandbox.clock import iso, parse_moment
from airflow_provider_banksync.sandbox.encoding import encode
from airflow_provider_banksync.sandbox.errors import ApiError, BadRequestError, SandboxError
from airflow_provider_banksync.sandbox.fault import KINDS
from airflow_provider_banksync.sandbox.params import read_day, read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from starlette.requests import Request

    from airflow_provider_banksync.sandbox.fault import Fault
    from airflow_provider_banksync.sandbox.model import Row
    from airflow_provider_banksync.sandbox.server import BankSyncSandbox

ROOT = "/_sandbox"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# Sent by proxies, and by browsers on behalf of a page from elsewhere: neither is somebody at this machine's keyboard.
_FROM_ELSEWHERE = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via", "origin")


@dataclass(frozen=True)
class Ask:
    """What an admin call works with."""

    sandbox: BankSyncSandbox
    id: str
    """The part of the path that names something; "" where none does."""
    body: dict[str, Any]


@dataclass(frozen=True)
class AdminCall:
    """One admin call: what it is sent as, what it does, and which fields its body takes."""

    method: str
    path: str
    does: str
    answer: Callable[[Ask], Row]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def match(self, path: str) -> str | None:
        """Give the last part of the path where this call has a parameter there, "" where it has none, else None."""
        fixed, parameter, rest = self.path.partition("{id}")
        if not parameter:
            return "" if path == self.path else None
        inner = path[len(fixed) : len(path) - len(rest)]
        return inner if inner and path == f"{fixed}{inner}{rest}" and "/" not in inner else None


class Admin:
    """Answers the admin calls of one sandbox."""

    def __init__(self, sandbox: BankSyncSandbox) -> None:
        self._sandbox = sandbox

    async def answer(self, request: Request) -> Answer:
        """Answer one call."""
        if not _is_local(request):
            return _refusal(403, "Admin calls are for this machine only, and not for proxies or web pages")
        path, method = request.scope["path"], request.method
        here = [(call, call.match(path)) for call in CALLS if call.match(path) is not None]
        if not here:
            return _refusal(404, f"There is no such admin call; GET {ROOT} lists them")
        for call, parameter in here:
            if call.method == method:
                return await self._perform(call, parameter or "", request)
        return _refusal(
            405, "Method not allowed", {"Allow": ", ".join(sorted(call.method for call, _ in here))}
        )

    async def _perform(self, call: AdminCall, parameter: str, request: Request) -> Answer:
        content = await request.body()
        try:
            body = read_object(content, request.headers.get("content-type", "")) if content else {}
            _check_fields(call, body)
            done = call.answer(Ask(self._sandbox, parameter, body))
        except ApiError as error:
            return _refusal(error.status, error.message)
        except (SandboxError, TypeError, ValueError, ArithmeticError) as error:
            return _refusal(400, str(error))
        return Answer(200, encode(done))


def _describe(ask: Ask) -> Row:
    calls = [
        {
            "method": call.method,
            "path": call.path,
            "does": call.does,
            "fields": [*call.required, *call.optional],
        }
        for call in CALLS
    ]
    return {
        "url": ask.sandbox.url,
        "apiKey": ask.sandbox.api_key,
        "workspaceId": ask.sandbox.workspace_id,
        "processorSeconds": Decimal(f"{time.process_time():.3f}"),
        "calls": calls,
    }


def _list_faults(ask: Ask) -> Row:
    return {"faults": [rule.describe() for rule in ask.sandbox.faults.rules]}


def _add_fault(ask: Ask) -> Row:
    fault = _make_fault(ask.body.pop("fault"), ask.body.pop("with", {}))
    if "workspaceId" in ask.body:
        ask.body["workspace_id"] = ask.body.pop("workspaceId")
    return {"fault": ask.sandbox.faults.add(fault, **_plain(ask.body)).describe()}


def _make_fault(name: object, arguments: object) -> Fault:
    make = KINDS.get(name) if isinstance(name, str) else None
    if make is None:
        raise BadRequestError(f"fault must be one of {', '.join(KINDS)}")
    if not isinstance(arguments, dict):
        raise BadRequestError("with must be an object: the arguments of the fault")
    # Edited fields go into a body, where every digit counts; all other numbers are seconds and shares.
    ready = arguments if name == "edited" else _plain(arguments)
    signature(make).bind(**ready)
    return make(**ready)


def _clear_faults(ask: Ask) -> Row:
    ask.sandbox.faults.clear()
    return {"faults": []}


def _list_requests(ask: Ask) -> Row:
    return {"requests": [{**asdict(record), "time": iso(record.time)} for record in ask.sandbox.requests]}


def _clear_requests(ask: Ask) -> Row:
    ask.sandbox.clear_requests()
    return {"requests": []}


def _traffic(ask: Ask) -> Row:
    traffic = ask.sandbox.traffic()
    return {"requests": traffic.requests, "refused": traffic.refused, "peak": traffic.peak}


def _list_jobs(ask: Ask) -> Row:
    return {"jobs": ask.sandbox.jobs}


def _clock(ask: Ask) -> Row:
    return {"now": iso(ask.sandbox.clock.now()), "scale": Decimal(str(ask.sandbox.clock.scale))}


def _set_clock(ask: Ask) -> Row:
    clock, wanted = ask.sandbox.clock, _plain(ask.body)
    moment = parse_moment(str(wanted["now"])) if "now" in wanted else None
    if "scale" in wanted:
        clock.set_scale(wanted["scale"])
    if moment is not None:
        clock.move_to(moment)
    if "advance" in wanted:
        clock.advance(wanted["advance"])
    return _clock(ask)


def _add_transaction(ask: Ask) -> Row:
    made = ask.sandbox.add_transaction(
        str(ask.body["accountId"]),
        ask.body["amount"],
        ask.body.get("description", "Added by a test"),
        day=read_day(ask.body, "day"),
        category=ask.body.get("category", "Other"),
        settles_after=_plain(ask.body).get("settlesAfter"),
    )
    return {"id": made}


def _break_bank(ask: Ask) -> Row:
    ask.sandbox.break_bank(ask.id)
    return {"id": ask.id, "broken": True}


def _mend_bank(ask: Ask) -> Row:
    ask.sandbox.mend_bank(ask.id)
    return {"id": ask.id, "broken": False}


def _finish_link(ask: Ask) -> Row:
    return {"publicToken": ask.sandbox.finish_link(ask.id)}


def _create_key(ask: Ask) -> Row:
    return {"apiKey": ask.sandbox.create_key(ask.body.get("scopes"), *_holder(ask))}


def _create_session(ask: Ask) -> Row:
    return {"bearerToken": ask.sandbox.create_session(*_holder(ask))}


def _holder(ask: Ask) -> tuple[str, str | None, datetime | None]:
    until = ask.body.get("expiresAt")
    expires_at = None if until is None else parse_moment(str(until))
    return ask.body.get("role", "owner"), ask.body.get("workspaceId"), expires_at


def _revoke_key(ask: Ask) -> Row:
    ask.sandbox.revoke_key(ask.id)
    return {"revoked": True}


def _delete_portal(ask: Ask) -> Row:
    ask.sandbox.delete_portal(ask.id)
    return {"id": ask.id, "deleted": True}


_RULE = ("with", "method", "path", "workspaceId", "nth", "times", "probability", "seed", "when")

CALLS = (
    AdminCall(
        "GET", ROOT, "lists these calls, with the key, the URL, and the processor time so far", _describe
    ),
    AdminCall("GET", f"{ROOT}/faults", "lists the fault rules, with their calls and hits", _list_faults),
    AdminCall(
        "POST",
        f"{ROOT}/faults",
        'adds a fault: {"fault": "status", "with": {"code": 503}, "path": "/v1/**", "times": 2}',
        _add_fault,
        ("fault",),
        _RULE,
    ),
    AdminCall("DELETE", f"{ROOT}/faults", "takes all faults away", _clear_faults),
    AdminCall("GET", f"{ROOT}/requests", "gives the journal, oldest first", _list_requests),
    AdminCall("DELETE", f"{ROOT}/requests", "forgets it", _clear_requests),
    AdminCall(
        "GET", f"{ROOT}/traffic", "counts requests, those refused with 429, and the busiest window", _traffic
    ),
    AdminCall("GET", f"{ROOT}/jobs", "gives the jobs that were started through the API", _list_jobs),
    AdminCall("GET", f"{ROOT}/clock", "tells the sandbox's time", _clock),
    AdminCall(
        "PUT",
        f"{ROOT}/clock",
        'moves or stops it: {"advance": 3600}, {"now": "2026-03-01T08:00:00Z"}, {"scale": 0}',
        _set_clock,
        (),
        ("advance", "now", "scale"),
    ),
    AdminCall(
        "POST",
        f"{ROOT}/transactions",
        'adds a transaction: {"accountId": "…", "amount": "-12.50"}',
        _add_transaction,
        ("accountId", "amount"),
        ("description", "day", "category", "settlesAfter"),
    ),
    AdminCall("POST", f"{ROOT}/banks/{{id}}/break", "lets a bank want a new sign-in", _break_bank),
    AdminCall("POST", f"{ROOT}/banks/{{id}}/mend", "lets it be signed in to again", _mend_bank),
    AdminCall("POST", f"{ROOT}/links/{{id}}/finish", "plays the person at a bank link", _finish_link),
    AdminCall(
        "POST",
        f"{ROOT}/keys",
        "makes an API key",
        _create_key,
        (),
        ("scopes", "role", "workspaceId", "expiresAt"),
    ),
    AdminCall("DELETE", f"{ROOT}/keys/{{id}}", "revokes an API key, or ends a session", _revoke_key),
    AdminCall(
        "POST",
        f"{ROOT}/sessions",
        "lets a person sign in, and gives the bearer token",
        _create_session,
        (),
        ("role", "workspaceId", "expiresAt"),
    ),
    AdminCall("DELETE", f"{ROOT}/portals/{{id}}", "deletes a client portal", _delete_portal),
)


def _is_local(request: Request) -> bool:
    headers = request.headers
    peer = request.client.host if request.client else ""
    named = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    came_straight = not any(name in headers for name in _FROM_ELSEWHERE)
    return peer in _LOOPBACK and named.strip("[]") in _LOOPBACK and came_straight


def _check_fields(call: AdminCall, body: Mapping[str, object]) -> None:
    for name in call.required:
        if name not in body:
            raise BadRequestError(f"{name} is required")
    for name in body:
        if name not in (*call.required, *call.optional):
            raise BadRequestError(f"Unknown field: {name!a}")


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in fields.items()}


def _refusal(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, encode({"error": message}), headers=headers or {})
