"""``BankSyncSandbox``: a state that is served over HTTP."""

from __future__ import annotations

import os
import pkgutil
from typing import TYPE_CHECKING

from airflow_provider_banksync.sandbox.control.state import SandboxState
from airflow_provider_banksync.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from types import TracebackType

    from airflow_provider_banksync.sandbox.http.server_thread import ServerThread

INSTALL_HINT = "pip install starlette uvicorn httptools"
CHECK_VARIABLE = "SANDBOX_RESPONSE_CHECK"
"""The environment variable that names a check of each response, ``module:function``. This project's tests set it."""


class BankSyncSandbox(SandboxState):
    """A BankSync API on this machine, over real HTTP.

    ::

        with BankSyncSandbox(portals=3, time_scale=50) as sandbox:
            headers = {"X-API-Key": sandbox.api_key, "User-Agent": "my-tests/1.0"}
            requests.get(sandbox.url + "/v1/feeds", headers=headers)

    :param portals: live client portals under the firm's own workspace.
    :param seed: generates all data; the same seed gives the same data, ids and keys.
    :param port: the port on 127.0.0.1; 0 finds a free one.
    :param time_scale: sandbox seconds in a real second: at 20, a job of 40 seconds takes 2. At 0 the clock stands
        still, and only ``sandbox.clock.advance(seconds)`` moves it.
    :param broken_banks: how many portals have a first bank that needs a new sign-in.
    :param deleted_portals: portals that were deleted; a request to one answers 404.
    :param page_size: transactions on a page.
    :param job_seconds: the shortest and the longest duration of a job, in sandbox seconds.
    :param row_error_share: the share of feeds (0 to 1) whose completed jobs report rows that were not written.
    :param failure_share: the share of feeds (0 to 1) whose jobs fail because their destination rejects them.
    :param now: where the sandbox's clock starts (with a time zone); the real time by default.
    :param rate_limit: the requests that a key may send in a minute, or a ``RateLimit``; by default no limit.
    :param transactions_per_day: the average of each account; by default that of a small business, about 0.7.
    :param rows_per_sync: the transactions that each account of a transactions feed gets when a sync of it completes
        that was started through the API.
    :param drift: answer where the live API differs from its documentation: other forms of balances and of
        ``connectionStatus``, unknown fields, unknown sources.
    :param banks: how banks change their rows: ``production``, ``documented``, ``restless``, or a ``Banks`` with rates.
    :param block_default_user_agents: answer 403, error 1010, to the default user agents of HTTP libraries, as
        Cloudflare does.
    """

    _server: ServerThread | None = None

    def __enter__(self) -> BankSyncSandbox:  # noqa: PYI034 - typing.Self begins with Python 3.11
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start serving. Returns once the sandbox answers requests; raises SandboxError if it cannot start."""
        if self._server is not None:
            raise SandboxError("the sandbox is running already")
        try:
            from airflow_provider_banksync.sandbox.control.admin import Admin
            from airflow_provider_banksync.sandbox.http.app import SandboxApp
            from airflow_provider_banksync.sandbox.http.server_thread import HOST, ServerThread
        except ModuleNotFoundError as error:
            raise SandboxError(f"the sandbox needs {error.name}: {INSTALL_HINT}") from error
        check = os.environ.get(CHECK_VARIABLE)
        app = SandboxApp(
            self._backend,
            self._credentials,
            self.clock,
            self.faults,
            self._limiter,
            self._requests.append,
            Admin(self).answer,
            self._block_default_user_agents,
            pkgutil.resolve_name(check) if check else None,
        )
        server = ServerThread(app, app.writer, self._port)
        server.start()
        self._server, self._url = server, f"http://{HOST}:{server.port}"

    def stop(self) -> None:
        """Stop serving. The sandbox keeps its state, and you can start it again. Does nothing if it is not running."""
        server, self._server, self._url = self._server, None, None
        if server is not None:
            server.stop()
