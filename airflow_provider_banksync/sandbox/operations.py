"""The operations of the contract: for each its method and path, what it needs, what it takes, and what answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.params import read_day, read_family, read_limit, read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_banksync.sandbox.auth import Caller
    from airflow_provider_banksync.sandbox.backend import Backend
    from airflow_provider_banksync.sandbox.model import Row


@dataclass(frozen=True)
class Call:
    """One request that has passed the door, with everything that it carries."""

    backend: Backend
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, object]


@dataclass(frozen=True)
class Operation:
    """One operation. ``answer`` gives the members of the success envelope."""

    method: str
    path: str
    answer: Callable[[Call], Row]
    needs: str | None = None
    """The key scope; None where any key will do."""
    query: frozenset[str] = frozenset()
    fields: frozenset[str] | None = None
    """Fields of the body; None where no body is read."""
    status: int = 200


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
    meta = {"count": len(page.rows), "cursor": page.cursor, "hasMore": page.has_more}
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


def _list_feeds(call: Call) -> Row:
    return {"data": call.backend.list_feeds(call.caller, family=read_family(call.query))}


def _get_feed(call: Call) -> Row:
    return {"data": call.backend.get_feed(call.caller, call.path["fid"])}


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


def _list_enrichments(call: Call) -> Row:
    return {"data": call.backend.list_enrichments(call.caller)}


def _get_enrichment(call: Call) -> Row:
    return {"data": call.backend.get_enrichment(call.caller, call.path["eid"])}


_SCOPE = frozenset({"scope"})
_DAYS = frozenset({"from", "to"})
_JOBS = frozenset({"limit", "status"})
_ACCOUNT = "/v1/banks/{bid}/accounts/{aid}"

OPERATIONS = (
    Operation("GET", "/v1/whoami", _whoami),
    Operation("GET", "/v1/workspaces", _list_workspaces, "workspaces:read"),
    Operation("GET", "/v1/banks", _list_banks, "banks:read", query=_SCOPE),
    Operation("GET", "/v1/banks/{bid}", _get_bank, "banks:read"),
    Operation("GET", "/v1/banks/{bid}/accounts", _list_accounts, "banks:read"),
    Operation("GET", _ACCOUNT, _get_account, "banks:read"),
    Operation("GET", f"{_ACCOUNT}/transactions", _list_transactions, "banks:read", query=_DAYS | {"cursor"}),
    Operation("GET", f"{_ACCOUNT}/balances", _get_balance, "banks:read"),
    Operation("GET", f"{_ACCOUNT}/trades", _list_trades, "banks:read", query=_DAYS),
    Operation("GET", f"{_ACCOUNT}/holdings", _list_holdings, "banks:read"),
    Operation("GET", f"{_ACCOUNT}/loan", _get_loan, "banks:read"),
    Operation("GET", "/v1/feeds", _list_feeds, "feeds:read", query=_SCOPE),
    Operation("GET", "/v1/feeds/{fid}", _get_feed, "feeds:read"),
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
    Operation("GET", "/v1/enrichments/{eid}", _get_enrichment, "enrichments:read"),
    Operation("GET", "/v1/integrations", _list_integrations, "workspaces:read", query=_SCOPE),
    # The internal surface has the one workspace-wide list of jobs.
    Operation("GET", "/api/jobs", _list_all_jobs, "jobs:read", query=_SCOPE | _JOBS),
)


@dataclass(frozen=True)
class Resource:
    """Everything that can be done at one path."""

    segments: tuple[str, ...]
    operations: Mapping[str, Operation]

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """Give the path's parameters where this is its resource, else None."""
        if len(segments) != len(self.segments):
            return None
        found: dict[str, str] = {}
        for pattern, segment in zip(self.segments, segments, strict=True):
            if pattern.startswith("{") and segment:
                found[pattern[1:-1]] = segment
            elif pattern != segment:
                return None
        return found


class Routes:
    """Finds the resource that a path names. A trailing slash names another, which there is not."""

    def __init__(self, operations: tuple[Operation, ...] = OPERATIONS) -> None:
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        # A fixed segment goes before a parameter: "/banks/link" is never the bank called "link".
        order = sorted(by_path, key=lambda path: path.replace("{", "~"))
        self._resources = [Resource(tuple(path.split("/")), by_path[path]) for path in order]

    def find(self, path: str) -> tuple[Resource, dict[str, str]] | None:
        """Give the resource and the parameters of a path, None where there is no such path."""
        segments = tuple(path.split("/"))
        return next(self._matches(segments), None)

    def _matches(self, segments: tuple[str, ...]) -> Iterator[tuple[Resource, dict[str, str]]]:
        for resource in self._resources:
            found = resource.match(segments)
            if found is not None:
                yield resource, found
