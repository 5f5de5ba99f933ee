"""Every endpoint, written down once: method, path, query, body, what the answer holds, whether it may be repeated.

Each function returns a `Call`, which either client sends. Source: the contract (``docs/``), one operationId each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_banksync.api import parsers
from airflow_provider_banksync.api.checks import (
    check_cursor,
    check_days,
    check_limit,
    check_scope,
    json_body,
    quoted_id,
)
from airflow_provider_banksync.api.jobs import check_status
from airflow_provider_banksync.api.messages import Call, Page, Request, Row
from airflow_provider_banksync.exceptions import BankSyncConfigError, BankSyncResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_banksync.api.pages import RawPage

P = TypeVar("P", "Page", "RawPage")
#: The contract's limit on the records of one preview.
MOST_PREVIEWED = 50


def _query(pairs: Iterable[tuple[str, str | int | None]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in pairs if value is not None)


def _get(
    operation: str, path: str, workspace_id: str | None, query: tuple[tuple[str, str], ...] = ()
) -> Request:
    return Request(operation, "GET", path, query, workspace_id=workspace_id)


def _write(
    operation: str, method: str, path: str, workspace_id: str | None, body: Row, *, repeatable: bool = True
) -> Request:
    return Request(operation, method, path, (), json_body(body), workspace_id, repeatable)


def _delete(operation: str, path: str, workspace_id: str | None) -> Request:
    """Make a request that does no harm twice, but whose second answer differs: `conversations.delete` knows."""
    return Request(operation, "DELETE", path, workspace_id=workspace_id, repeatable=False)


def _scoped(operation: str, path: str, scope: str, workspace_id: str | None) -> Call[list[Row]]:
    family = check_scope(scope) == "family"
    query = (("scope", "family"),) if family else ()
    return Call(_get(operation, path, workspace_id, query), parsers.family_rows if family else parsers.things)


# --- who and where ---


def whoami(*, workspace_id: str | None = None) -> Call[Row]:
    """``workspaceId`` and ``workspaceName`` of the key. Seen in public clients, not in the vendor's contract."""
    return Call(_get("whoami", "/v1/whoami", workspace_id), parsers.whoami)


def list_workspaces(*, workspace_id: str | None = None) -> Call[list[Row]]:
    """The workspaces that the key reaches. A careful guess: the API may answer 404."""
    return Call(_get("listWorkspaces", "/v1/workspaces", workspace_id), parsers.things)


# --- banks and their data ---


def list_banks(scope: str = "self", *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Bank connections of one workspace, or of the family."""
    return _scoped("listBanks", "/v1/banks", scope, workspace_id)


def get_bank(bank_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """One bank connection."""
    return Call(_get("getBank", f"/v1/banks/{quoted_id('bank_id', bank_id)}", workspace_id), parsers.thing)


def _account_path(bank_id: str, account_id: str, what: str = "") -> str:
    return f"/v1/banks/{quoted_id('bank_id', bank_id)}/accounts/{quoted_id('account_id', account_id)}{what}"


def list_accounts(bank_id: str, *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Accounts of one bank connection."""
    return Call(
        _get("listAccounts", f"/v1/banks/{quoted_id('bank_id', bank_id)}/accounts", workspace_id),
        parsers.things,
    )


def get_account(bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """One account."""
    return Call(_get("getAccount", _account_path(bank_id, account_id), workspace_id), parsers.thing)


def get_balance(bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """The account's balance, asked from the bank at this moment."""
    return Call(
        _get("getBalance", _account_path(bank_id, account_id, "/balances"), workspace_id), parsers.one
    )


def list_holdings(bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Positions of an investment account."""
    return Call(
        _get("listHoldings", _account_path(bank_id, account_id, "/holdings"), workspace_id), parsers.rows
    )


def get_loan(bank_id: str, account_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """The account's loan; 404 where it carries none."""
    return Call(_get("getLoan", _account_path(bank_id, account_id, "/loan"), workspace_id), parsers.one)


def list_trades(
    bank_id: str,
    account_id: str,
    from_date: str | None = None,
    to_date: str | None = None,
    *,
    workspace_id: str | None = None,
) -> Call[list[Row]]:
    """Trades of an investment account; without dates, those of the last 90 days."""
    first, last = check_days(from_date, to_date)
    path = _account_path(bank_id, account_id, "/trades")
    return Call(_get("listTrades", path, workspace_id, _query([("from", first), ("to", last)])), parsers.rows)


def list_transactions(
    bank_id: str,
    account_id: str,
    from_date: str | None = None,
    to_date: str | None = None,
    cursor: str | None = None,
    *,
    workspace_id: str | None = None,
) -> Call[Page]:
    """One page of transactions: by dates, or by a cursor, which goes alone."""
    first, last = check_days(from_date, to_date)
    cursor = check_cursor(cursor)
    if cursor and (first or last):
        raise BankSyncConfigError(
            "give either cursor or from_date and to_date: a cursor carries its own window."
        )
    path = _account_path(bank_id, account_id, "/transactions")
    query = _query([("cursor", cursor), ("from", first), ("to", last)])
    return Call(_get("listTransactions", path, workspace_id, query), parsers.page)


def next_page(page: P, call: Call[P], seen: set[int] | None = None) -> Call[P] | None:
    """Return the call for the page after this one; None after the last.

    :param call: the call that gave `page`.
    :param seen: what it remembers of the way (a number for each page), so that no circle goes unnoticed; give the
        same set for each page of one read, empty at first. Without it, only a page that leads to itself is noticed.
    :raises BankSyncResponseError: the API says that there is more but gives no way to it, or the way back.
    """
    if not page.has_more:
        return None
    been = {hash(value) for name, value in call.request.query if name == "cursor"} | (seen or set())
    if not page.cursor or hash(page.cursor) in been:
        what = "a cursor that was there before" if page.cursor else "no cursor"
        raise BankSyncResponseError(
            f"the API says that there are more transactions, but gives {what}.",
            hint="What was read so far is not complete; report it to BankSync.",
            method=call.request.method,
            path=call.request.path,
        )
    if seen is not None:
        seen.update(been, [hash(page.cursor)])
    return replace(call, request=replace(call.request, query=(("cursor", page.cursor),)))


# --- feeds ---


def list_feeds(scope: str = "self", *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Feeds of one workspace, or of the family."""
    return _scoped("listFeeds", "/v1/feeds", scope, workspace_id)


def get_feed(feed_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """One feed."""
    return Call(_get("getFeed", f"/v1/feeds/{quoted_id('feed_id', feed_id)}", workspace_id), parsers.thing)


def create_feed(body: Row, *, workspace_id: str | None = None) -> Call[Row]:
    """Create a feed. Not to be repeated blindly: `conversations.create` is the way to call it."""
    return Call(
        _write("createFeed", "POST", "/v1/feeds", workspace_id, body, repeatable=False), parsers.thing
    )


def update_feed(feed_id: str, body: Row, *, workspace_id: str | None = None) -> Call[Row]:
    """Replace the given fields of a feed; ``source`` and ``dataType`` cannot be changed."""
    path = f"/v1/feeds/{quoted_id('feed_id', feed_id)}"
    return Call(_write("updateFeed", "PUT", path, workspace_id, body), parsers.thing)


def delete_feed(feed_id: str, *, workspace_id: str | None = None) -> Call[None]:
    """Delete a feed; the answer has no data."""
    return Call(
        _delete("deleteFeed", f"/v1/feeds/{quoted_id('feed_id', feed_id)}", workspace_id), parsers.nothing
    )


def trigger_learn(feed_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Have the feed's memory enrichment learn from what its destination holds now; answers that it was dispatched."""
    path = f"/v1/feeds/{quoted_id('feed_id', feed_id)}/learn"
    return Call(
        Request("triggerLearn", "POST", path, workspace_id=workspace_id, repeatable=False), parsers.one
    )


def trigger_sync(
    feed_id: str, from_date: str | None = None, to_date: str | None = None, *, workspace_id: str | None = None
) -> Call[Row]:
    """Start a sync. Not to be repeated blindly: `conversations.trigger_sync` is the way to call it."""
    first, last = check_days(from_date, to_date)
    dates = {name: day for name, day in (("startDate", first), ("endDate", last)) if day}
    body = json_body(dates) if dates else None
    path = f"/v1/feeds/{quoted_id('feed_id', feed_id)}/sync"
    return Call(Request("triggerSync", "POST", path, (), body, workspace_id, repeatable=False), parsers.thing)


# --- jobs ---


def list_jobs(
    feed_id: str, status: str | None = None, limit: int | None = None, *, workspace_id: str | None = None
) -> Call[list[Row]]:
    """Jobs of a feed, newest first: the newest 20 unless `limit` says otherwise."""
    query = _query([("limit", check_limit(limit)), ("status", check_status(status))])
    return Call(
        _get("listJobs", f"/v1/feeds/{quoted_id('feed_id', feed_id)}/jobs", workspace_id, query),
        parsers.things,
    )


def _job_path(feed_id: str, job_id: str) -> str:
    return f"/v1/feeds/{quoted_id('feed_id', feed_id)}/jobs/{quoted_id('job_id', job_id)}"


def get_job(feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """One job."""
    return Call(_get("getJob", _job_path(feed_id, job_id), workspace_id), parsers.thing)


def cancel_job(feed_id: str, job_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """Cancel a job; the job as it is then. A second cancel answers 409 and does nothing."""
    return Call(_delete("cancelJob", _job_path(feed_id, job_id), workspace_id), parsers.thing)


def list_all_jobs(
    scope: str = "self",
    status: str | None = None,
    limit: int | None = None,
    *,
    workspace_id: str | None = None,
) -> Call[list[Row]]:
    """Jobs of all feeds of the workspace or the family, newest first. On the internal surface only."""
    family = check_scope(scope) == "family"
    query = _query(
        [
            ("scope", scope if family else None),
            ("limit", check_limit(limit)),
            ("status", check_status(status)),
        ]
    )
    return Call(
        _get("listAllJobs", "/v1/jobs", workspace_id, query),
        parsers.family_rows if family else parsers.things,
    )


# --- enrichments, integrations, links ---


def list_enrichments(*, workspace_id: str | None = None) -> Call[list[Row]]:
    """Enrichments (rules, alerts, memory) of one workspace."""
    return Call(_get("listEnrichments", "/v1/enrichments", workspace_id), parsers.things)


def _enrichment_path(enrichment_id: str) -> str:
    return f"/v1/enrichments/{quoted_id('enrichment_id', enrichment_id)}"


def get_enrichment(enrichment_id: str, *, workspace_id: str | None = None) -> Call[Row]:
    """One enrichment."""
    return Call(_get("getEnrichment", _enrichment_path(enrichment_id), workspace_id), parsers.thing)


def create_enrichment(body: Row, *, workspace_id: str | None = None) -> Call[Row]:
    """Create an enrichment. Not to be repeated blindly: `conversations.create` is the way to call it."""
    request = _write("createEnrichment", "POST", "/v1/enrichments", workspace_id, body, repeatable=False)
    return Call(request, parsers.thing)


def update_enrichment(enrichment_id: str, body: Row, *, workspace_id: str | None = None) -> Call[Row]:
    """Replace the given fields of an enrichment."""
    return Call(
        _write("updateEnrichment", "PUT", _enrichment_path(enrichment_id), workspace_id, body), parsers.thing
    )


def delete_enrichment(enrichment_id: str, *, workspace_id: str | None = None) -> Call[None]:
    """Delete an enrichment; the answer has no data."""
    return Call(_delete("deleteEnrichment", _enrichment_path(enrichment_id), workspace_id), parsers.nothing)


def preview_enrichment(feed_id: str, records: list[Row], *, workspace_id: str | None = None) -> Call[Row]:
    """Show what the feed's enrichments would do to up to 50 records; changes nothing, so it may be repeated."""
    if not isinstance(records, list) or not 1 <= len(records) <= MOST_PREVIEWED:
        raise BankSyncConfigError(f"records must be a list of 1 to {MOST_PREVIEWED} records.")
    path = f"/v1/feeds/{quoted_id('feed_id', feed_id)}/enrich/preview"
    return Call(_write("previewEnrichment", "POST", path, workspace_id, {"records": records}), parsers.one)


def list_integrations(scope: str = "self", *, workspace_id: str | None = None) -> Call[list[Row]]:
    """Destinations (Notion, Google Sheets, Airtable) of one workspace, or of the family."""
    return _scoped("listIntegrations", "/v1/integrations", scope, workspace_id)


def delete_integration(integration_id: str, *, workspace_id: str | None = None) -> Call[None]:
    """Delete a destination."""
    path = f"/v1/integrations/{quoted_id('integration_id', integration_id)}"
    return Call(_delete("deleteIntegration", path, workspace_id), parsers.nothing)


def delete_bank(bank_id: str, *, workspace_id: str | None = None) -> Call[None]:
    """Delete a bank connection."""
    return Call(
        _delete("deleteBank", f"/v1/banks/{quoted_id('bank_id', bank_id)}", workspace_id), parsers.nothing
    )


def create_bank_link(body: Row, *, workspace_id: str | None = None) -> Call[Row]:
    """Ask for a hosted page where a person connects a bank. A link that nobody follows does nothing: repeatable."""
    return Call(_write("createBankLink", "POST", "/v1/banks/link", workspace_id, body), parsers.one)
