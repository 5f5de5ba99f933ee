"""The blocking client, over requests."""

from __future__ import annotations

import http.client
import math
import os
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import requests
import tenacity
import urllib3

from airflow_provider_banksync.api import responses
from airflow_provider_banksync.api.config import CONNECT_TIMEOUT
from airflow_provider_banksync.api.flows.core import Flow, RequestDroppedError, Send
from airflow_provider_banksync.api.http.retrying import tenacity_arguments
from airflow_provider_banksync.api.http.tls_and_proxies import load_tls_context, proxy_for
from airflow_provider_banksync.api.http.transport import BoundedSession
from airflow_provider_banksync.api.messages import Call, Reply, Request, Response, T
from airflow_provider_banksync.api.rate_limit.headers import read_limit_headers
from airflow_provider_banksync.api.rate_limit.limiter import next_queue_number
from airflow_provider_banksync.api.rate_limit.registry import limiter_for
from airflow_provider_banksync.exceptions import BankSyncAuthError, BankSyncError, BankSyncRateLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    from airflow_provider_banksync.api.config import ClientConfig

_R = TypeVar("_R")
_CHUNK = 64 * 1024
#: Errors of a request that was not sent, so the server did nothing.
_ERRORS_BEFORE_SENDING = (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError)
#: OpenSSL's reason, which requests and urllib3 keep in the text. Other TLS errors may occur after the handshake.
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
#: Errors whose text quotes what the server sent.
_ERRORS_QUOTING_SERVER = (
    http.client.HTTPException,
    urllib3.exceptions.DecodeError,
    urllib3.exceptions.ProtocolError,
)


def sleep(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds)


class Client:
    """A client that blocks until each call is answered. Threads may share it."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._tls_context = load_tls_context(config.verify) if config.uses_tls else None
        self._session = BoundedSession(self._tls_context)
        self._process = os.getpid()
        self._renewing = threading.Lock()

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Client holds a key and cannot be pickled. Create it where you use it.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the open connections."""
        self._session.close()

    def send(
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
        too_late = math.inf if max_wait is None else time.monotonic() + max_wait
        while True:
            config = self.config
            retrier = tenacity.Retrying(
                sleep=sleep, **tenacity_arguments(call.request, config.max_retries, max_wait)
            )
            try:
                return retrier(self._send_once, config, call, max_wait, next_queue_number(), is_current)
            except BankSyncAuthError:  # the server did nothing, so even a POST may be sent again
                if not self._renew_key(config):
                    raise
            max_wait = None if max_wait is None else max(0.0, too_late - time.monotonic())

    def run(self, flow: Flow[_R]) -> _R:
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
                    outcome = self.send(step.call, step.max_wait, step.is_current)
                else:
                    sleep(step.seconds)
            except BankSyncError as error:
                outcome = error

    def _renew_key(self, refused: ClientConfig) -> bool:
        """Tell whether there is another key than the refused one. One thread asks for it, and the others wait."""
        with self._renewing:
            if self.config.secret == refused.secret:
                self.config = (refused.renew and refused.renew(refused)) or refused
            return self.config.secret != refused.secret

    def _send_once(
        self,
        config: ClientConfig,
        call: Call[T],
        max_wait: float | None,
        queue_number: int,
        is_current: Callable[[], bool] | None,
    ) -> Reply[T]:
        limiter, rate_limited = limiter_for(config), config.rate_limited
        for delay in limiter.acquire(max_wait, queue_number) if rate_limited else ():
            sleep(delay)
        sent = time.monotonic()
        path = config.path(call.request.path)
        response, is_refused = None, False
        try:
            if is_current is not None and not is_current():
                raise RequestDroppedError("the request waited too long.")
            response = self._send_http(config, call.request, path)
            value = responses.parse_response(
                call, response, path=path, secret=config.secret, workspace_id=config.workspace_id
            )
        except BankSyncRateLimitError as error:
            is_refused = True
            limiter.record_429(error.retry_after, call.request.path)
            raise
        finally:
            if rate_limited:
                headers_at = response.headers_at if response else time.monotonic()
                accepted = None if response is None or is_refused else call.request.path
                limiter.record_answer(queue_number, sent, headers_at, accepted)
                if response is not None and (stated := read_limit_headers(response.headers)):
                    limiter.obey_headers(stated)
        return Reply(value, responses.server_date(response), time.monotonic())

    def _session_of_process(self) -> BoundedSession:
        """Return the session of this process. A fork must not use the connections of its parent."""
        if self._process != os.getpid():
            self._session, self._process = BoundedSession(self._tls_context), os.getpid()
        return self._session

    def _send_http(self, config: ClientConfig, request: Request, path: str) -> Response:
        headers = config.headers(request.workspace_id)
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        began = time.monotonic()
        url = f"{config.base_url}{path}"
        try:
            proxy = proxy_for(url)
            with self._session_of_process().request(
                request.method,
                url,
                params=request.query,
                data=request.body,
                headers=headers,
                timeout=(min(CONNECT_TIMEOUT, config.timeout), config.timeout),
                proxies={"all": proxy} if proxy else {},
                verify=config.verify is not False,
                allow_redirects=False,
                stream=True,
            ) as answer:
                headers_at = time.monotonic()
                body = bytearray()
                # read1 returns what has arrived. iter_content would wait for a whole chunk.
                while chunk := answer.raw.read1(_CHUNK, decode_content=True):
                    body += chunk
                    elapsed = time.monotonic() - began
                    responses.check_limits(request, config, size=len(body), elapsed=elapsed)
        except BankSyncError:
            raise
        except Exception as error:  # noqa: BLE001 - any error of the library: a bad name, a missing CA bundle
            *_, innermost = _wrapped_errors(error)
            quotes = isinstance(innermost, _ERRORS_QUOTING_SERVER) and not isinstance(innermost, OSError)
            # Without the cause, whose text may contain a secret. The message has the text, redacted.
            raise responses.connection_error(
                innermost if quotes else error,
                request,
                config,
                elapsed=time.monotonic() - began,
                sent=not _failed_before_sending(error),
                certificate=_is_certificate_error(error),
                quotes=quotes,
            ) from None
        headers_in = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers_in, bytes(body), headers_at)


def _wrapped_errors(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those that it wraps, from the outermost to the innermost."""
    found: BaseException | None = error
    while found is not None:
        yield found
        reason = getattr(found, "reason", None)
        wrapped = [entry for entry in (*found.args, reason) if isinstance(entry, BaseException)]
        found = wrapped[-1] if wrapped else None


def _failed_before_sending(error: BaseException) -> bool:
    """Tell whether the request was not sent, by the library's error and urllib3's reason inside.

    NewConnectionError means refused, unreachable, or an unknown name.
    """
    if isinstance(error, _ERRORS_BEFORE_SENDING) or _is_certificate_error(error):
        return True
    return any(isinstance(inner, urllib3.exceptions.NewConnectionError) for inner in _wrapped_errors(error))


def _is_certificate_error(error: BaseException) -> bool:
    return isinstance(error, requests.exceptions.SSLError) and _UNTRUSTED in str(error)
