"""The admin calls under ``/_sandbox``: the methods of the sandbox over HTTP, for one that runs as its own process.

The real API has nothing there. The calls need no key, so they answer only direct requests from this machine.
"""

from __future__ import annotations

import time
from dataclasses import asdict, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_banksync.sandbox.clock import format_timestamp, parse_moment
from airflow_provider_banksync.sandbox.control import bank_calls
from airflow_provider_banksync.sandbox.control.state import SandboxState as State
from airflow_provider_banksync.sandbox.errors import ApiError, SandboxError
from airflow_provider_banksync.sandbox.exact_json import encode
from airflow_provider_banksync.sandbox.http import fault_json
from airflow_provider_banksync.sandbox.http.app import ADMIN_ROOT
from airflow_provider_banksync.sandbox.http.fault_json import add_fault, decimals_to_floats
from airflow_provider_banksync.sandbox.http.wire import HttpRequest, SandboxResponse
from airflow_provider_banksync.sandbox.rules.api_call import check_fields, parse_day, parse_object
from airflow_provider_banksync.sandbox.world.banks import Banks

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow_provider_banksync.sandbox.world.model import Row

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# Proxies send these headers, and browsers on behalf of a web page.
_PROXY_HEADERS = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via", b"origin")


class Admin:
    """Answers the admin calls of one sandbox."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def answer(self, request: HttpRequest) -> SandboxResponse:
        """Answer one call."""
        if not _is_local(request):
            return _error(403, "Admin calls are for this machine only, and not for proxies or web pages")
        segments = request.path.split("/")
        ids = [each for each in segments[3:4] if each]
        path = "/".join([*segments[:3], *(["{id}"] if ids else segments[3:4]), *segments[4:]])
        calls = {each.method: each for each in CALLS if ADMIN_ROOT + each.path == path}
        if not calls:
            return _error(404, f"There is no such admin call; GET {ADMIN_ROOT} lists them")
        call = calls.get(request.method)
        if call is None:
            return _error(405, "Method not allowed", {"Allow": ", ".join(sorted(calls))})
        content = await request.body()
        try:
            body = parse_object(content, request.header(b"content-type")) if content else {}
            check_fields(body, call.fields, call.required)
            result = call.handle(self._state, *ids, *([body] if call.fields else []))
        except ApiError as error:
            return _error(error.status, error.message)
        except (SandboxError, TypeError, ValueError, ArithmeticError) as error:
            return _error(400, str(error))
        return SandboxResponse(200, encode(result))


def _describe(state: State) -> Row:
    calls = [
        {"method": c.method, "path": ADMIN_ROOT + c.path, "does": c.summary, "fields": c.fields}
        for c in CALLS
    ]
    return {
        "url": state.url,
        "apiKey": state.api_key,
        "workspaceId": state.workspace_id,
        "processorSeconds": Decimal(f"{time.process_time():.3f}"),
        "calls": calls,
    }


def _add_fault(state: State, body: dict[str, Any]) -> Row:
    return {"fault": add_fault(state.faults, body).describe()}


def _list_faults(state: State) -> Row:
    return {"faults": [rule.describe() for rule in state.faults.rules]}


def _list_requests(state: State) -> Row:
    requests = [{**asdict(each), "time": format_timestamp(each.time)} for each in state.requests]
    return {"requests": requests}


def _traffic(state: State) -> Row:
    traffic = state.traffic()
    return {"requests": traffic.requests, "refused": traffic.refused, "peak": traffic.peak}


def _clock(state: State) -> Row:
    return {"now": format_timestamp(state.clock.now()), "scale": Decimal(str(state.clock.scale))}


def _set_clock(state: State, body: dict[str, Any]) -> Row:
    clock, body = state.clock, decimals_to_floats(body)
    moment = parse_moment(str(body["now"])) if "now" in body else None
    if "scale" in body:
        clock.set_scale(body["scale"])
    if moment is not None:
        clock.move_to(moment)
    if "advance" in body:
        clock.advance(body["advance"])
    if "days" in body:
        state.advance(days=body["days"])
    return _clock(state)


def _add_transaction(state: State, body: dict[str, Any]) -> Row:
    created = state.add_transaction(
        str(body["accountId"]),
        body["amount"],
        body.get("description", "Added by a test"),
        day=parse_day(body, "day"),
        category=body.get("category", "Other"),
        settles_after=decimals_to_floats(body).get("settlesAfter"),
    )
    return {"id": created}


def _create_key(state: State, body: dict[str, Any]) -> Row:
    return {"apiKey": state.create_key(body.get("scopes"), *_key_owner(body))}


def _create_session(state: State, body: dict[str, Any]) -> Row:
    return {"bearerToken": state.create_session(*_key_owner(body))}


def _finish_link(state: State, link_token: str) -> Row:
    return {"publicToken": state.finish_link(link_token)}


def _revoke_key(state: State, key: str) -> Row:
    state.revoke_key(key)  # the answer does not repeat it, because it is a secret
    return {"revoked": True}


def _done(change: Callable[..., None], **answer: object) -> Callable[..., Row]:
    """Return a handler that makes a change and returns this answer, with the id in the path."""

    def handle(state: State, *ids: str) -> Row:
        change(state, *ids)
        return {**({"id": ids[0]} if ids else {}), **answer}

    return handle


class _Call(NamedTuple):
    """One admin call. ``handle`` takes the state, the id in the path, and the body if the call has fields."""

    method: str
    path: str
    summary: str
    handle: Callable[..., Row]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        return self.required + self.optional


_FAULT_EXAMPLE = '{"fault": "status", "with": {"code": 503}, "path": "/v1/**", "times": 2}'
_FAULT_FIELDS = fault_json.REQUIRED, fault_json.OPTIONAL
_CLOCK_EXAMPLES = '{"advance": 3600}, {"days": 1}, {"now": "2026-03-01T08:00:00Z"}, {"scale": 0}'
_CLOCK_OPTIONS = ("advance", "days", "now", "scale")
_ROW_EXAMPLE = '{"accountId": "…", "amount": "-12.50"}'
_ROW_FIELDS = ("accountId", "amount"), ("description", "day", "category", "settlesAfter")
_OWNER = ("role", "workspaceId", "expiresAt")
_RATES = ("profile", *(each.name for each in fields(Banks)))
_ACCOUNT = ("accountId",)
CALLS = (
    _Call("GET", "", "lists these calls, with URL, key and processor time so far", _describe),
    _Call("GET", "/faults", "lists the fault rules with their calls and hits", _list_faults),
    _Call("POST", "/faults", f"adds a fault: {_FAULT_EXAMPLE}", _add_fault, *_FAULT_FIELDS),
    _Call("DELETE", "/faults", "removes all faults", _done(lambda state: state.faults.clear(), faults=[])),
    _Call("GET", "/requests", "lists the requests so far, oldest first", _list_requests),
    _Call("DELETE", "/requests", "clears the list of requests", _done(State.clear_requests, requests=[])),
    _Call("GET", "/traffic", "counts requests, 429 answers, and the busiest window", _traffic),
    _Call(
        "GET", "/jobs", "lists the jobs that were started through the API", lambda state: {"jobs": state.jobs}
    ),
    _Call("GET", "/clock", "returns the sandbox's time", _clock),
    _Call("PUT", "/clock", f"moves or stops the clock: {_CLOCK_EXAMPLES}", _set_clock, (), _CLOCK_OPTIONS),
    _Call("POST", "/transactions", f"adds a transaction: {_ROW_EXAMPLE}", _add_transaction, *_ROW_FIELDS),
    _Call(
        "POST", "/banks/{id}/break", "makes a bank need a new sign-in", _done(State.break_bank, broken=True)
    ),
    _Call("POST", "/banks/{id}/mend", "signs in to the bank again", _done(State.mend_bank, broken=False)),
    _Call("POST", "/banks/{id}/relink", "links a bank anew, under new ids", bank_calls.relink),
    _Call("GET", "/banks", "returns the rates at which banks change rows", bank_calls.show_rates),
    _Call(
        "PUT", "/banks", 'changes rates from tomorrow on: {"vanish": 0.1}', bank_calls.set_rates, (), _RATES
    ),
    _Call("POST", "/transactions/{id}/vanish", "makes a pending row vanish", bank_calls.vanish, _ACCOUNT),
    _Call(
        "POST",
        "/transactions/{id}/keep-pending",
        "keeps a row pending for ever",
        bank_calls.keep_pending,
        _ACCOUNT,
    ),
    _Call(
        "POST",
        "/transactions/{id}/post",
        "posts a pending row, under a new id",
        bank_calls.post,
        _ACCOUNT,
        ("amount", "day", "link"),
    ),
    _Call(
        "POST",
        "/transactions/{id}/change",
        "changes the texts of a posted row",
        bank_calls.change,
        _ACCOUNT,
        ("description", "category"),
    ),
    _Call("POST", "/transactions/{id}/remove", "removes a posted row", bank_calls.remove, _ACCOUNT),
    _Call(
        "POST",
        "/accounts/{id}/difference",
        "adds to the balance what no row explains",
        bank_calls.plant_difference,
        ("amount",),
        ("day",),
    ),
    _Call(
        "POST",
        "/accounts/{id}/stale",
        "stops the delivery of an account",
        _done(lambda state, account_id: state.banks.make_stale(account_id), stale=True),
    ),
    _Call(
        "POST",
        "/accounts/{id}/refresh",
        "delivers what a stale account has missed",
        _done(lambda state, account_id: state.banks.refresh(account_id), stale=False),
    ),
    _Call("GET", "/truth/{id}", "lists all transactions of a workspace", bank_calls.list_truth),
    _Call("POST", "/links/{id}/finish", "signs in at a bank link, as its user", _finish_link),
    _Call("POST", "/keys", "creates an API key", _create_key, (), ("scopes", *_OWNER)),
    _Call("DELETE", "/keys/{id}", "revokes an API key or ends a session", _revoke_key),
    _Call("POST", "/sessions", "signs a user in; returns a bearer token", _create_session, (), _OWNER),
    _Call("DELETE", "/portals/{id}", "deletes a client portal", _done(State.delete_portal, deleted=True)),
)


def _is_local(request: HttpRequest) -> bool:
    host = request.header(b"host") or ""
    name = (host.rpartition(":")[0] or host).strip("[]")
    direct = all(request.header(each) is None for each in _PROXY_HEADERS)
    return request.client_host in _LOOPBACK and name in _LOOPBACK and direct


def _key_owner(body: dict[str, Any]) -> tuple[str, str | None, datetime | None]:
    until = body.get("expiresAt")
    expires_at = None if until is None else parse_moment(str(until))
    return body.get("role", "owner"), body.get("workspaceId"), expires_at


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> SandboxResponse:
    return SandboxResponse(status, encode({"error": message}), headers=headers or {})
