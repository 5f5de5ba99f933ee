"""The proxy that the environment names, read alike for both clients: by requests' rules."""

from __future__ import annotations

from requests.utils import get_environ_proxies, select_proxy

from airflow_provider_banksync.exceptions import BankSyncConfigError


def proxy_for(url: str) -> str | None:
    """Return the address of the proxy for this URL; None where there is none, or NO_PROXY excepts it.

    aiohttp's own ``trust_env`` reads NO_PROXY otherwise, and would send the credentials that it finds in ~/.netrc.

    :raises BankSyncConfigError: it is of a kind that cannot be used.
    """
    proxy = select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return None
    if "://" not in proxy:
        return f"http://{proxy}"
    scheme = proxy.partition("://")[0]
    if scheme.lower() not in ("http", "https"):
        raise unusable(f"{scheme}:// needs a library that is not there")
    return proxy


def unusable(why: str) -> BankSyncConfigError:
    """Make the error of a proxy that cannot be used."""
    return BankSyncConfigError(
        f"the proxy that the environment names cannot be used: {why.rstrip('.')}.",
        hint="Set HTTPS_PROXY to http://host:port, or except the API by NO_PROXY.",
    )
