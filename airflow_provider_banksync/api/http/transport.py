"""A requests session with a time limit on the whole answer. urllib3 limits only the silence between two bytes."""

from __future__ import annotations

import http.client
import io
import time
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import requests
import requests.adapters
import urllib3
from requests.utils import select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_provider_banksync.api.responses import MAX_RESPONSE_TIMEOUTS

if TYPE_CHECKING:
    import socket
    import ssl

#: Connections that a client keeps open: one for each thread that sends at the same time.
_POOL_SIZE = 100


class _DeadlineReader(io.RawIOBase):
    """The bytes of an answer, until its time limit."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw = raw
        self._connection = connection
        self._silence = connection.gettimeout()
        self._end = time.monotonic() + (self._silence or 0.0) * MAX_RESPONSE_TIMEOUTS

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        if self._silence is not None:
            left = self._end - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")  # the socket's own words
            self._connection.settimeout(min(self._silence, left))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """An answer whose time limit includes the headers, however slowly they arrive."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _BoundedResponse


class _TlsConnection(HTTPSConnection):
    response_class = _BoundedResponse


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(requests.adapters.HTTPAdapter):
    """Uses one TLS context for servers and proxies, whatever requests would load itself."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(pool_maxsize=_POOL_SIZE)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        _bound_responses(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(
            proxy, ssl_context=self._context, proxy_ssl_context=self._context, **kwargs
        )
        _bound_responses(manager)
        return manager

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        url = str(request.url)
        proxy = select_proxy(url, proxies)
        manager = self.proxy_manager_for(proxy) if proxy else self.poolmanager
        return manager.connection_from_url(url)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the certificates to the context."""


def _bound_responses(manager: urllib3.PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


class BoundedSession(requests.Session):
    """A session without cookies and redirects, which reads no environment variables and no ~/.netrc.

    :param context: for TLS. None if the session sends no request over TLS.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(context))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None. requests parses ``Location`` even if it does not follow redirects, and may fail."""
