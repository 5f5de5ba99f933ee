"""The operations of the contract, and how a path finds its operations. Each one is a method of the backend."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.rules.editor import WritableBackend as Api

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from airflow_provider_banksync.sandbox.rules.api_call import ApiCall

_PUBLIC, _INTERNAL = "/v1/", "/api/"


@dataclass(frozen=True)
class Operation:
    """One operation. ``handle`` returns the ``data`` of the success envelope, an ``Envelope``, or None for no data."""

    method: str
    path: str
    """A segment in braces is a parameter."""
    handle: Callable[[Api, ApiCall], object]
    scope: str | None = None
    """The scope that a key needs; None if every key may call it."""
    query: Collection[str] = ()
    fields: Collection[str] | None = None
    """The fields of the body; None if no body is read."""
    required: Collection[str] = ()
    """Fields without which the body is refused."""
    saved: bool = False
    """Whether the body is saved as a resource. The backend checks its fields and lists all errors in a 422."""
    status: int = 200


_get, _post, _put, _delete = (partial(Operation, method) for method in ("GET", "POST", "PUT", "DELETE"))
_SCOPE, _DAYS, _JOBS = ("scope",), ("from", "to"), ("limit", "status")
_BANK, _ACCOUNTS = "/v1/banks/{bid}", "/v1/banks/{bid}/accounts"
_ACCOUNT = f"{_ACCOUNTS}/{{aid}}"
_FEEDS, _FEED, _JOB = "/v1/feeds", "/v1/feeds/{fid}", "/v1/feeds/{fid}/jobs/{jid}"
_ENRICHMENTS, _ENRICHMENT = "/v1/enrichments", "/v1/enrichments/{eid}"
_LINK = ("source", "institutionId", "countryCodes", "redirectUri")
_CONNECT = ("publicToken", "institutionId", "institutionName")

OPERATIONS: tuple[Operation, ...] = (
    _get("/v1/whoami", Api.whoami),
    _get("/v1/workspaces", Api.list_workspaces, "workspaces:read"),
    _get("/v1/banks", Api.list_banks, "banks:read", _SCOPE),
    _post("/v1/banks/link", Api.create_bank_link, "banks:write", (), _LINK, ("source",)),
    _post("/v1/banks/connect", Api.connect_bank, "banks:write", (), _CONNECT, ("publicToken",), status=201),
    _get(_BANK, Api.get_bank, "banks:read"),
    _delete(_BANK, Api.delete_bank, "banks:write"),
    _get(_ACCOUNTS, Api.list_accounts, "banks:read"),
    _get(_ACCOUNT, Api.get_account, "banks:read"),
    _get(f"{_ACCOUNT}/transactions", Api.list_transactions, "banks:read", (*_DAYS, "cursor")),
    _get(f"{_ACCOUNT}/balances", Api.get_balance, "banks:read"),
    _get(f"{_ACCOUNT}/trades", Api.list_trades, "banks:read", _DAYS),
    _get(f"{_ACCOUNT}/holdings", Api.list_holdings, "banks:read"),
    _get(f"{_ACCOUNT}/loan", Api.get_loan, "banks:read"),
    _get(_FEEDS, Api.list_feeds, "feeds:read", _SCOPE),
    _post(_FEEDS, Api.create_feed, "feeds:write", saved=True, status=201),
    _get(_FEED, Api.get_feed, "feeds:read"),
    _put(_FEED, Api.update_feed, "feeds:write", saved=True),
    _delete(_FEED, Api.delete_feed, "feeds:write"),
    _post(
        f"{_FEED}/enrich/preview", Api.preview_enrichment, "enrichments:read", (), ("records",), ("records",)
    ),
    _post(f"{_FEED}/sync", Api.trigger_sync, "jobs:write", (), ("startDate", "endDate"), status=201),
    _post(f"{_FEED}/learn", Api.trigger_learn, "jobs:write", fields=()),
    _get(f"{_FEED}/jobs", Api.list_jobs, "jobs:read", _JOBS),
    _get(_JOB, Api.get_job, "jobs:read"),
    _delete(_JOB, Api.cancel_job, "jobs:write"),
    _get(_ENRICHMENTS, Api.list_enrichments, "enrichments:read"),
    _post(_ENRICHMENTS, Api.create_enrichment, "enrichments:write", saved=True, status=201),
    _get(_ENRICHMENT, Api.get_enrichment, "enrichments:read"),
    _put(_ENRICHMENT, Api.update_enrichment, "enrichments:write", saved=True),
    _delete(_ENRICHMENT, Api.delete_enrichment, "enrichments:write"),
    _get("/v1/integrations", Api.list_integrations, "workspaces:read", _SCOPE),
    _delete("/v1/integrations/{iid}", Api.delete_integration, "workspaces:write"),
    # Only the internal surface lists all jobs of a workspace.
    _get("/api/jobs", Api.list_all_jobs, "jobs:read", (*_SCOPE, *_JOBS)),
)


class RouteTable:
    """Finds the operations of a path. A path with a slash at its end is another path, which does not exist."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        # A fixed segment comes before a parameter: "/banks/link" is never the bank with the id "link".
        paths = sorted(by_path, key=lambda path: path.replace("{", "~"))
        self._paths = [(re.compile(re.sub(r"\{\w+\}", "([^/]+)", path)), by_path[path]) for path in paths]

    def find(self, path: str) -> tuple[Mapping[str, Operation], tuple[str, ...]] | None:
        """Return the operations of a path by method, and the path's parameters. Returns None for an unknown path.

        The internal surface has a few paths of its own, and under ``/api`` every path of the public one.
        """
        found = self._match(path)
        if found is None and path.startswith(_INTERNAL):
            return self._match(_PUBLIC + path.removeprefix(_INTERNAL))
        return found

    def _match(self, path: str) -> tuple[Mapping[str, Operation], tuple[str, ...]] | None:
        for pattern, operations in self._paths:
            if match := pattern.fullmatch(path):
                return operations, match.groups()
        return None
