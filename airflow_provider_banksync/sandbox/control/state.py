"""The state of a sandbox, and everything that a test may read or change in it."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_banksync.sandbox.clock import SandboxClock
from airflow_provider_banksync.sandbox.control.truth import Truth
from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.http.fault_rules import Faults
from airflow_provider_banksync.sandbox.http.rate_limit import RateLimit, RateLimiter, RequestRecord, Traffic
from airflow_provider_banksync.sandbox.rules.added_transactions import AddedTransactions
from airflow_provider_banksync.sandbox.rules.auth import Credentials
from airflow_provider_banksync.sandbox.rules.bank_commands import BankCommands
from airflow_provider_banksync.sandbox.rules.editor import Links, WritableBackend
from airflow_provider_banksync.sandbox.rules.jobs import JobPlanner, Jobs
from airflow_provider_banksync.sandbox.rules.paging import Paginator
from airflow_provider_banksync.sandbox.validation import check_flag, check_number, check_whole
from airflow_provider_banksync.sandbox.world.api_rows import Drift
from airflow_provider_banksync.sandbox.world.balances import Balances
from airflow_provider_banksync.sandbox.world.banks import BankRates, Banks, parse_banks
from airflow_provider_banksync.sandbox.world.current import CurrentWorld
from airflow_provider_banksync.sandbox.world.ledger import TransactionLedger
from airflow_provider_banksync.sandbox.world.seed import Seed
from airflow_provider_banksync.sandbox.world.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime
    from decimal import Decimal

    from airflow_provider_banksync.sandbox.world.model import Row

_SEED_LIMIT = 2**63
_MAX_RECORDS = 100_000
"""The requests that a sandbox remembers. The limit keeps a long benchmark from filling the memory."""


class SandboxState:
    """The parts of one sandbox. ``BankSyncSandbox`` documents the settings."""

    def __init__(
        self,
        *,
        portals: int = 25,
        seed: int = 7,
        port: int = 0,
        time_scale: float = 1.0,
        broken_banks: int = 0,
        deleted_portals: int = 2,
        page_size: int = 100,
        job_seconds: tuple[float, float] = (8.0, 45.0),
        row_error_share: float = 0.05,
        failure_share: float = 0.0,
        now: datetime | None = None,
        rate_limit: RateLimit | int | None = None,
        transactions_per_day: float | None = None,
        rows_per_sync: int = 0,
        drift: bool = False,
        banks: Banks | str = "production",
        block_default_user_agents: bool = True,
    ) -> None:
        check_whole("port", port, 0, 65_535)
        check_whole("portals", portals, 0, 100_000)
        check_whole("deleted_portals", deleted_portals, 0, 100_000)
        check_whole("broken_banks", broken_banks, 0, portals)
        check_whole("seed", seed, -_SEED_LIMIT, _SEED_LIMIT)
        check_whole("page_size", page_size, 1, 10_000)
        check_whole("rows_per_sync", rows_per_sync, 0, 10_000)
        if transactions_per_day is not None:
            check_number("transactions_per_day", transactions_per_day, 0, 10_000)
        check_number("row_error_share", row_error_share, 0, 1)
        check_number("failure_share", failure_share, 0, 1)
        check_flag("drift", drift)
        check_flag("block_default_user_agents", block_default_user_agents)
        _check_job_seconds(job_seconds)
        if rate_limit is not None and not isinstance(rate_limit, RateLimit):
            rate_limit = RateLimit(rate_limit)
        self.clock = SandboxClock(scale=time_scale, now=now)
        self.faults = Faults(self.clock)
        """What goes wrong: ``sandbox.faults.add(Fault.status(503), path="/v1/feeds/**", times=2)``."""
        root = Seed(seed)
        self.world = World(root, portals=portals, deleted_portals=deleted_portals, broken_banks=broken_banks)
        self._credentials = Credentials(self.world)
        self._rate_limit = rate_limit
        self._limiter = RateLimiter(rate_limit, self.clock)
        self._requests: deque[RequestRecord] = deque(maxlen=_MAX_RECORDS)
        rates = BankRates(parse_banks(banks))
        drifting = Drift(root, on=drift, balance_times=rates.latest.balance_times)
        ledger = TransactionLedger(root, drifting, rates, transactions_per_day)
        balances = Balances(ledger, self.clock.start)
        self._current = CurrentWorld(self.world, self.clock)
        planner = JobPlanner(root, self._current, ledger, job_seconds, row_error_share, failure_share)
        self._jobs = Jobs(root, self.clock, planner, self._current, drifting, rows_per_sync)
        self._added = AddedTransactions(root, self.clock, ledger, rates, rows_per_sync)
        paginator = Paginator(root, ledger, page_size)
        self._links = Links(root, self.clock)
        self._backend = WritableBackend(
            self._current,
            self.clock,
            self._jobs,
            paginator,
            self._added,
            drifting,
            balances,
            rates.latest.sources_without_loans,
            self._links,
        )
        self.banks = BankCommands(
            self.clock, self._current, ledger, balances, rates, self._backend.refresh_jobs
        )
        """What you can make banks do: ``sandbox.banks.remove(account_id, transaction_id)``."""
        self.truth = Truth(self.clock, self._current, ledger, balances)
        """What the API would answer: ``sandbox.truth.transactions(workspace_id)``."""
        self._port = port
        self._block_default_user_agents = block_default_user_agents
        self._url: str | None = None

    @property
    def url(self) -> str:
        """The base URL, without ``/v1``."""
        if self._url is None:
            raise SandboxError("the sandbox is not running: use it as a context manager, or call start()")
        return self._url

    @property
    def api_key(self) -> str:
        """The key of the firm's owner, with every scope."""
        return self._credentials.owner_key

    @property
    def bearer_token(self) -> str:
        """A session of the firm's owner. Send it with X-Workspace-ID. ``create_session`` makes others."""
        return self._credentials.session_token

    @property
    def connection_uri(self) -> str:
        """The Airflow connection, as a URI for an AIRFLOW_CONN_… variable.

        It sets the client's rate limit to that of the sandbox. If the sandbox has none, it sets a very high one.
        """
        target = f"{quote(self.api_key, safe='')}@{quote(self.url, safe='')}"
        return f"banksync://:{target}/?rate_limit_per_minute={self._client_rate_limit()}"

    @property
    def connection_json(self) -> str:
        """The same as JSON, also for ``airflow connections add --conn-json``."""
        fields = {"conn_type": "banksync", "host": self.url, "password": self.api_key}
        return json.dumps({**fields, "extra": {"rate_limit_per_minute": self._client_rate_limit()}})

    def _client_rate_limit(self) -> int:
        limit = self._rate_limit
        return 100_000 if limit is None else max(1, int(limit.requests * 60 / limit.window))

    @property
    def feed_name(self) -> str:
        """The name of a feed of transactions in the firm's own workspace. It is the feed in README.md."""
        return str(self.world.feeds(self.world.parent)[0].settings["name"])

    @property
    def workspace_id(self) -> str:
        """The id of the firm's own workspace."""
        return self.world.parent.id

    @property
    def portals(self) -> list[tuple[str, str]]:
        """Id and name of each live client portal."""
        return [(portal.id, portal.name) for portal in self.world.portals]

    @property
    def deleted_portals(self) -> list[tuple[str, str]]:
        """Id and name of each deleted portal."""
        return [(portal.id, portal.name) for portal in self.world.deleted]

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests so far, oldest first."""
        return list(self._requests)

    def clear_requests(self) -> None:
        """Clear the list of requests."""
        self._requests.clear()

    def traffic(self, api_key: str | None = None) -> Traffic:
        """Count the requests so far, those of one key or session token if it is given."""
        key_id = None if api_key is None else self._credentials.id_of(api_key)
        return self._limiter.traffic([each for each in self.requests if key_id in {None, each.key_id}])

    @property
    def jobs(self) -> list[Row]:
        """The jobs that were started through the API, oldest first, in their current state."""
        now = self.clock.now()
        return [job.row(now) for job in self._jobs.started()]

    @property
    def today(self) -> date:
        """The sandbox's day, in UTC."""
        return self.clock.now().date()

    def advance(self, days: float = 0, hours: float = 0) -> date:
        """Move the clock forward at once. Returns the sandbox's day."""
        return self.clock.advance(days * 86_400 + hours * 3_600).date()

    def break_bank(self, bank_id: str) -> None:
        """Make a bank need a new sign-in: reading its accounts answers 503, syncs of them fail."""
        self._current.set_broken(bank_id, True)
        self._backend.refresh_jobs()

    def mend_bank(self, bank_id: str) -> None:
        """Sign in to a broken bank again."""
        self._current.set_broken(bank_id, False)
        self._backend.refresh_jobs()

    def delete_portal(self, portal_id: str) -> None:
        """Delete a client portal. From now on it is not listed, and a request to it answers 404."""
        portal = next((each for each in self.world.portals if each.id == portal_id), None)
        if portal is None:
            raise SandboxError(f"there is no live portal {portal_id!r}; sandbox.portals lists them")
        for feed in self._current.feeds.latest(portal):
            self._backend.end_jobs(feed)
        self.world.delete_portal(portal)

    def finish_link(self, link_token: str) -> str:
        """Sign in at a bank link, as its user. Returns the public token for ``POST /v1/banks/connect``."""
        return self._links.complete_sign_in(link_token)

    def add_transaction(
        self,
        account_id: str,
        amount: Decimal | int | str,
        description: str = "Added by a test",
        *,
        day: date | None = None,
        category: str = "Other",
        settles_after: float | None = None,
    ) -> str:
        """Add a transaction that the API lists from now on. Returns its id.

        :param amount: signed, money out negative, exact: a Decimal, an int or a string like "-12.50".
        :param day: its date, which may be long ago; today by default.
        :param settles_after: the transaction is pending, and posts under another id after this many sandbox seconds.
        """
        account = self._current.find_account(account_id)
        return self._added.add(
            account, amount, description, day=day, category=category, settles_after=settles_after
        )

    def create_key(
        self,
        scopes: Iterable[str] | None = None,
        role: str = "owner",
        workspace_id: str | None = None,
        expires_at: datetime | None = None,
    ) -> str:
        """Create an API key, by default with all scopes, for the firm's own workspace and without an end."""
        return self._credentials.create(role, workspace_id, expires_at, scopes)

    def create_session(
        self, role: str = "owner", workspace_id: str | None = None, expires_at: datetime | None = None
    ) -> str:
        """Sign in a member of the firm, or of the portal ``workspace_id``. Returns the bearer token."""
        return self._credentials.create(role, workspace_id, expires_at, is_session=True)

    def revoke_key(self, key: str) -> None:
        """Revoke an API key, or end a session."""
        self._credentials.revoke(key)


def _check_job_seconds(pair: tuple[float, float]) -> None:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise SandboxError(f"job_seconds must be a pair, the shortest and the longest, not {pair!r}")
    shortest, longest = pair
    check_number("job_seconds", longest, 0, 86_400)
    check_number("job_seconds", shortest, 0, longest)
