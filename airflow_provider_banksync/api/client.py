"""The blocking client, over requests."""

from __future__ import annotations

import time
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar

import requests
import tenacity
import urllib3

from airflow_provider_banksync.api import errors, retrying, tls
from airflow_provider_banksync.api.budget import budget_for, ticket
from airflow_provider_banksync.api.conversations import Conversation, Send, Wait
from airflow_provider_banksync.api.messages import Call, Reply, Request, Response, T
from airflow_provider_banksync.exceptions import (
    BankSyncConnectionError,
    BankSyncError,
    BankSyncRateLimitError,
)

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from airflow_provider_banksync.api.config import ClientConfig

_R = TypeVar("_R")
_CONNECT_TIMEOUT = 10.0
_CHUNK = 64 * 1024
#: These are raised before the request has left, so it did no work. A failed TLS handshake is one of them.
_NOT_SENT = (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError, requests.exceptions.SSLError)

#: OpenSSL's reason, which requests and urllib3 wrap twice and keep in the text.
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


class _Session(requests.Session):
    """Looks at no ``Location``: requests would take it apart even where redirects are not followed, and may fail."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that there is no redirect."""


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from looking for credentials in ~/.netrc, which would be sent beside ours."""
    return request


def pause(seconds: float) -> None:
    """Let time pass."""
    time.sleep(seconds)


class Client:
    """Sends calls one after the other and waits for each; may be shared by threads.

    :param config: where to, as whom.
    :param in_budget: take each request from the key's rate budget; False is for the one that must not wait.
    """

    def __init__(self, config: ClientConfig, *, in_budget: bool = True) -> None:
        tls.context(config.verify)  # refuses a bundle that cannot be read, before anything is sent
        self.config = config
        self._in_budget = in_budget
        self._session = _Session()
        self._session.auth = _no_netrc
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._session.close()

    def send(self, call: Call[T], patience: float | None = None) -> Reply[T]:
        """Send one call, again where that is safe and may help.

        :param patience: seconds after which waiting, for the budget or for a further try, makes no sense.
        :raises BankSyncError: and nothing else.
        """
        settings = retrying.settings(call.request, self.config.max_retries, patience)
        return tenacity.Retrying(sleep=pause, **settings)(self._send_once, call, patience, ticket())

    def run(self, conversation: Conversation[_R]) -> _R:
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
                pause(step.seconds)
            elif isinstance(step, Send):
                try:
                    reply = self.send(step.call, step.patience)
                except BankSyncError as error:
                    failure = error

    def _send_once(self, call: Call[T], patience: float | None, place: int) -> Reply[T]:
        budget = budget_for(self.config)
        for wait in budget.waits(patience, place) if self._in_budget else ():
            pause(wait)
        sent = time.monotonic()
        path = self.config.path(call.request.path)
        try:
            response = self._exchange(call.request, path)
            value = errors.decode(call, response, path=path, secret=self.config.secret)
        except BankSyncRateLimitError as error:
            budget.refused(error.retry_after)
            raise
        except BankSyncError as error:
            error.sent_at = sent
            raise
        return Reply(value, errors.server_date(response), time.monotonic())

    def _exchange(self, request: Request, path: str) -> Response:
        config = self.config
        headers = config.headers(request.workspace_id)
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        began = time.monotonic()
        try:
            with self._session.request(
                request.method,
                f"{config.base_url}{path}",
                params=request.query,
                data=request.body,
                headers=headers,
                timeout=(min(_CONNECT_TIMEOUT, config.timeout), config.timeout),
                verify=config.verify,
                allow_redirects=False,
                stream=True,
            ) as answer:
                body = bytearray()
                # read1 returns what there is: iter_content would wait for a whole chunk, and never see a drip.
                while chunk := answer.raw.read1(_CHUNK, decode_content=True):
                    body += chunk
                    errors.check_body(len(body), time.monotonic() - began, config.timeout, request, path)
        except BankSyncError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the library raises: a bad name, a CA bundle that is gone
            # Without the cause, which may quote what the server echoed; the message has its words, scrubbed.
            raise _connection_error(error, request, config) from None
        headers_in = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers_in, bytes(body))


def _connection_error(error: Exception, request: Request, config: ClientConfig) -> BankSyncConnectionError:
    refused = isinstance(error, requests.exceptions.ConnectionError) and _never_connected(error)
    return errors.no_answer(
        error,
        request,
        config,
        sent=not (refused or isinstance(error, _NOT_SENT)),
        certificate=isinstance(error, requests.exceptions.SSLError) and _UNTRUSTED in str(error),
    )


def _never_connected(error: requests.exceptions.ConnectionError) -> bool:
    """Look at urllib3's own reason inside: NewConnectionError covers refused, unreachable, and unknown names."""
    inner = error.args[0] if error.args else None
    return isinstance(inner, urllib3.exceptions.MaxRetryError) and isinstance(
        inner.reason, urllib3.exceptions.NewConnectionError
    )
