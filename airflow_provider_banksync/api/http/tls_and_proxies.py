"""CA certificates that both clients trust, and the proxies that both use."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.request import getproxies

from airflow_provider_banksync.exceptions import BankSyncConfigError

#: Environment variables that name a file or folder of CA certificates. The first that is set counts.
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


def load_tls_context(verify: bool | str) -> ssl.SSLContext:
    """Load the CA certificates that both clients trust.

    They are those of the first of these that is set: `verify`, and the variables of `CA_VARIABLES`. If none is set,
    they are those of the system together with those of certifi.

    :param verify: path of a file or folder of CA certificates. True means the variables or the defaults. False means
        that no certificate is checked.
    :raises BankSyncConfigError: a file or folder cannot be read.
    """
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if isinstance(verify, str):
        return _load_bundle(verify, "verify in the field Extra")
    for variable in CA_VARIABLES:
        if path := os.environ.get(variable):
            return _load_bundle(path, f"the environment variable {variable}")
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _load_bundle(path: str, source: str) -> ssl.SSLContext:
    """Load a file or folder.

    :param source: where the path comes from, for messages.
    """
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        raise BankSyncConfigError(
            f"{source}: cannot read the CA bundle {path!r}: {error}.",
            hint="Set it to a file of certificates in PEM format, or to a folder of such files.",
        ) from error


def proxy_for(url: str) -> str | None:
    """Return the proxy of the environment for a URL by requests' rules, or None.

    Neither library reads the environment itself. aiohttp's ``trust_env`` reads NO_PROXY differently. requests' would
    also use CA variables against `load_tls_context`. Both would send credentials from ~/.netrc.

    :raises BankSyncConfigError: the proxy has a scheme other than http and https, which aiohttp does not support.
    """
    if not getproxies():
        return None
    # Without a proxy, the asynchronous client does not load requests.
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return None
    if "://" not in proxy:
        return f"http://{proxy}"
    scheme = proxy.partition("://")[0]
    if scheme.lower() not in ("http", "https"):
        raise BankSyncConfigError(
            f"the proxy of the environment cannot be used: {scheme}:// is not supported.",
            hint="Set HTTPS_PROXY to http://host:port, or add the API's host to NO_PROXY.",
        )
    return proxy
