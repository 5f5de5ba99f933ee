"""The asynchronous client, over aiohttp. It sends the same calls and drives the same flows as the blocking one."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import aiohttp
import tenacity
from yarl import URL

from airflow_provider_banksync.api import responses
from airflow_provider_banksync.api.config import CONNECT_TIMEOUT
from airflow_provider_banksync.api.flows.core import Flow, RequestDroppedError, Send
from airflow_provider_banksync.api.http.retrying import tenacity_arguments
from airflow_provider_banksync.api.http.tls_and_proxies import load_tls_context, proxy_for
from airflow_provider_banksync.api.messages import Call, Reply, Request, Response, T
from airflow_provider_banksync.api.rate_limit.headers import read_limit_headers
from airflow_provider_banksync.api.rate_limit.limiter import next_queue_number
from airflow_provider_banksync.api.rate_limit.registry import limiter_for
from airflow_provider_banksync.exceptions import (
    BankSyncAuthError,
    BankSyncConfigError,
    BankSyncError,
    BankSyncRateLimitError,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import TypeAlias

    from typing_extensions import Self

    from airflow_provider_banksync.api.config import ClientConfig
    from airflow_provider_banksync.api.rate_limit.limiter import RateLimiter

    #: Whether TLS is used, `verify` and `timeout`.
    _SessionKey: TypeAlias = tuple[bool, bool | str, float]

_R = TypeVar("_R")
#: A page has half a MB. With aiohttp's default limit, reading each page would pause several times.
_READ_BUFFER = 1024 * 1024
#: Requests and answers of a session that the event loop handles in one step.
MAX_PER_LOOP_STEP = 8
#: Bytes of a body that any number of answers may have in memory. Of the larger ones, only one at a time is read on.
LARGE_BODY = 8 * 1024 * 1024
#: Errors of a request that was not sent, so the server did nothing.
_ERRORS_BEFORE_SENDING = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
#: Errors whose text quotes what the server sent.
_ERRORS_QUOTING_SERVER = (aiohttp.ClientResponseError, aiohttp.ClientPayloadError)
#: The longest header line, as in http.client.
_MAX_HEADER_LINE = 64 * 1024


async def sleep(seconds: float) -> None:
    """Sleep on the event loop."""
    await asyncio.sleep(seconds)


@dataclass
class SharedSession:
    """An aiohttp session that all clients of an event loop share, with the number of times each has it open."""

    session: aiohttp.ClientSession
    users: Counter[AsyncClient] = field(default_factory=Counter)
    _proxies: dict[URL, str | None] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_PER_LOOP_STEP))
    _large_body: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def yield_to_loop(self) -> None:
        """Wait for the next step of the loop, in which at most `MAX_PER_LOOP_STEP` requests continue.

        A hundred requests that continue in one step would block the loop.
        """
        async with self._slots:
            await asyncio.sleep(0)

    async def read_body(self, answer: aiohttp.ClientResponse, check: Callable[[int], None]) -> bytes:
        """Read a body. Bodies larger than `LARGE_BODY` are read one after the other, to bound the memory.

        Meanwhile, the connections of the others are paused. The one that is read never waits for them.

        :param check: raises an error if the body has too many bytes, or took too long.
        """
        chunks: list[bytes] = []
        size = 0
        async with contextlib.AsyncExitStack() as turn:
            is_large = False
            async for chunk in answer.content.iter_any():
                chunks.append(chunk)
                size += len(chunk)
                check(size)
                if size > LARGE_BODY and not is_large:
                    is_large = True
                    await turn.enter_async_context(self._large_body)
            return b"".join(chunks)

    def proxy(self, url: URL) -> str | None:
        """Return the proxy for a URL. Each lookup reads the whole environment, so there is one for each origin."""
        origin = url.origin()
        if origin not in self._proxies:
            self._proxies[origin] = proxy_for(str(url))
        return self._proxies[origin]


#: All clients of an event loop with the same settings share a session and its open connections.
_sessions: dict[asyncio.AbstractEventLoop, dict[_SessionKey, SharedSession]] = {}


class AsyncClient:
    """A client for the running event loop. Use it with ``async with``, also in several tasks at once.

    Clients of one loop share their connections, so a thousand triggers in a triggerer open only a few.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._renewing = asyncio.Lock()

    def __reduce__(self) -> NoReturn:
        raise TypeError("An AsyncClient holds a key and cannot be pickled. Create it where you use it.")

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self._session_key not in _sessions.get(loop, {}):
            context = None
            if self.config.uses_tls:
                # In a thread, because it reads certificates from the disk.
                context = await asyncio.to_thread(load_tls_context, self.config.verify)
            _forget_closed_loops()
            if self._session_key not in _sessions.setdefault(loop, {}):  # no other task was faster
                _sessions[loop][self._session_key] = SharedSession(_open_session(self.config, context))
        _sessions[loop][self._session_key].users[self] += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        sessions = _sessions[loop]
        shared = sessions[self._session_key]
        shared.users[self] -= 1
        if not shared.users[self]:
            del shared.users[self]
        if not shared.users:
            del sessions[self._session_key]
            if not sessions:
                del _sessions[loop]
            await shared.session.close()

    def _current_session(self) -> SharedSession:
        """Return the session of this loop."""
        shared = _sessions.get(asyncio.get_running_loop(), {}).get(self._session_key)
        if shared is None or not shared.users[self]:
            raise BankSyncConfigError("This AsyncClient is not open. Use it inside 'async with'.")
        return shared

    @property
    def _session_key(self) -> _SessionKey:
        """The settings that two clients must have in common to share a session. Credentials go with each request."""
        return self.config.uses_tls, self.config.verify, self.config.timeout

    async def send(
        self,
        call: Call[T],
        max_wait: float | None = None,
        is_current: Callable[[], bool] | None = None,
    ) -> Reply[T]:
        """Send one call, with retries if they are safe and can help.

        :param max_wait: maximum seconds to wait for the rate limit or for a retry.
        :param is_current: as in `Send`.
        :raises BankSyncError: no other error leaves this method.
        """
        await self._current_session().yield_to_loop()
        too_late = math.inf if max_wait is None else time.monotonic() + max_wait
        while True:
            config = self.config
            retrier = tenacity.AsyncRetrying(
                sleep=sleep, **tenacity_arguments(call.request, config.max_retries, max_wait)
            )
            try:
                return await retrier(self._send_once, config, call, max_wait, next_queue_number(), is_current)
            except BankSyncAuthError:  # the server did nothing, so even a POST may be sent again
                if not await self._renew_key(config):
                    raise
            finally:
                # Its state refers to itself. Only the garbage collector would free it, and a collection blocks the
                # loop.
                retrier.iter_state.reset()
            max_wait = None if max_wait is None else max(0.0, too_late - time.monotonic())

    async def run(self, flow: Flow[_R]) -> _R:
        """Drive a flow to its end and return its result."""
        outcome: Any = None
        while True:
            try:
                step = flow.throw(outcome) if isinstance(outcome, BankSyncError) else flow.send(outcome)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # typed by the flow
            outcome = None
            try:
                if isinstance(step, Send):
                    outcome = await self.send(step.call, step.max_wait, step.is_current)
                else:
                    await sleep(step.seconds)
            except BankSyncError as error:
                outcome = error

    async def _renew_key(self, refused: ClientConfig) -> bool:
        """Tell whether there is another key than the refused one. One request asks for it, and the others wait."""
        async with self._renewing:
            if self.config.secret == refused.secret:
                self.config = (refused.renew_async and await refused.renew_async(refused)) or refused
            return self.config.secret != refused.secret

    async def _send_once(
        self,
        config: ClientConfig,
        call: Call[T],
        max_wait: float | None,
        queue_number: int,
        is_current: Callable[[], bool] | None,
    ) -> Reply[T]:
        limiter, rate_limited = limiter_for(config), config.rate_limited
        delays = limiter.acquire(max_wait, queue_number) if rate_limited else iter(())
        while (delay := await _call_limiter(limiter, next, delays, None)) is not None:
            await sleep(delay)
        sent = time.monotonic()
        path = config.path(call.request.path)
        response, is_refused = None, False
        try:
            # The rate limit may release many requests at once.
            await self._current_session().yield_to_loop()
            if is_current is not None and not is_current():
                raise RequestDroppedError("the request waited too long.")
            sent = time.monotonic()
            response = await self._send_http(config, call.request, path)
            value = responses.parse_response(
                call, response, path=path, secret=config.secret, workspace_id=config.workspace_id
            )
        except BankSyncRateLimitError as error:
            is_refused = True
            await _call_limiter(limiter, limiter.record_429, error.retry_after, call.request.path)
            raise
        finally:
            if rate_limited:
                headers_at = response.headers_at if response else time.monotonic()
                accepted = None if response is None or is_refused else call.request.path
                await _call_limiter(limiter, limiter.record_answer, queue_number, sent, headers_at, accepted)
                if response is not None and (stated := read_limit_headers(response.headers)):
                    await _call_limiter(limiter, limiter.obey_headers, stated)
        return Reply(value, responses.server_date(response), time.monotonic())

    async def _send_http(self, config: ClientConfig, request: Request, path: str) -> Response:
        shared = self._current_session()
        headers = config.headers(request.workspace_id)
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        began = time.monotonic()
        try:
            # The path is quoted already. Without `encoded`, yarl would unquote parts of it.
            url = URL(f"{config.base_url}{path}", encoded=True).with_query(dict(request.query))
            async with shared.session.request(
                request.method,
                url,
                data=request.body,
                headers=headers,
                allow_redirects=False,
                proxy=shared.proxy(url),
            ) as answer:
                headers_at = time.monotonic()
                await shared.yield_to_loop()  # many answers may arrive at once
                body = await shared.read_body(
                    answer,
                    lambda size: responses.check_limits(
                        request, config, size=size, elapsed=time.monotonic() - began
                    ),
                )
                headers_in = {name.lower(): value for name, value in answer.headers.items()}
                return Response(answer.status, headers_in, body, headers_at)
        except BankSyncError:
            raise
        except Exception as error:  # noqa: BLE001 - any error of the library; a cancellation is not an Exception
            sent = not isinstance(error, _ERRORS_BEFORE_SENDING)
            # Without the cause, whose text may contain a secret. The message has the text, redacted.
            raise responses.connection_error(
                error,
                request,
                config,
                elapsed=time.monotonic() - began,
                sent=sent,
                certificate=isinstance(error, aiohttp.ClientConnectorCertificateError),
                quotes=sent and isinstance(error, _ERRORS_QUOTING_SERVER),
            ) from None


def _forget_closed_loops() -> None:
    """Drop sessions whose loop was closed before them. They would keep the loop in memory."""
    for loop in [loop for loop in _sessions if loop.is_closed()]:
        del _sessions[loop]


async def _call_limiter(limiter: RateLimiter, ask: Callable[..., _R], *args: Any) -> _R:
    """Call the limiter, in its thread if it uses a disk or a network."""
    if limiter.thread is None:
        return ask(*args)
    run = contextvars.copy_context().run  # Airflow assigns log lines to triggers by the context
    return await asyncio.get_running_loop().run_in_executor(limiter.thread, run, ask, *args)


def _open_session(config: ClientConfig, context: ssl.SSLContext | None) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(
        total=config.timeout * responses.MAX_RESPONSE_TIMEOUTS,
        sock_connect=min(CONNECT_TIMEOUT, config.timeout),
        sock_read=config.timeout,
    )
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context or True),  # True: no TLS, and nothing to load
        timeout=timeout,
        skip_auto_headers=("Content-Type",),  # a sync without dates has no body
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=_READ_BUFFER,
        max_line_size=_MAX_HEADER_LINE,
        max_field_size=_MAX_HEADER_LINE,
    )
    # If the connection breaks, aiohttp would repeat a DELETE, and hide that the first one may have succeeded. There
    # is no public switch. tests/api/flows/test_writes.py checks this one.
    session._retry_connection = False  # noqa: SLF001
    return session
