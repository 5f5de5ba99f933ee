"""The operations of the contract: for each its method and path, what it needs, what it takes, and what answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.params import (
    read_choice,
    read_day,
    read_family,
    read_limit,
    read_status,
    read_text,
    read_texts,
)
from airflow_provider_banksync.sandbox.routing import Call, Operation

if TYPE_CHECKING:
    from airflow_provider_banksync.sandbox.model import Row


def _whoami(call: Call) -> Row:
    return {"data": call.backend.whoami(call.caller)}


def _list_workspaces(call: Call) -> Row:
    return {"data": call.backend.list_workspaces(call.caller)}


def _list_banks(call: Call) -> Row:
    return {"data": call.backend.list_banks(call.caller, family=read_family(call.query))}


def _get_bank(call: Call) -> Row:
    return {"data": call.backend.get_bank(call.caller, call.path["bid"])}


def _list_accounts(call: Call) -> Row:
    return {"data": call.backend.list_accounts(call.caller, call.path["bid"])}


def _get_account(call: Call) -> Row:
    return {"data": call.backend.get_account(call.caller, call.path["bid"], call.path["aid"])}


def _list_transactions(call: Call) -> Row:
    page = call.backend.list_transactions(
        call.caller,
        call.path["bid"],
        call.path["aid"],
        first=read_day(call.query, "from"),
        last=read_day(call.query, "to"),
        cursor=call.query.get("cursor"),
    )
    links = {"self": page.path}
    if page.has_more:
        links["next"] = f"{page.path}?cursor={page.cursor}"
    meta = {"count": page.count, "cursor": page.cursor, "hasMore": page.has_more}
    return {"data": page.rows, "meta": meta, "links": links}


def _get_balance(call: Call) -> Row:
    return {"data": call.backend.get_balance(call.caller, call.path["bid"], call.path["aid"])}


def _list_trades(call: Call) -> Row:
    first, last = read_day(call.query, "from"), read_day(call.query, "to")
    return {
        "data": call.backend.list_trades(
            call.caller, call.path["bid"], call.path["aid"], first=first, last=last
        )
    }


def _list_holdings(call: Call) -> Row:
    return {"data": call.backend.list_holdings(call.caller, call.path["bid"], call.path["aid"])}


def _get_loan(call: Call) -> Row:
    return {"data": call.backend.get_loan(call.caller, call.path["bid"], call.path["aid"])}


def _delete_bank(call: Call) -> Row:
    return {"data": call.editor.delete_bank(call.caller, call.path["bid"])}


def _create_bank_link(call: Call) -> Row:
    for name in ("institutionId", "redirectUri"):
        read_text(call.body, name)
    read_texts(call.body, "countryCodes")
    source = read_choice(call.body, "source", ("plaid", "basiq"))
    return {"data": call.editor.create_bank_link(call.caller, source)}


def _connect_bank(call: Call) -> Row:
    token, institution = read_text(call.body, "publicToken"), read_text(call.body, "institutionId")
    name = read_text(call.body, "institutionName")
    return {"data": call.editor.connect_bank(call.caller, token or "", name, institution)}


def _list_feeds(call: Call) -> Row:
    return {"data": call.backend.list_feeds(call.caller, family=read_family(call.query))}


def _get_feed(call: Call) -> Row:
    return {"data": call.backend.get_feed(call.caller, call.path["fid"])}


def _create_feed(call: Call) -> Row:
    return {"data": call.editor.create_feed(call.caller, dict(call.body))}


def _update_feed(call: Call) -> Row:
    return {"data": call.editor.update_feed(call.caller, call.path["fid"], dict(call.body))}


def _delete_feed(call: Call) -> Row:
    call.editor.delete_feed(call.caller, call.path["fid"])
    return {}


def _preview_enrichment(call: Call) -> Row:
    return {"data": call.editor.preview_enrichment(call.caller, call.path["fid"], call.body["records"])}


def _trigger_sync(call: Call) -> Row:
    first, last = read_day(call.body, "startDate"), read_day(call.body, "endDate")
    return {"data": call.backend.trigger_sync(call.caller, call.path["fid"], first=first, last=last)}


def _trigger_learn(call: Call) -> Row:
    return {"data": call.backend.trigger_learn(call.caller, call.path["fid"])}


def _list_jobs(call: Call) -> Row:
    status, limit = read_status(call.query), read_limit(call.query)
    return {"data": call.backend.list_jobs(call.caller, call.path["fid"], status=status, limit=limit)}


def _list_all_jobs(call: Call) -> Row:
    family, status, limit = read_family(call.query), read_status(call.query), read_limit(call.query)
    return {"data": call.backend.list_all_jobs(call.caller, family=family, status=status, limit=limit)}


def _get_job(call: Call) -> Row:
    return {"data": call.backend.get_job(call.caller, call.path["fid"], call.path["jid"])}


def _cancel_job(call: Call) -> Row:
    return {"data": call.backend.cancel_job(call.caller, call.path["fid"], call.path["jid"])}


def _list_integrations(call: Call) -> Row:
    return {"data": call.backend.list_integrations(call.caller, family=read_family(call.query))}


def _delete_integration(call: Call) -> Row:
    return {"data": call.editor.delete_integration(call.caller, call.path["iid"])}


def _list_enrichments(call: Call) -> Row:
    return {"data": call.backend.list_enrichments(call.caller)}


def _get_enrichment(call: Call) -> Row:
    return {"data": call.backend.get_enrichment(call.caller, call.path["eid"])}


def _create_enrichment(call: Call) -> Row:
    return {"data": call.editor.create_enrichment(call.caller, dict(call.body))}


def _update_enrichment(call: Call) -> Row:
    return {"data": call.editor.update_enrichment(call.caller, call.path["eid"], dict(call.body))}


def _delete_enrichment(call: Call) -> Row:
    call.editor.delete_enrichment(call.caller, call.path["eid"])
    return {}


_SCOPE = frozenset({"scope"})
_DAYS = frozenset({"from", "to"})
_JOBS = frozenset({"limit", "status"})
_ACCOUNT = "/v1/banks/{bid}/accounts/{aid}"

OPERATIONS = (
    Operation("GET", "/v1/whoami", _whoami),
    Operation("GET", "/v1/workspaces", _list_workspaces, "workspaces:read"),
    Operation("GET", "/v1/banks", _list_banks, "banks:read", query=_SCOPE),
    Operation(
        "POST",
        "/v1/banks/link",
        _create_bank_link,
        "banks:write",
        fields=frozenset({"source", "institutionId", "countryCodes", "redirectUri"}),
        required=frozenset({"source"}),
    ),
    Operation(
        "POST",
        "/v1/banks/connect",
        _connect_bank,
        "banks:write",
        fields=frozenset({"publicToken", "institutionId", "institutionName"}),
        required=frozenset({"publicToken"}),
        status=201,
    ),
    Operation("GET", "/v1/banks/{bid}", _get_bank, "banks:read"),
    Operation("DELETE", "/v1/banks/{bid}", _delete_bank, "banks:write"),
    Operation("GET", "/v1/banks/{bid}/accounts", _list_accounts, "banks:read"),
    Operation("GET", _ACCOUNT, _get_account, "banks:read"),
    Operation("GET", f"{_ACCOUNT}/transactions", _list_transactions, "banks:read", query=_DAYS | {"cursor"}),
    Operation("GET", f"{_ACCOUNT}/balances", _get_balance, "banks:read"),
    Operation("GET", f"{_ACCOUNT}/trades", _list_trades, "banks:read", query=_DAYS),
    Operation("GET", f"{_ACCOUNT}/holdings", _list_holdings, "banks:read"),
    Operation("GET", f"{_ACCOUNT}/loan", _get_loan, "banks:read"),
    Operation("GET", "/v1/feeds", _list_feeds, "feeds:read", query=_SCOPE),
    Operation("POST", "/v1/feeds", _create_feed, "feeds:write", keeps=True, status=201),
    Operation("GET", "/v1/feeds/{fid}", _get_feed, "feeds:read"),
    Operation("PUT", "/v1/feeds/{fid}", _update_feed, "feeds:write", keeps=True),
    Operation("DELETE", "/v1/feeds/{fid}", _delete_feed, "feeds:write"),
    Operation(
        "POST",
        "/v1/feeds/{fid}/enrich/preview",
        _preview_enrichment,
        "enrichments:read",
        fields=frozenset({"records"}),
        required=frozenset({"records"}),
    ),
    Operation(
        "POST",
        "/v1/feeds/{fid}/sync",
        _trigger_sync,
        "jobs:write",
        fields=frozenset({"startDate", "endDate"}),
        status=201,
    ),
    Operation("POST", "/v1/feeds/{fid}/learn", _trigger_learn, "jobs:write", fields=frozenset()),
    Operation("GET", "/v1/feeds/{fid}/jobs", _list_jobs, "jobs:read", query=_JOBS),
    Operation("GET", "/v1/feeds/{fid}/jobs/{jid}", _get_job, "jobs:read"),
    Operation("DELETE", "/v1/feeds/{fid}/jobs/{jid}", _cancel_job, "jobs:write"),
    Operation("GET", "/v1/enrichments", _list_enrichments, "enrichments:read"),
    Operation("POST", "/v1/enrichments", _create_enrichment, "enrichments:write", keeps=True, status=201),
    Operation("GET", "/v1/enrichments/{eid}", _get_enrichment, "enrichments:read"),
    Operation("PUT", "/v1/enrichments/{eid}", _update_enrichment, "enrichments:write", keeps=True),
    Operation("DELETE", "/v1/enrichments/{eid}", _delete_enrichment, "enrichments:write"),
    Operation("GET", "/v1/integrations", _list_integrations, "workspaces:read", query=_SCOPE),
    Operation("DELETE", "/v1/integrations/{iid}", _delete_integration, "workspaces:write"),
    # The internal surface has the one workspace-wide list of jobs.
    Operation("GET", "/api/jobs", _list_all_jobs, "jobs:read", query=_SCOPE | _JOBS),
)
