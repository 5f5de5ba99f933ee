"""The reading half of the API, and jobs: one method for each operation of the contract, without HTTP."""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_banksync.sandbox.clock import SandboxClock, to_milliseconds
from airflow_provider_banksync.sandbox.errors import ApiError
from airflow_provider_banksync.sandbox.rules.api_call import ApiCall, Envelope, parse_choice, parse_day
from airflow_provider_banksync.sandbox.rules.jobs import STATUSES, Job, Jobs
from airflow_provider_banksync.sandbox.world import api_rows
from airflow_provider_banksync.sandbox.world.model import Account, Bank, Enrichment, Feed, Integration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from airflow_provider_banksync.sandbox.rules.added_transactions import AddedTransactions
    from airflow_provider_banksync.sandbox.rules.paging import Paginator
    from airflow_provider_banksync.sandbox.world.balances import Balances
    from airflow_provider_banksync.sandbox.world.current import CurrentWorld
    from airflow_provider_banksync.sandbox.world.model import Row, Workspace

T = TypeVar("T", Account, Bank, Enrichment, Feed, Integration, Job)

TRANSACTION_DAYS = 30
TRADE_DAYS = 90
JOBS_LISTED = 20
_NUMBER = re.compile(r"[0-9]{1,9}")
Day = date | None


@dataclass(frozen=True)
class Backend:
    """The rules of the API over one world. Raises ``ApiError`` for what the API would refuse."""

    current: CurrentWorld
    clock: SandboxClock
    jobs: Jobs
    paginator: Paginator
    added: AddedTransactions
    drift: api_rows.Drift
    balances: Balances
    sources_without_loans: frozenset[str]

    def whoami(self, call: ApiCall) -> Row:
        """Return the caller's workspace."""
        return {"workspaceId": call.workspace.id, "workspaceName": call.workspace.name}

    def list_workspaces(self, call: ApiCall) -> list[Row]:
        """Return the workspaces that the caller's key reaches: its own, and the portals under it."""
        home = call.caller.credential.home_workspace
        portals = () if home.is_portal else self.current.world.portals
        own = api_rows.workspace_row(home, inherited=False)
        return [own, *(api_rows.workspace_row(portal, inherited=True) for portal in portals)]

    def list_banks(self, call: ApiCall) -> list[Row]:
        """Return the banks."""
        return self._list(call, self.current.banks.latest, self.drift.bank_row)

    def get_bank(self, call: ApiCall) -> Row:
        """Return a bank."""
        return self.drift.bank_row(self._bank(call))

    def list_accounts(self, call: ApiCall) -> list[Row]:
        """Return the accounts of a bank, broken or not."""
        return [self._account_row(each) for each in self._accounts(call)]

    def get_account(self, call: ApiCall) -> Row:
        """Return an account."""
        return self._account_row(self._account(call))

    def list_transactions(self, call: ApiCall) -> Envelope:
        """Return a page of transactions, of a window or of a cursor."""
        first, last = parse_day(call.query, "from"), parse_day(call.query, "to")
        account, now = self._readable_account(call), to_milliseconds(self.clock.now())
        cursor = call.query.get("cursor")
        if cursor is None:
            page = self.paginator.window(account, *self._window(first, last, TRANSACTION_DAYS), now)
        elif first or last:
            raise ApiError(400, "cursor cannot be combined with from or to")
        else:
            page = self.paginator.resume(account, cursor, now)
        path = f"/v1/banks/{account.bank.id}/accounts/{account.id}/transactions"
        links = {"self": path, **({"next": f"{path}?cursor={page.cursor}"} if page.has_more else {})}
        meta = {"count": page.count, "cursor": page.cursor, "hasMore": page.has_more}
        return Envelope(data=page.rows, meta=meta, links=links)

    def get_balance(self, call: ApiCall) -> Row:
        """Return the balance of an account."""
        return self.drift.balance_row(*self._with_balance(self._readable_account(call)))

    def list_trades(self, call: ApiCall) -> list[Row]:
        """Return the trades of a window."""
        first, last = parse_day(call.query, "from"), parse_day(call.query, "to")
        account = self._readable_account(call)
        first, last = self._window(first, last, TRADE_DAYS)
        last = min(last, self.clock.now().date())
        return list(api_rows.trades_of(self.current.world.seed, account, first, last))

    def list_holdings(self, call: ApiCall) -> list[Row]:
        """Return the positions of an account."""
        return api_rows.holdings_of(self.current.world.seed, self._readable_account(call))

    def get_loan(self, call: ApiCall) -> Row:
        """Return the loan of an account."""
        account, _ = self._with_balance(self._readable_account(call))
        if account.bank.source in self.sources_without_loans:
            raise ApiError(404, f"The source {account.bank.source} does not support loans")
        loan = api_rows.loan_of(self.current.world.seed, account)
        if loan is None:
            raise ApiError(404, "No loan found for this account")
        return loan

    def list_feeds(self, call: ApiCall) -> list[Row]:
        """Return the feeds."""
        return self._list(call, self.current.feeds.latest, api_rows.feed_row)

    def get_feed(self, call: ApiCall) -> Row:
        """Return a feed."""
        return api_rows.feed_row(self._feed(call))

    def trigger_sync(self, call: ApiCall) -> Row:
        """Start a job of a feed. Trades feeds need dates."""
        first, last = parse_day(call.body, "startDate"), parse_day(call.body, "endDate")
        feed = self._feed(call)
        if feed.source != "sync":
            raise ApiError(400, f"A feed with the source {feed.source} has nothing to sync")
        if feed.data_type == "trades" and (first is None or last is None):
            raise ApiError(400, "startDate and endDate are required for trades feeds")
        if first is not None and last is not None and first > last:
            raise ApiError(400, "startDate must not be after endDate")
        job = self.jobs.start(feed, call.caller.user_id, first, last)
        self.added.schedule_for(job)
        return self._job_row(job)

    def trigger_learn(self, call: ApiCall) -> Row:
        """Accept the request to learn from a feed. The sandbox learns nothing."""
        self._feed(call)
        return {"triggered": True}

    def list_jobs(self, call: ApiCall) -> list[Row]:
        """Return the jobs of a feed, newest first."""
        status, limit = _parse_jobs_query(call.query)
        return list(map(self._job_row, self._select([self._feed(call)], status, limit)))

    def list_all_jobs(self, call: ApiCall) -> list[Row]:
        """Return the jobs of all feeds of a workspace or of the family, newest first."""
        family, (status, limit) = call.family, _parse_jobs_query(call.query)
        workspaces = self._workspaces(call)
        feeds = (feed for each in workspaces for feed in self.current.feeds.latest(each))
        jobs = self._select(feeds, status, limit)
        if not family:
            return list(map(self._job_row, jobs))
        portals = {each.id: api_rows.portal_field(each) for each in workspaces}
        return [{**self._job_row(job), "portal": portals[job.feed.workspace_id]} for job in jobs]

    def get_job(self, call: ApiCall) -> Row:
        """Return a job."""
        return self._job_row(self._job(call))

    def cancel_job(self, call: ApiCall) -> Row:
        """Cancel a job that has not ended."""
        job = self.jobs.cancel(self._job(call))
        self.added.cancel_for(job)
        return self._job_row(job)

    def refresh_jobs(self) -> None:
        """Update what active jobs add, after a bank, a destination or a job changed."""
        for job in self.jobs.before_planned_end():
            self.added.schedule_for(job)

    def end_jobs(self, feed: Feed) -> None:
        """Cancel the active job of a feed that is deleted."""
        job = self.jobs.active(feed)
        if job is not None:
            self.jobs.cancel(job)
        self.refresh_jobs()

    def list_integrations(self, call: ApiCall) -> list[Row]:
        """Return the destinations."""
        return self._list(call, self.current.integrations.latest, api_rows.integration_row)

    def list_enrichments(self, call: ApiCall) -> list[Row]:
        """Return the enrichments of the workspace."""
        return [api_rows.enrichment_row(each) for each in self.current.enrichments.latest(call.workspace)]

    def get_enrichment(self, call: ApiCall) -> Row:
        """Return an enrichment."""
        return api_rows.enrichment_row(self._enrichment(call))

    def _bank(self, call: ApiCall) -> Bank:
        return _require("Bank", call.ids[0], self.current.banks.latest(call.workspace))

    def _feed(self, call: ApiCall) -> Feed:
        return _require("Feed", call.ids[0], self.current.feeds.latest(call.workspace))

    def _enrichment(self, call: ApiCall) -> Enrichment:
        return _require("Enrichment", call.ids[0], self.current.enrichments.latest(call.workspace))

    def _integration(self, call: ApiCall) -> Integration:
        return _require("Integration", call.ids[0], self.current.integrations.latest(call.workspace))

    def _accounts(self, call: ApiCall) -> tuple[Account, ...]:
        return self.current.world.accounts(self._bank(call))

    def _account(self, call: ApiCall) -> Account:
        return _require("Account", call.ids[1], self._accounts(call))

    def _readable_account(self, call: ApiCall) -> Account:
        account = self._account(call)
        if self.current.is_broken(account.bank, self.clock.now()):
            raise ApiError(503, account.bank.reauth_message)
        return account

    def _with_balance(self, account: Account) -> tuple[Account, datetime]:
        return self.balances.account_at(account, self.clock.now())

    def _account_row(self, account: Account) -> Row:
        return self.drift.account_row(*self._with_balance(account))

    def _job(self, call: ApiCall) -> Job:
        return _require("Job", call.ids[1], self.jobs.of_feed(self._feed(call)))

    def _workspaces(self, call: ApiCall) -> tuple[Workspace, ...]:
        if not call.family:
            return (call.workspace,)
        call.caller.require_family()
        return self.current.world.family()

    def _list(
        self, call: ApiCall, listing: Callable[[Workspace], tuple[T, ...]], to_row: Callable[[T], Row]
    ) -> list[Row]:
        rows: list[Row] = []
        for workspace in self._workspaces(call):
            owner: Row = {"workspaceId": workspace.id, "portal": api_rows.portal_field(workspace)}
            rows.extend({**to_row(each), **(owner if call.family else {})} for each in listing(workspace))
        return rows

    def _select(self, feeds: Iterable[Feed], status: str | None, limit: int) -> list[Job]:
        now = self.clock.now()
        merged = heapq.merge(*map(self.jobs.of_feed, feeds), key=lambda job: job.created_at, reverse=True)
        matching = (job for job in merged if status is None or status == job.status(now))
        return list(islice(matching, limit))

    def _job_row(self, job: Job) -> Row:
        return self.drift.job_row(job.row(self.clock.now()))

    def _window(self, first: Day, last: Day, days: int) -> tuple[date, date]:
        if first is not None and last is not None and first > last:
            raise ApiError(400, "from must not be after to")
        last = last or self.clock.now().date()
        # In ordinals, because the calendar begins with day 1.
        return first or date.fromordinal(max(last.toordinal() - days + 1, 1)), last


def _parse_jobs_query(query: Mapping[str, str]) -> tuple[str | None, int]:
    """Parse the status of the jobs to list (None means all), and their largest number."""
    status = parse_choice(query, "status", STATUSES) if "status" in query else None
    limit = query.get("limit", str(JOBS_LISTED))
    if not _NUMBER.fullmatch(limit) or int(limit) == 0:
        raise ApiError(400, "limit must be a whole number above 0")
    return status, int(limit)


def _require(class_name: str, wanted: str, candidates: Iterable[T]) -> T:
    for each in candidates:
        if each.id == wanted:
            return each
    raise ApiError(404, f"{class_name} not found")
