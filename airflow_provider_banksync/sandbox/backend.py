"""What the API can do, in its own words and without HTTP: one method per operation of the contract."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_banksync.sandbox import rows
from airflow_provider_banksync.sandbox.clock import to_ms
from airflow_provider_banksync.sandbox.errors import BadRequestError, MissingError, ReauthError
from airflow_provider_banksync.sandbox.investments import holdings_of, loan_of, trades_of
from airflow_provider_banksync.sandbox.model import Account, Bank, Enrichment, Feed, Integration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_banksync.sandbox.arrivals import Arrivals
    from airflow_provider_banksync.sandbox.auth import Caller
    from airflow_provider_banksync.sandbox.clock import SandboxClock
    from airflow_provider_banksync.sandbox.drift import Drift
    from airflow_provider_banksync.sandbox.encoding import Written
    from airflow_provider_banksync.sandbox.jobs import Job, Jobs
    from airflow_provider_banksync.sandbox.live import LiveWorld
    from airflow_provider_banksync.sandbox.model import Row, Workspace
    from airflow_provider_banksync.sandbox.pages import Page, Pager

T = TypeVar("T", Account, Bank, Enrichment, Feed, Integration)

TRANSACTION_DAYS = 30
TRADE_DAYS = 90
JOBS_LISTED = 20


@dataclass(frozen=True)
class TransactionPage:
    """A page of transactions with what leads on from it."""

    rows: Written
    count: int
    cursor: str
    has_more: bool
    path: str


class Backend:
    """The rules of the API over one world. Raises ``ApiError`` for whatever the API would refuse."""

    def __init__(
        self, live: LiveWorld, clock: SandboxClock, jobs: Jobs, pager: Pager, arrivals: Arrivals, drift: Drift
    ) -> None:
        self._live = live
        self._world = live.world
        self._clock = clock
        self._jobs = jobs
        self._pager = pager
        self._arrivals = arrivals
        self._drift = drift

    def whoami(self, caller: Caller) -> Row:
        """Name the workspace that the caller works in."""
        return {"workspaceId": caller.workspace.id, "workspaceName": caller.workspace.name}

    def list_workspaces(self, caller: Caller) -> list[Row]:
        """List what the caller's key opens: its own workspace, and the live portals under it."""
        home = caller.credential.home
        portals = () if home.is_portal else self._world.portals
        own = rows.workspace_row(home, inherited=False)
        return [own, *(rows.workspace_row(portal, inherited=True) for portal in portals)]

    def list_banks(self, caller: Caller, *, family: bool) -> list[Row]:
        """List the banks."""
        return self._list(caller, family, lambda each: map(self._bank_row, self._live.banks(each)))

    def get_bank(self, caller: Caller, bank_id: str) -> Row:
        """Show one bank."""
        return self._bank_row(self.bank(caller, bank_id))

    def list_accounts(self, caller: Caller, bank_id: str) -> list[Row]:
        """List the accounts of a bank; a bank that wants a new sign-in still lists them."""
        return [self._account_row(account) for account in self._world.accounts(self.bank(caller, bank_id))]

    def get_account(self, caller: Caller, bank_id: str, account_id: str) -> Row:
        """Show one account."""
        return self._account_row(self._account(caller, bank_id, account_id))

    def list_transactions(
        self,
        caller: Caller,
        bank_id: str,
        account_id: str,
        *,
        first: date | None,
        last: date | None,
        cursor: str | None,
    ) -> TransactionPage:
        """Read one page of transactions, by days or on from a cursor."""
        account = self._live_account(caller, bank_id, account_id)
        now = to_ms(self._clock.now())
        if cursor is not None:
            if first or last:
                raise BadRequestError("cursor cannot be combined with from or to")
            page = self._pager.resume(account, cursor, now)
        else:
            page = self._pager.window(account, *self._window(first, last, TRANSACTION_DAYS), now)
        return self._shown(account, page)

    def get_balance(self, caller: Caller, bank_id: str, account_id: str) -> Row:
        """Read the balance from the bank."""
        account, now = self._live_account(caller, bank_id, account_id), self._clock.now()
        return self._drift.balance(account, now, rows.balance_row(account, now))

    def list_trades(
        self, caller: Caller, bank_id: str, account_id: str, *, first: date | None, last: date | None
    ) -> list[Row]:
        """Read the trades of a window of days."""
        account = self._live_account(caller, bank_id, account_id)
        first, last = self._window(first, last, TRADE_DAYS)
        return list(trades_of(self._world.seed, account, first, min(last, self._clock.now().date())))

    def list_holdings(self, caller: Caller, bank_id: str, account_id: str) -> list[Row]:
        """Read the positions."""
        return holdings_of(self._world.seed, self._live_account(caller, bank_id, account_id))

    def get_loan(self, caller: Caller, bank_id: str, account_id: str) -> Row:
        """Read the loan that the account carries."""
        loan = loan_of(self._world.seed, self._live_account(caller, bank_id, account_id))
        if loan is None:
            raise MissingError("No loan found for this account")
        return loan

    def list_feeds(self, caller: Caller, *, family: bool) -> list[Row]:
        """List the feeds."""
        return self._list(caller, family, lambda each: map(rows.feed_row, self._live.feeds(each)))

    def get_feed(self, caller: Caller, feed_id: str) -> Row:
        """Show one feed."""
        return rows.feed_row(self.feed(caller, feed_id))

    def trigger_sync(self, caller: Caller, feed_id: str, *, first: date | None, last: date | None) -> Row:
        """Start a job of a feed. Trades are only ever read for given days."""
        feed = self.feed(caller, feed_id)
        if feed.source != "sync":
            raise BadRequestError(f"A feed with the source {feed.source} has nothing to sync")
        if feed.data_type == "trades" and (first is None or last is None):
            raise BadRequestError("startDate and endDate are required for trades feeds")
        _check_order(first, last, "startDate must not be after endDate")
        job = self._jobs.start(feed, caller.user_id, first, last)
        self._arrivals.follow(job)
        return self._job_row(job)

    def trigger_learn(self, caller: Caller, feed_id: str) -> Row:
        """Let the memory enrichment learn from a feed; the sandbox has nothing to learn."""
        self.feed(caller, feed_id)
        return {"triggered": True}

    def list_jobs(self, caller: Caller, feed_id: str, *, status: str | None, limit: int | None) -> list[Row]:
        """List the jobs of a feed, newest first."""
        jobs = self._jobs.of_feed(self.feed(caller, feed_id))
        now = self._clock.now()
        matching = (job for job in jobs if status is None or status == job.status(now))
        return [self._job_row(job) for job in islice(matching, limit or JOBS_LISTED)]

    def list_all_jobs(
        self, caller: Caller, *, family: bool, status: str | None, limit: int | None
    ) -> list[Row]:
        """List the jobs of all feeds of a workspace or of the family, newest first."""
        now = self._clock.now()
        workspaces = self._workspaces(caller, family)
        by_feed = [self._jobs.of_feed(feed) for each in workspaces for feed in self._live.feeds(each)]
        merged: Iterator[Job] = heapq.merge(*by_feed, key=lambda job: job.created_at, reverse=True)
        chosen = islice(
            (job for job in merged if status is None or status == job.status(now)), limit or JOBS_LISTED
        )
        if not family:
            return [self._job_row(job) for job in chosen]
        portals = {each.id: rows.portal_field(each) for each in workspaces}
        return [{**self._job_row(job), "portal": portals[job.feed.workspace_id]} for job in chosen]

    def get_job(self, caller: Caller, feed_id: str, job_id: str) -> Row:
        """Show one job."""
        return self._job_row(self._job(caller, feed_id, job_id))

    def cancel_job(self, caller: Caller, feed_id: str, job_id: str) -> Row:
        """Cancel a job that has not ended."""
        job = self._jobs.cancel(self._job(caller, feed_id, job_id))
        self._arrivals.give_up(job)
        return self._job_row(job)

    def look_again(self) -> None:
        """Let the jobs under way notice that a bank or a destination is not what it was."""
        for job in self._jobs.undone():
            self._arrivals.follow(job)

    def end_jobs(self, feed: Feed) -> None:
        """Cancel what is under way of a feed that is removed."""
        self._jobs.end(feed)
        self.look_again()

    def list_integrations(self, caller: Caller, *, family: bool) -> list[Row]:
        """List the destinations."""
        return self._list(
            caller, family, lambda each: map(rows.integration_row, self._live.integrations(each))
        )

    def list_enrichments(self, caller: Caller) -> list[Row]:
        """List the enrichments of the workspace."""
        return [rows.enrichment_row(each) for each in self._live.enrichments(caller.workspace)]

    def get_enrichment(self, caller: Caller, enrichment_id: str) -> Row:
        """Show one enrichment."""
        return rows.enrichment_row(self.enrichment(caller, enrichment_id))

    def bank(self, caller: Caller, bank_id: str) -> Bank:
        """Find a bank of the caller's workspace."""
        return _found("Bank", bank_id, self._live.banks(caller.workspace))

    def feed(self, caller: Caller, feed_id: str) -> Feed:
        """Find a feed of the caller's workspace."""
        return _found("Feed", feed_id, self._live.feeds(caller.workspace))

    def enrichment(self, caller: Caller, enrichment_id: str) -> Enrichment:
        """Find an enrichment of the caller's workspace."""
        return _found("Enrichment", enrichment_id, self._live.enrichments(caller.workspace))

    def integration(self, caller: Caller, integration_id: str) -> Integration:
        """Find a destination of the caller's workspace."""
        return _found("Integration", integration_id, self._live.integrations(caller.workspace))

    def _workspaces(self, caller: Caller, family: bool) -> tuple[Workspace, ...]:
        if not family:
            return (caller.workspace,)
        caller.require_family()
        return self._world.family()

    def _list(self, caller: Caller, family: bool, listing: Callable[[Workspace], Iterable[Row]]) -> list[Row]:
        found: list[Row] = []
        for workspace in self._workspaces(caller, family):
            marks: Row = (
                {"workspaceId": workspace.id, "portal": rows.portal_field(workspace)} if family else {}
            )
            found.extend({**row, **marks} for row in listing(workspace))
        return found

    def _account(self, caller: Caller, bank_id: str, account_id: str) -> Account:
        return _found("Account", account_id, self._world.accounts(self.bank(caller, bank_id)))

    def _live_account(self, caller: Caller, bank_id: str, account_id: str) -> Account:
        """Find an account whose data is read at the bank, which therefore has to let us in."""
        account = self._account(caller, bank_id, account_id)
        if self._live.is_broken(account.bank, self._clock.now()):
            raise ReauthError(account.bank.reauth_message)
        return account

    def _bank_row(self, bank: Bank) -> Row:
        return self._drift.bank(bank, rows.bank_row(bank))

    def _account_row(self, account: Account) -> Row:
        return self._drift.account(account, rows.account_row(account))

    def _job_row(self, job: Job) -> Row:
        return self._drift.job(job.row(self._clock.now()))

    def _job(self, caller: Caller, feed_id: str, job_id: str) -> Job:
        job = self._jobs.find(self.feed(caller, feed_id), job_id)
        if job is None:
            raise MissingError("Job not found")
        return job

    def _window(self, first: date | None, last: date | None, days: int) -> tuple[date, date]:
        _check_order(first, last, "from must not be after to")
        last = last or self._clock.now().date()
        # Counted in ordinals: a day too early for the calendar is then the calendar's first.
        return first or date.fromordinal(max(last.toordinal() - days + 1, 1)), last

    def _shown(self, account: Account, page: Page) -> TransactionPage:
        path = f"/v1/banks/{account.bank.id}/accounts/{account.id}/transactions"
        return TransactionPage(page.rows, page.count, page.cursor, page.has_more, path)


def _found(sort: str, wanted: str, things: Iterable[T]) -> T:
    for each in things:
        if each.id == wanted:
            return each
    raise MissingError(f"{sort} not found")


def _check_order(first: date | None, last: date | None, complaint: str) -> None:
    if first is not None and last is not None and first > last:
        raise BadRequestError(complaint)
