"""The blocking client, over requests."""

from __future__ import annotations

import http.client
import os
import time
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import requests
import tenacity
import urllib3

from airflow_provider_banksync.api import errors, proxies, retrying, tls
from airflow_provider_banksync.api.budget import budget_for, ticket
from airflow_provider_banksync.api.conversations import Conversation, Send, Wait
from airflow_provider_banksync.api.messages import Call, Reply, Request, Response, T
from airflow_provider_banksync.api.redaction import scrub
from airflow_provider_banksync.api.transport import Session
from airflow_provider_banksync.exceptions import (
    BankSyncConnectionError,
    BankSyncError,
    BankSyncRateLimitError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

    from airflow_provider_banksync.api.config import ClientConfig

_R = TypeVar("_R")
_CONNECT_TIMEOUT = 10.0
_CHUNK = 64 * 1024
#: These are raised before the request has left, so it did no work.
_NOT_SENT = (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError)
#: OpenSSL's reason, which requests and urllib3 wrap twice and keep in the text. Other failures of TLS may come later.
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
#: The words of these quote what came from the server.
_QUOTING = (http.client.HTTPException, urllib3.exceptions.DecodeError, urllib3.exceptions.ProtocolError)


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
        self._session = Session()
        self._process = os.getpid()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client holds a key and open connections: make it where it is used.")

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
        response = None
        try:
            response = self._exchange(call.request, path)
            value = errors.decode(call, response, path=path, secret=self.config.secret)
        except BankSyncRateLimitError as error:
            budget.refused(error.retry_after)
            raise
        except BankSyncError as error:
            error.sent_at = sent
            raise
        finally:
            if self._in_budget:
                budget.counted(place, sent, response.begun if response else time.monotonic())
        return Reply(value, errors.server_date(response), time.monotonic())

    def _session_here(self) -> Session:
        """Return the session of this process: a forked one must not talk over the connections of its parent."""
        if self._process != os.getpid():
            self._session, self._process = Session(), os.getpid()
        return self._session

    def _exchange(self, request: Request, path: str) -> Response:
        config = self.config
        headers = config.headers(request.workspace_id)
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        began = time.monotonic()
        try:
            with self._session_here().request(
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
                begun = time.monotonic()
                body = bytearray()
                # read1 returns what there is: iter_content would wait for a whole chunk, and never see a drip.
                while chunk := answer.raw.read1(_CHUNK, decode_content=True):
                    body += chunk
                    errors.check_body(len(body), request, path)
                    errors.check_time(time.monotonic() - began, config.timeout, request, path)
        except BankSyncError:
            raise
        except requests.exceptions.InvalidSchema as error:
            raise proxies.unusable(scrub(error)) from None
        except Exception as error:  # noqa: BLE001 - whatever the library raises: a bad name, a CA bundle that is gone
            sent = not _never_connected(error)
            if sent:
                errors.check_time(time.monotonic() - began, config.timeout, request, path)
            # Without the cause, which may quote what the server echoed; the message has its words, scrubbed.
            raise _connection_error(error, request, config, sent=sent) from None
        headers_in = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers_in, bytes(body), begun)


def _connection_error(
    error: Exception, request: Request, config: ClientConfig, *, sent: bool
) -> BankSyncConnectionError:
    *_, inmost = _inside(error)
    quotes = isinstance(inmost, _QUOTING) and not isinstance(inmost, OSError)
    return errors.no_answer(
        inmost if quotes else error,
        request,
        config,
        sent=sent,
        certificate=_untrusted(error),
        quotes=quotes,
    )


def _inside(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those that it wraps, from the outside in."""
    found: BaseException | None = error
    while found is not None:
        yield found
        reason = getattr(found, "reason", None)
        wrapped = [entry for entry in (*found.args, reason) if isinstance(entry, BaseException)]
        found = wrapped[-1] if wrapped else None


def _never_connected(error: BaseException) -> bool:
    """Tell from the library's own error, and urllib3's reason inside, that the request has not left.

    NewConnectionError covers refused, unreachable, and unknown names.
    """
    if isinstance(error, _NOT_SENT) or _untrusted(error):
        return True
    return any(isinstance(inner, urllib3.exceptions.NewConnectionError) for inner in _inside(error))


def _untrusted(error: BaseException) -> bool:
    return isinstance(error, requests.exceptions.SSLError) and _UNTRUSTED in str(error)
