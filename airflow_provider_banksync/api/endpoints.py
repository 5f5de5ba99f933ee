"""Every endpoint, written down once: method, path, query, body, what the answer holds, whether it may be repeated.

Each function returns a `Call`, which either client sends. Source: the contract (``docs/``), one operationId each.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.api.messages import Call, Request, Row
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable

SCOPES = ("self", "family")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def check_scope(scope: str) -> str:
    """Return the scope, if it is one.

    :raises BankSyncConfigError: (a ValueError) when it is neither ``self`` nor ``family``.
    """
    if scope not in SCOPES:
        raise BankSyncConfigError(f"scope must be 'self' or 'family', not {scope!r}.")
    return scope


def _id(name: str, value: object) -> str:
    """Quote an id into one path segment; dots alone would climb out of it whatever the quoting."""
    if not isinstance(value, str) or not value.strip() or value.strip(".") == "":
        raise BankSyncConfigError(f"{name} must be the id of one in BankSync, not {value!r}.")
    return quote(value, safe="")


def _day(name: str, value: str | None) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise BankSyncConfigError(f"{name} must be a day, YYYY-MM-DD, not {value!r}.")
    return value


def _days(from_date: str | None, to_date: str | None) -> tuple[str | None, str | None]:
    first, last = _day("from_date", from_date), _day("to_date", to_date)
    if first and last and first > last:
        raise BankSyncConfigError(f"from_date {first} is after to_date {last}.")
    return first, last


def _query(pairs: Iterable[tuple[str, str | int | None]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in pairs if value is not None)


def _get(
    operation: str, path: str, workspace_id: str | None, query: tuple[tuple[str, str], ...] = ()
) -> Request:
    return Request(operation, "GET", path, query, workspace_id=workspace_id)


def _object(envelope: Row) -> Row:
    data = envelope.get("data")
    if not isinstance(data, dict):
        raise BankSyncResponseError(f"the answer's data is not an object but {type(data).__name__}.")
    return data


def _rows(envelope: Row) -> list[Row]:
    data = envelope.get("data")
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise BankSyncResponseError("the answer's data is not a list of objects.")
    return data


def _family_rows(envelope: Row) -> list[Row]:
    """Rows of a family listing: one that does not say whose it is must never be given to anybody."""
    rows = _rows(envelope)
    for row in rows:
        workspace_id, portal = row.get("workspaceId"), row.get("portal")
        if not isinstance(workspace_id, str) or not workspace_id:
            raise BankSyncResponseError(
                f"a row of the family listing (id {row.get('id')!r}) has no workspaceId, so it cannot be attributed.",
                hint="Nothing was returned; report it to BankSync.",
            )
        if portal is not None and not (isinstance(portal, dict) and portal.get("id") == workspace_id):
            raise BankSyncResponseError(
                f"a row of the family listing (id {row.get('id')!r}) names workspaceId {workspace_id!r} but another "
                "portal, so it cannot be attributed.",
                hint="Nothing was returned; report it to BankSync.",
            )
    return rows


def _scoped(operation: str, path: str, scope: str, workspace_id: str | None) -> Call[list[Row]]:
    family = check_scope(scope) == "family"
    query = (("scope", "family"),) if family else ()
    return Call(_get(operation, path, workspace_id, query), _family_rows if family else _rows)


# --- who and where ---


def whoami(*, workspace_id: str | None = None) -> Call[Row]:
    """``workspaceId`` and ``workspaceName`` of the key. Seen in public clients, not in the vendor's contract."""
    return Call(_get("whoami", "/v1/whoami", workspace_id), _object)


def list_workspaces(*, workspace_id: str | None = None) -> Call[list[Row]]:
    """The workspaces that the key reaches. A careful guess: the API may answer 404."""
    return Call(_get("listWorkspaces", "/v1/workspaces", workspace_id), _rows)


# --- banks and their data ---


def list_banks(scope: str = "self", *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Bank connections of one workspace, or of the family."""
    return _scoped("listBanks", "/v1/banks", scope, workspace_id)


def get_bank(bank_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """One bank connection."""
    return Call(_get("getBank", f"/v1/banks/{_id('bank_id', bank_id)}", workspace_id), _object)


def _account_path(bank_id: str, account_id: str, what: str = "") -> str:
    return f"/v1/banks/{_id('bank_id', bank_id)}/accounts/{_id('account_id', account_id)}{what}"


def list_accounts(bank_id: str, *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Accounts of one bank connection."""
    return Call(_get("listAccounts", f"/v1/banks/{_id('bank_id', bank_id)}/accounts", workspace_id), _rows)


def get_account(bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """One account."""
    return Call(_get("getAccount", _account_path(bank_id, account_id), workspace_id), _object)


# --- feeds ---


def list_feeds(scope: str = "self", *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Feeds of one workspace, or of the family."""
    return _scoped("listFeeds", "/v1/feeds", scope, workspace_id)


def get_feed(feed_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """One feed."""
    return Call(_get("getFeed", f"/v1/feeds/{_id('feed_id', feed_id)}", workspace_id), _object)


def trigger_sync(
    feed_id: str, from_date: str | None = None, to_date: str | None = None, *, workspace_id: str | None = None
) -> Call[Row]:
    """Start a sync. Not to be repeated blindly: `conversations.trigger_sync` is the way to call it."""
    first, last = _days(from_date, to_date)
    dates = {name: day for name, day in (("startDate", first), ("endDate", last)) if day}
    body = codec.dumps(dates) if dates else None
    path = f"/v1/feeds/{_id('feed_id', feed_id)}/sync"
    return Call(Request("triggerSync", "POST", path, (), body, workspace_id, repeatable=False), _object)


# --- jobs ---


def list_jobs(
    feed_id: str, status: str | None = None, limit: int | None = None, *, workspace_id: str | None = None
) -> Call[list[Row]]:
    """Jobs of a feed, newest first: the newest 20 unless `limit` says otherwise."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise BankSyncConfigError(f"limit must be a whole number of at least 1, not {limit!r}.")
    query = _query([("limit", limit), ("status", status or None)])
    return Call(_get("listJobs", f"/v1/feeds/{_id('feed_id', feed_id)}/jobs", workspace_id, query), _rows)


def _job_path(feed_id: str, job_id: str) -> str:
    return f"/v1/feeds/{_id('feed_id', feed_id)}/jobs/{_id('job_id', job_id)}"


def get_job(feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """One job."""
    return Call(_get("getJob", _job_path(feed_id, job_id), workspace_id), _object)


def cancel_job(feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Cancel a job; the job as it is then. A second cancel answers 409 and does nothing."""
    return Call(
        Request("cancelJob", "DELETE", _job_path(feed_id, job_id), workspace_id=workspace_id), _object
    )


# --- enrichments and integrations ---


def list_enrichments(*, workspace_id: str | None = None) -> Call[list[Row]]:
    """Enrichments (rules, alerts, memory) of one workspace."""
    return Call(_get("listEnrichments", "/v1/enrichments", workspace_id), _rows)


def list_integrations(scope: str = "self", *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Destinations (Notion, Google Sheets, Airtable) of one workspace, or of the family."""
    return _scoped("listIntegrations", "/v1/integrations", scope, workspace_id)
