"""The asynchronous client, over aiohttp: the same calls, conversations, errors and retries, on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import aiohttp
import tenacity
from yarl import URL

from airflow_provider_banksync.api import errors, proxies, retrying, tls
from airflow_provider_banksync.api.budget import budget_for, ticket
from airflow_provider_banksync.api.conversations import Conversation, Send, Wait
from airflow_provider_banksync.api.messages import Call, Reply, Request, Response, T
from airflow_provider_banksync.exceptions import (
    BankSyncConfigError,
    BankSyncConnectionError,
    BankSyncError,
    BankSyncRateLimitError,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from airflow_provider_banksync.api.budget import RateBudget
    from airflow_provider_banksync.api.config import ClientConfig

_R = TypeVar("_R")
_CONNECT_TIMEOUT = 10.0
#: A page is half a MB; with aiohttp's own limit, reading would be stopped and begun again several times in each.
_READ_AHEAD = 1024 * 1024
#: How many requests, and answers, of a session are worked on in one step of the loop.
AT_ONCE = 8
#: These are raised before the request has left, so it did no work.
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
#: The words of these quote what came from the server.
_QUOTING = (aiohttp.ClientResponseError, aiohttp.ClientPayloadError)
#: The longest line of a head, as http.client has it.
_LONGEST_LINE = 64 * 1024


async def pause(seconds: float) -> None:
    """Let time pass on the event loop."""
    await asyncio.sleep(seconds)


@dataclass
class _Shared:
    """A session, how often each client has it open, and what they share besides."""

    session: aiohttp.ClientSession
    users: Counter[AsyncClient] = field(default_factory=Counter)
    _proxies: dict[URL, str | None] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def turn(self) -> None:
        """Wait for the next step of the loop, in which only a few others go on.

        A hundred that go on in one step would stop the loop for as long as all of them take.
        """
        async with self._turns:
            await asyncio.sleep(0)

    def proxy(self, url: URL) -> str | None:
        """Return the proxy for this URL; looked up once for each origin, as that reads the whole environment."""
        origin = url.origin()
        if origin not in self._proxies:
            self._proxies[origin] = proxies.proxy_for(str(url))
        return self._proxies[origin]


#: A session belongs to one event loop; all clients there with the same settings share it, and its open connections.
_shared: dict[asyncio.AbstractEventLoop, dict[tuple[bool | str, float], _Shared]] = {}


class AsyncClient:
    """Sends calls on the running event loop; use it with ``async with``, also in several tasks of the loop at once.

    Clients of one loop share their connections: a thousand triggers in a triggerer open no more than a few.

    :param config: where to, as whom.
    :param in_budget: take each request from the key's rate budget; False is for those that must not wait.
    """

    def __init__(self, config: ClientConfig, *, in_budget: bool = True) -> None:
        self.config = config
        self._in_budget = in_budget

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AsyncClient holds a key: make it where it is used.")

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self._share not in _shared.get(loop, {}):
            # In a thread: certificates are read from the disk.
            context = await asyncio.to_thread(tls.context, self.config.verify)
            _forget_closed_loops()
            if self._share not in _shared.setdefault(loop, {}):  # nobody else was faster
                _shared[loop][self._share] = _Shared(_open_session(self.config, context))
        _shared[loop][self._share].users[self] += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        sessions = _shared[loop]
        shared = sessions[self._share]
        shared.users[self] -= 1
        if not shared.users[self]:
            del shared.users[self]
        if not shared.users:
            del sessions[self._share]
            if not sessions:
                del _shared[loop]
            await shared.session.close()

    def _open(self) -> _Shared:
        """Return the session of this loop, and what goes with it, while this client is open there."""
        shared = _shared.get(asyncio.get_running_loop(), {}).get(self._share)
        if shared is None or not shared.users[self]:
            raise BankSyncConfigError("AsyncClient sends only inside 'async with'.")
        return shared

    @property
    def _share(self) -> tuple[bool | str, float]:
        """What two clients must have in common to share a session; who they are goes with each request."""
        return self.config.verify, self.config.timeout

    async def send(self, call: Call[T], patience: float | None = None) -> Reply[T]:
        """Send one call, again where that is safe and may help.

        :param patience: seconds after which waiting, for the budget or for a further try, makes no sense.
        :raises BankSyncError: and nothing else.
        """
        await self._open().turn()  # of many that have slept until now
        settings = retrying.settings(call.request, self.config.max_retries, patience)
        retrier = tenacity.AsyncRetrying(sleep=pause, **settings)
        try:
            return await retrier(self._send_once, call, patience, ticket())
        finally:
            # What it was about to do refers to itself: only Python's garbage collector would get rid of it, and that
            # stops the loop, the longer the more objects there are.
            retrier.iter_state.reset()

    async def run(self, conversation: Conversation[_R]) -> _R:
        """Drive a conversation to its end and return its result."""
        reply: Any = None
        failure: BankSyncError | None = None
        while True:
            try:
                step = conversation.throw(failure) if failure else conversation.send(reply)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # typed by the conversation
            reply, failure = None, None
            if isinstance(step, Wait):
                await pause(step.seconds)
            elif isinstance(step, Send):
                try:
                    reply = await self.send(step.call, step.patience)
                except BankSyncError as error:
                    failure = error

    async def _send_once(self, call: Call[T], patience: float | None, place: int) -> Reply[T]:
        budget = budget_for(self.config)
        waits = budget.waits(patience, place) if self._in_budget else iter(())
        while (wait := await _off_loop(budget, next, waits, None)) is not None:
            await pause(wait)
        sent = time.monotonic()
        path = self.config.path(call.request.path)
        response = None
        try:
            await self._open().turn()  # of many that the budget lets go at the same moment
            sent = time.monotonic()
            response = await self._exchange(call.request, path)
            value = errors.decode(call, response, path=path, secret=self.config.secret)
        except BankSyncRateLimitError as error:
            await _off_loop(budget, budget.refused, error.retry_after)
            raise
        except BankSyncError as error:
            error.sent_at = sent
            raise
        finally:
            if self._in_budget:
                begun = response.begun if response else time.monotonic()
                await _off_loop(budget, budget.counted, place, sent, begun)
        return Reply(value, errors.server_date(response), time.monotonic())

    async def _exchange(self, request: Request, path: str) -> Response:
        shared, config = self._open(), self.config
        headers = config.headers(request.workspace_id)
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        began = time.monotonic()
        try:
            # Ids are quoted already: yarl would unquote what it takes for needless, so it is told to leave the path
            # alone.
            url = URL(f"{config.base_url}{path}", encoded=True).with_query(dict(request.query))
            async with shared.session.request(
                request.method,
                url,
                data=request.body,
                headers=headers,
                allow_redirects=False,
                proxy=shared.proxy(url),
            ) as answer:
                begun = time.monotonic()
                await shared.turn()  # of many answers that came at once
                chunks: list[bytes] = []
                size = 0
                async for chunk in answer.content.iter_any():
                    chunks.append(chunk)
                    size += len(chunk)
                    errors.check_body(size, request, path)
                    errors.check_time(time.monotonic() - began, config.timeout, request, path)
                headers_in = {name.lower(): value for name, value in answer.headers.items()}
                return Response(answer.status, headers_in, b"".join(chunks), begun)
        except BankSyncError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the library raises; a cancellation is none of these
            sent = not isinstance(error, _NOT_SENT)
            if sent:
                errors.check_time(time.monotonic() - began, config.timeout, request, path)
            # Without the cause, which may quote what the server echoed; the message has its words, scrubbed.
            raise _connection_error(error, request, config, sent=sent) from None


def _forget_closed_loops() -> None:
    """Let go of sessions whose loop was closed before they were: they hold that loop, and it would never be freed."""
    for loop in [loop for loop in _shared if loop.is_closed()]:
        del _shared[loop]


async def _off_loop(budget: RateBudget, ask: Callable[..., _R], *args: Any) -> _R:
    """Ask the budget; in a thread, if it lives on a disk or behind a network."""
    return await asyncio.to_thread(ask, *args) if budget.blocks else ask(*args)


def _connection_error(
    error: Exception, request: Request, config: ClientConfig, *, sent: bool
) -> BankSyncConnectionError:
    return errors.no_answer(
        error,
        request,
        config,
        sent=sent,
        certificate=isinstance(error, aiohttp.ClientConnectorCertificateError),
        quotes=sent and isinstance(error, _QUOTING),
    )


def _open_session(config: ClientConfig, context: ssl.SSLContext | bool) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(
        total=config.timeout * errors.SLOWEST_ANSWER,
        sock_connect=min(_CONNECT_TIMEOUT, config.timeout),
        sock_read=config.timeout,
    )
    # A sync without dates has no body, and so no type of one.
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        timeout=timeout,
        skip_auto_headers=("Content-Type",),
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=_READ_AHEAD,
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
    )
    # aiohttp would send a DELETE again by itself when the connection breaks, and hide that the first may have done
    # its work. There is no public switch; tests/api/test_writes.py watches this one.
    session._retry_connection = False  # noqa: SLF001
    return session
