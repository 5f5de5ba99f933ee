"""What requests and urllib3 do not do by themselves: an end to every answer, and nothing that we did not ask for."""

from __future__ import annotations

import http.client
import io
import time
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import requests
import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_provider_banksync.api.errors import SLOWEST_ANSWER

if TYPE_CHECKING:
    import socket

#: Open connections that a client keeps: one for each thread that sends at the same time.
_KEPT = 100


class _Ending(io.RawIOBase):
    """Bytes of an answer, until its time is over; urllib3 bounds only the silence between two of them."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw = raw
        self._connection = connection
        self._silence = connection.gettimeout()
        self._end = time.monotonic() + (self._silence or 0.0) * SLOWEST_ANSWER

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        if self._silence is not None:
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")  # as the socket itself says it
            self._connection.settimeout(min(self._silence, left))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer whose head, too, has an end: one that drips, or a hundred times 100 Continue, would have none."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Ending(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Answer


class _TlsConnection(HTTPSConnection):
    response_class = _Answer


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _end_answers(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(*args, **kwargs)
        if type(manager) is urllib3.ProxyManager:  # one for SOCKS has connections of its own
            _end_answers(manager)
        return manager


def _end_answers(manager: urllib3.PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


class Session(requests.Session):
    """Keeps no cookies, reads no ~/.netrc, and looks at no ``Location``.

    requests would take that apart even where redirects are not followed, and may fail.
    """

    def __init__(self) -> None:
        super().__init__()
        self.auth = _no_netrc
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(pool_maxsize=_KEPT))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that there is no redirect."""


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from looking for credentials in ~/.netrc, which would be sent beside ours."""
    return request
