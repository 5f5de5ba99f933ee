"""Every endpoint, described once: method, path, query, body, parser, and whether a retry is safe.

Each function returns a `Call`, which both clients send. Source: BankSync's contract, one operationId each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_banksync.api import parsing
from airflow_provider_banksync.api.jobs import validate_status
from airflow_provider_banksync.api.messages import Call, Page, Request, Row
from airflow_provider_banksync.api.validation import (
    encode_body,
    quote_id,
    validate_cursor,
    validate_days,
    validate_limit,
    validate_scope,
)
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncResponseError

if TYPE_CHECKING:
    from airflow_provider_banksync.api.messages import RawPage

PageT = TypeVar("PageT", "Page", "RawPage")
#: The contract's limit on the records of one preview.
MAX_PREVIEW_RECORDS = 50


def _get(operation: str, path: str, workspace_id: str | None, **query: str | int | None) -> Request:
    """Return a GET. Query names are given without the underscore that `from_` needs in Python."""
    pairs = tuple((name.rstrip("_"), str(value)) for name, value in query.items() if value is not None)
    return Request(operation, "GET", path, pairs, workspace_id=workspace_id)


def _write(
    operation: str, method: str, path: str, workspace_id: str | None, body: Row, *, retry_safe: bool = True
) -> Request:
    return Request(operation, method, path, (), encode_body(body), workspace_id, retry_safe)


def _delete(operation: str, path: str, workspace_id: str | None) -> Request:
    """Return a DELETE. A second one gets another answer, which `flows.writes.delete_resource` handles."""
    return Request(operation, "DELETE", path, workspace_id=workspace_id, retry_safe=False)


def _list(
    operation: str, path: str, scope: str, workspace_id: str | None, **query: str | int | None
) -> Call[list[Row]]:
    if validate_scope(scope) == "family":
        request = _get(operation, path, workspace_id, scope="family", **query)
        return Call(request, parsing.parse_family_rows)
    return Call(_get(operation, path, workspace_id, **query), parsing.parse_resources)


# --- workspaces ---


def whoami(*, workspace_id: str | None = None) -> Call[Row]:
    """Return ``workspaceId`` and ``workspaceName`` of the key. Public clients use it; the contract lacks it."""
    return Call(_get("whoami", "/v1/whoami", workspace_id), parsing.parse_whoami)


def list_workspaces(*, workspace_id: str | None = None) -> Call[list[Row]]:
    """Return the workspaces that the key can use. The contract lacks it, so the API may answer 404."""
    return Call(_get("listWorkspaces", "/v1/workspaces", workspace_id), parsing.parse_resources)


# --- banks and their data ---


def _bank_path(bank_id: str) -> str:
    return f"/v1/banks/{quote_id('bank_id', bank_id)}"


def _account_path(bank_id: str, account_id: str) -> str:
    return f"{_bank_path(bank_id)}/accounts/{quote_id('account_id', account_id)}"


def _account_owner(bank_id: str, account_id: str) -> tuple[tuple[str, str], ...]:
    return ("bankId", bank_id), ("accountId", account_id)


def list_banks(scope: str = "self", *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Return the bank connections of one workspace, or of the family."""
    return _list("listBanks", "/v1/banks", scope, workspace_id)


def get_bank(bank_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Return one bank connection."""
    request = _get("getBank", _bank_path(bank_id), workspace_id)
    return Call(request, parsing.parse_resource, owner=(("id", bank_id),))


def delete_bank(bank_id: str, *, workspace_id: str | None = None) -> Call[None]:
    """Delete a bank connection."""
    return Call(_delete("deleteBank", _bank_path(bank_id), workspace_id), parsing.parse_nothing)


def create_bank_link(body: Row, *, workspace_id: str | None = None) -> Call[Row]:
    """Create a link to a page where a person connects a bank. A retry is safe, as an unused link does nothing."""
    return Call(_write("createBankLink", "POST", "/v1/banks/link", workspace_id, body), parsing.parse_object)


def list_accounts(bank_id: str, *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Return the accounts of one bank connection."""
    request = _get("listAccounts", f"{_bank_path(bank_id)}/accounts", workspace_id)
    return Call(request, parsing.parse_resources, owner=(("bankId", bank_id),))


def get_account(bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Return one account."""
    request = _get("getAccount", _account_path(bank_id, account_id), workspace_id)
    return Call(request, parsing.parse_resource, owner=(("bankId", bank_id), ("id", account_id)))


def get_balance(bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Return the account's balance, which BankSync requests from the bank now."""
    path = f"{_account_path(bank_id, account_id)}/balances"
    return Call(
        _get("getBalance", path, workspace_id),
        parsing.parse_object,
        owner=_account_owner(bank_id, account_id),
    )


def list_holdings(bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Return the positions of an investment account."""
    path = f"{_account_path(bank_id, account_id)}/holdings"
    return Call(
        _get("listHoldings", path, workspace_id),
        parsing.parse_whole_list,
        owner=_account_owner(bank_id, account_id),
    )


def get_loan(bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Return the account's loan. The API answers 404 if there is none."""
    path = f"{_account_path(bank_id, account_id)}/loan"
    return Call(
        _get("getLoan", path, workspace_id), parsing.parse_object, owner=_account_owner(bank_id, account_id)
    )


def list_trades(
    bank_id: str,
    account_id: str,
    from_date: str | None = None,
    to_date: str | None = None,
    *,
    workspace_id: str | None = None,
) -> Call[list[Row]]:
    """Return the trades of an investment account. Without dates: of the last 90 days."""
    first, last = validate_days(from_date, to_date)
    path = f"{_account_path(bank_id, account_id)}/trades"
    request = _get("listTrades", path, workspace_id, from_=first, to=last)
    return Call(request, parsing.parse_whole_list, owner=_account_owner(bank_id, account_id))


def list_transactions(
    bank_id: str,
    account_id: str,
    from_date: str | None = None,
    to_date: str | None = None,
    cursor: str | None = None,
    *,
    workspace_id: str | None = None,
) -> Call[Page]:
    """Return one page of transactions, either by dates or by a cursor."""
    first, last = validate_days(from_date, to_date)
    cursor = validate_cursor(cursor)
    if cursor and (first or last):
        raise BankSyncConfigError(
            "cursor cannot be combined with from_date and to_date.",
            hint="Pass one or the other. The cursor determines the window.",
        )
    path = f"{_account_path(bank_id, account_id)}/transactions"
    request = _get("listTransactions", path, workspace_id, cursor=cursor, from_=first, to=last)
    return Call(request, parsing.parse_page, owner=_account_owner(bank_id, account_id))


def next_page(page: PageT, call: Call[PageT], seen: set[int] | None = None) -> Call[PageT] | None:
    """Return the call for the next page, or None after the last one.

    :param call: the call that returned `page`.
    :param seen: hashes of the cursors so far. Pass the same set for each page of a read, empty at first, to detect a
        circle. Without it, only a page whose cursor is its own is detected.
    If the API does not say whether more pages follow, they do, unless it sends no cursor, or one that it sent before.

    :raises BankSyncResponseError: the API announces more pages but sends no cursor, or one that it sent before.
    """
    seen_cursors = {hash(value) for name, value in call.request.query if name == "cursor"} | (seen or set())
    is_unclear = page.has_more is None and (not page.cursor or hash(page.cursor) in seen_cursors)
    if page.has_more is False or is_unclear:
        return None
    if not page.cursor or hash(page.cursor) in seen_cursors:
        problem = "a cursor that it sent before" if page.cursor else "no cursor"
        raise BankSyncResponseError(
            f"the API announces more transactions, but sends {problem}.",
            hint="The rows so far are not complete. Report it to BankSync.",
            method=call.request.method,
            path=call.request.path,
        )
    if seen is not None:
        seen.update(seen_cursors, [hash(page.cursor)])
    return replace(call, request=replace(call.request, query=(("cursor", page.cursor),)))


# --- feeds and jobs ---


def _feed_path(feed_id: str) -> str:
    return f"/v1/feeds/{quote_id('feed_id', feed_id)}"


def _job_path(feed_id: str, job_id: str) -> str:
    return f"{_feed_path(feed_id)}/jobs/{quote_id('job_id', job_id)}"


def list_feeds(scope: str = "self", *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Return the feeds of one workspace, or of the family."""
    return _list("listFeeds", "/v1/feeds", scope, workspace_id)


def get_feed(feed_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Return one feed."""
    request = _get("getFeed", _feed_path(feed_id), workspace_id)
    return Call(request, parsing.parse_resource, owner=(("id", feed_id),))


def create_feed(body: Row, *, workspace_id: str | None = None) -> Call[Row]:
    """Create a feed. A retry may create a second one, so use `flows.writes.create_resource`."""
    request = _write("createFeed", "POST", "/v1/feeds", workspace_id, body, retry_safe=False)
    return Call(request, parsing.parse_resource)


def update_feed(feed_id: str, body: Row, *, workspace_id: str | None = None) -> Call[Row]:
    """Replace the given fields of a feed. ``source`` and ``dataType`` cannot change."""
    request = _write("updateFeed", "PUT", _feed_path(feed_id), workspace_id, body)
    return Call(request, parsing.parse_resource, owner=(("id", feed_id),))


def delete_feed(feed_id: str, *, workspace_id: str | None = None) -> Call[None]:
    """Delete a feed."""
    return Call(_delete("deleteFeed", _feed_path(feed_id), workspace_id), parsing.parse_nothing)


def trigger_learn(feed_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Let the feed's memory enrichment learn from its destination. The answer says that this has started."""
    path = f"{_feed_path(feed_id)}/learn"
    request = Request("triggerLearn", "POST", path, workspace_id=workspace_id, retry_safe=False)
    return Call(request, parsing.parse_object)


def trigger_sync(
    feed_id: str, from_date: str | None = None, to_date: str | None = None, *, workspace_id: str | None = None
) -> Call[Row]:
    """Start a sync. A retry may start a second one, so use `flows.syncs.trigger_sync`."""
    first, last = validate_days(from_date, to_date)
    dates = {name: day for name, day in (("startDate", first), ("endDate", last)) if day}
    body = encode_body(dates) if dates else None
    request = Request(
        "triggerSync", "POST", f"{_feed_path(feed_id)}/sync", (), body, workspace_id, retry_safe=False
    )
    return Call(request, parsing.parse_resource, owner=(("feedId", feed_id),))


def list_jobs(
    feed_id: str, status: str | None = None, limit: int | None = None, *, workspace_id: str | None = None
) -> Call[list[Row]]:
    """Return the jobs of a feed, newest first. Without a limit: the newest 20."""
    limit, status, path = validate_limit(limit), validate_status(status), f"{_feed_path(feed_id)}/jobs"
    request = _get("listJobs", path, workspace_id, limit=limit, status=status)
    return Call(request, parsing.parse_newest, owner=(("feedId", feed_id),))


def get_job(feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Return one job."""
    request = _get("getJob", _job_path(feed_id, job_id), workspace_id)
    return Call(request, parsing.parse_resource, owner=(("feedId", feed_id), ("id", job_id)))


def cancel_job(feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Cancel a job and return its last state. The API answers a second cancel with 409."""
    request = _delete("cancelJob", _job_path(feed_id, job_id), workspace_id)
    return Call(request, parsing.parse_resource, owner=(("feedId", feed_id), ("id", job_id)))


def list_all_jobs(
    scope: str = "self",
    status: str | None = None,
    limit: int | None = None,
    *,
    workspace_id: str | None = None,
) -> Call[list[Row]]:
    """Return the jobs of all feeds of the workspace or family, newest first. On the internal surface only."""
    limit, status = validate_limit(limit), validate_status(status)
    call = _list("listAllJobs", "/v1/jobs", scope, workspace_id, limit=limit, status=status)
    parse = parsing.parse_newest_of_family if scope == "family" else parsing.parse_newest
    return replace(call, parse=parse)


# --- enrichments and integrations ---


def _enrichment_path(enrichment_id: str) -> str:
    return f"/v1/enrichments/{quote_id('enrichment_id', enrichment_id)}"


def list_enrichments(*, workspace_id: str | None = None) -> Call[list[Row]]:
    """Return the enrichments (rules, alerts, memory) of one workspace."""
    return Call(_get("listEnrichments", "/v1/enrichments", workspace_id), parsing.parse_resources)


def get_enrichment(enrichment_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Return one enrichment."""
    request = _get("getEnrichment", _enrichment_path(enrichment_id), workspace_id)
    return Call(request, parsing.parse_resource, owner=(("id", enrichment_id),))


def create_enrichment(body: Row, *, workspace_id: str | None = None) -> Call[Row]:
    """Create an enrichment. A retry may create a second one, so use `flows.writes.create_resource`."""
    request = _write("createEnrichment", "POST", "/v1/enrichments", workspace_id, body, retry_safe=False)
    return Call(request, parsing.parse_resource)


def update_enrichment(enrichment_id: str, body: Row, *, workspace_id: str | None = None) -> Call[Row]:
    """Replace the given fields of an enrichment."""
    request = _write("updateEnrichment", "PUT", _enrichment_path(enrichment_id), workspace_id, body)
    return Call(request, parsing.parse_resource, owner=(("id", enrichment_id),))


def delete_enrichment(enrichment_id: str, *, workspace_id: str | None = None) -> Call[None]:
    """Delete an enrichment."""
    request = _delete("deleteEnrichment", _enrichment_path(enrichment_id), workspace_id)
    return Call(request, parsing.parse_nothing)


def preview_enrichment(feed_id: str, records: list[Row], *, workspace_id: str | None = None) -> Call[Row]:
    """Return what the feed's enrichments would change in some records. Nothing is saved."""
    if not isinstance(records, list) or not 1 <= len(records) <= MAX_PREVIEW_RECORDS:
        raise BankSyncConfigError(f"records must be a list of 1 to {MAX_PREVIEW_RECORDS} records.")
    path = f"{_feed_path(feed_id)}/enrich/preview"
    request = _write("previewEnrichment", "POST", path, workspace_id, {"records": records})
    return Call(request, parsing.parse_object)


def list_integrations(scope: str = "self", *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Return the destinations (Notion, Google Sheets, Airtable) of one workspace, or of the family."""
    return _list("listIntegrations", "/v1/integrations", scope, workspace_id)


def delete_integration(integration_id: str, *, workspace_id: str | None = None) -> Call[None]:
    """Delete a destination."""
    path = f"/v1/integrations/{quote_id('integration_id', integration_id)}"
    return Call(_delete("deleteIntegration", path, workspace_id), parsing.parse_nothing)
