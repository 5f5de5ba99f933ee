"""The sandbox as an object: settings in, a running API out."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_banksync.sandbox.arrivals import Arrivals
from airflow_provider_banksync.sandbox.auth import Keyring
from airflow_provider_banksync.sandbox.backend import Backend
from airflow_provider_banksync.sandbox.checks import check_flag, check_number, check_whole
from airflow_provider_banksync.sandbox.clock import SandboxClock
from airflow_provider_banksync.sandbox.drift import Drift
from airflow_provider_banksync.sandbox.editor import Editor
from airflow_provider_banksync.sandbox.errors import SandboxError
from airflow_provider_banksync.sandbox.faults import Faults
from airflow_provider_banksync.sandbox.jobs import Jobs
from airflow_provider_banksync.sandbox.journal import Journal, RequestRecord
from airflow_provider_banksync.sandbox.ledger import Ledger
from airflow_provider_banksync.sandbox.links import Links
from airflow_provider_banksync.sandbox.live import LiveWorld
from airflow_provider_banksync.sandbox.pages import Pager
from airflow_provider_banksync.sandbox.plans import JobRules, Planner
from airflow_provider_banksync.sandbox.ratelimit import RateLimit, RateLimiter, Traffic
from airflow_provider_banksync.sandbox.seed import Seed
from airflow_provider_banksync.sandbox.transactions import TransactionWriter
from airflow_provider_banksync.sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime
    from decimal import Decimal
    from types import TracebackType

    from airflow_provider_banksync.sandbox.listener import Listener
    from airflow_provider_banksync.sandbox.model import Row

_ANY_SEED = 2**63
INSTALL_HINT = "pip install 'airflow-provider-banksync[sandbox]'"


class BankSyncSandbox:
    """A BankSync API on this machine, over real HTTP.

    ::

        with BankSyncSandbox(portals=3, time_scale=50) as sandbox:
            headers = {"X-API-Key": sandbox.api_key, "User-Agent": "my-tests/1.0"}
            requests.get(sandbox.url + "/v1/feeds", headers=headers)

    :param portals: live client portals under the firm's own workspace.
    :param seed: the number that all data grows from; the same seed gives the same data, ids and keys.
    :param port: the port on 127.0.0.1; 0 finds a free one.
    :param time_scale: sandbox seconds in a real one: at 20, a job of 40 seconds takes 2. At 0 the clock stands still
        and only ``sandbox.clock.advance(seconds)`` moves it.
    :param broken_banks: how many portals have a first bank that needs a new sign-in.
    :param deleted_portals: portals that existed once; addressing them is a 404.
    :param page_size: transactions on a page.
    :param job_seconds: the shortest and the longest time a job takes, in sandbox seconds.
    :param row_error_share: the share of feeds (0 to 1) whose completed jobs carry rows that were not written.
    :param failure_share: the share of feeds (0 to 1) whose jobs fail because their destination refuses.
    :param now: where the sandbox's clock starts (aware); the real time by default.
    :param rate_limit: how many requests a key may send in a minute, or a ``RateLimit``; None for no limit.
    :param transactions_per_day: how many each account has on average; None for what a small business has, about one.
    :param rows_per_sync: how many transactions come to each account of a transactions feed when a sync of it that was
        started through the API completes.
    :param drift: answer the way the live API has been seen to differ from its documentation: other forms of balances
        and of ``connectionStatus``, unknown fields, unknown sources.
    :param block_default_user_agents: answer like Cloudflare to who does not name itself: 403, error 1010.
    """

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
        block_default_user_agents: bool = True,
    ) -> None:
        check_whole("port", port, 0, 65_535)
        check_whole("portals", portals, 0, 100_000)
        check_whole("deleted_portals", deleted_portals, 0, 100_000)
        check_whole("broken_banks", broken_banks, 0, portals)
        check_whole("seed", seed, -_ANY_SEED, _ANY_SEED)
        check_whole("page_size", page_size, 1, 10_000)
        check_whole("rows_per_sync", rows_per_sync, 0, 10_000)
        if transactions_per_day is not None:
            check_number("transactions_per_day", transactions_per_day, 0, 10_000)
        check_number("row_error_share", row_error_share, 0, 1)
        check_number("failure_share", failure_share, 0, 1)
        check_flag("drift", drift)
        check_flag("block_default_user_agents", block_default_user_agents)
        _check_job_seconds(job_seconds)
        self._limit = (
            rate_limit if rate_limit is None or isinstance(rate_limit, RateLimit) else RateLimit(rate_limit)
        )
        self.clock = SandboxClock(scale=time_scale, now=now)
        root = Seed(seed)
        self.world = World(root, portals=portals, deleted_portals=deleted_portals, broken_banks=broken_banks)
        self._keyring = Keyring(self.world)
        rules, odd = JobRules(job_seconds, row_error_share, failure_share), Drift(root, on=drift)
        ledger = Ledger(root, TransactionWriter(odd), transactions_per_day)
        self._live = LiveWorld(self.world, self.clock)
        planner = Planner(root, rules, self._live, ledger)
        self._jobs = Jobs(root, self.clock, planner, self._live, odd, rows_per_sync)
        self._arrivals = Arrivals(root, self.clock, ledger, rows_per_sync)
        self._backend = Backend(
            self._live, self.clock, self._jobs, Pager(root, ledger, page_size), self._arrivals, odd
        )
        self._links = Links(root, self.clock)
        self._editor = Editor(self._live, self.clock, self._backend, self._links)
        self._journal = Journal()
        self.faults = Faults()
        """What shall go wrong: ``sandbox.faults.add(Fault.status(503), path="/v1/feeds/**", times=2)``."""
        self._limiter = RateLimiter(self._limit, self.clock)
        self._block_default_user_agents = block_default_user_agents
        self._wanted_port = port
        self._listener: Listener | None = None

    def __enter__(self) -> BankSyncSandbox:  # noqa: PYI034 - typing.Self begins with Python 3.11
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Serve. Returns once requests are answered; raises SandboxError where that cannot be."""
        if self._listener is not None:
            raise SandboxError("the sandbox is running already")
        try:
            from airflow_provider_banksync.sandbox.admin import Admin
            from airflow_provider_banksync.sandbox.app import SandboxApp
            from airflow_provider_banksync.sandbox.contract import witness
            from airflow_provider_banksync.sandbox.listener import Listener
        except ModuleNotFoundError as error:
            raise SandboxError(f"the sandbox needs {error.name}: {INSTALL_HINT}") from error
        app = SandboxApp(
            self._backend,
            self._editor,
            self._keyring,
            self.clock,
            self._journal,
            self.faults,
            self._limiter,
            Admin(self),
            witness(),
            block_default_user_agents=self._block_default_user_agents,
        )
        listener = Listener(app, self._wanted_port)
        listener.start()
        self._listener = listener

    def stop(self) -> None:
        """Stop serving; harmless when it does not. State is kept, and ``start`` goes on from it."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()

    @property
    def url(self) -> str:
        """The base URL, without ``/v1``."""
        if self._listener is None:
            raise SandboxError("the sandbox is not running: use it as a context manager, or call start()")
        return f"http://127.0.0.1:{self._listener.port}"

    @property
    def api_key(self) -> str:
        """The key of the firm's owner, with every scope."""
        return self._keyring.owner_key

    @property
    def bearer_token(self) -> str:
        """A session of the firm's owner; to be sent together with X-Workspace-ID. ``create_session`` makes others."""
        return self._keyring.session_token

    @property
    def connection_uri(self) -> str:
        """The Airflow connection, as a URI for an AIRFLOW_CONN_… variable.

        It tells the client how many requests a minute it may send; without a limit here, more than it ever will.
        """
        limit = self._limit
        a_minute = 100_000 if limit is None else max(1, int(limit.requests * 60 / limit.window))
        target = f"{quote(self.api_key, safe='')}@{quote(self.url, safe='')}"
        return f"banksync://:{target}/?rate_limit_per_minute={a_minute}"

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
        """Id and name of each portal that was deleted."""
        return [(portal.id, portal.name) for portal in self.world.deleted]

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests so far, oldest first."""
        return self._journal.records()

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._journal.clear()

    def traffic(self, api_key: str | None = None) -> Traffic:
        """Sum up the requests so far, of all or with one key or session token: how many, which, how many were 429."""
        key_id = None if api_key is None else self._keyring.id_of(api_key)
        return self._limiter.traffic([each for each in self.requests if key_id in {None, each.key_id}])

    @property
    def jobs(self) -> list[Row]:
        """The jobs that were started through the API, oldest first, as they stand now."""
        now = self.clock.now()
        return [job.row(now) for job in self._jobs.started()]

    def break_bank(self, bank_id: str) -> None:
        """Let a bank want a new sign-in from now on: reading its accounts is a 503, syncing them fails."""
        self._live.set_broken(bank_id, True)
        self._backend.look_again()

    def mend_bank(self, bank_id: str) -> None:
        """Let a bank be signed in to again, from now on."""
        self._live.set_broken(bank_id, False)
        self._backend.look_again()

    def delete_portal(self, portal_id: str) -> None:
        """Delete a client portal: it is no longer listed, and addressing it is a 404 from now on."""
        portal = next((each for each in self.world.portals if each.id == portal_id), None)
        if portal is None:
            raise SandboxError(f"there is no live portal {portal_id!r}; sandbox.portals lists them")
        for feed in self._live.feeds(portal):
            self._backend.end_jobs(feed)
        self.world.delete_portal(portal)

    def finish_link(self, link_token: str) -> str:
        """Play the person who signs in at a bank link; give the public token for ``POST /v1/banks/connect``."""
        return self._links.finish(link_token)

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
        """Add a transaction that appears now; give its id.

        :param amount: signed, money out negative, exact: a Decimal, an int or a string like "-12.50".
        :param day: the day it is dated, which may be long ago; today by default.
        :param settles_after: it is pending, and settles under another id after so many sandbox seconds.
        """
        return self._arrivals.add(
            self._live.find_account(account_id),
            amount,
            description,
            day=day,
            category=category,
            settles_after=settles_after,
        )

    def create_key(
        self,
        scopes: Iterable[str] | None = None,
        role: str = "owner",
        workspace_id: str | None = None,
        expires_at: datetime | None = None,
    ) -> str:
        """Make an API key: with all scopes, for the firm's own workspace and without an end unless told otherwise."""
        return self._keyring.create(
            scopes=scopes, role=role, workspace_id=workspace_id, expires_at=expires_at
        )

    def create_session(
        self, role: str = "owner", workspace_id: str | None = None, expires_at: datetime | None = None
    ) -> str:
        """Let a person sign in: a member of the firm, or of the portal that is named. Give the bearer token."""
        return self._keyring.begin_session(role=role, workspace_id=workspace_id, expires_at=expires_at)

    def revoke_key(self, key: str) -> None:
        """Withdraw an API key, or end a session."""
        self._keyring.revoke(key)


def _check_job_seconds(pair: tuple[float, float]) -> None:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise SandboxError(f"job_seconds must be a pair, the shortest and the longest, not {pair!r}")
    shortest, longest = pair
    check_number("job_seconds", longest, 0, 86_400)
    check_number("job_seconds", shortest, 0, longest)
