"""The settings of a client, read from the fields of an Airflow connection and checked before anything is sent."""

from __future__ import annotations

import ipaddress
import json
import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from airflow_provider_banksync import __version__
from airflow_provider_banksync.api.redaction import redact
from airflow_provider_banksync.api.validation import (
    is_header_value,
    validate_rate_limit_store,
    validate_workspace_id,
)
from airflow_provider_banksync.exceptions import BankSyncConfigError
from airflow_provider_banksync.provider_info import CONN_FIELDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger(__name__)

DEFAULT_BASE_URL = "https://api.banksync.io"
#: Cloudflare blocks the default user agents of HTTP libraries (error 1010).
USER_AGENT = f"airflow-provider-banksync/{__version__}"
DEFAULT_TIMEOUT = 60.0
#: Maximum seconds to connect.
CONNECT_TIMEOUT = 10.0
DEFAULT_MAX_RETRIES = 5
#: Requests per minute and key on the standard plan. Pro has 500.
DEFAULT_RATE_LIMIT = 100

_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")
#: Spaces, backslashes, or a scheme without its two slashes.
_INVALID_HOST = re.compile(r"[\s\\]|^https?://https?:", re.IGNORECASE)
_FLAGS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class ClientConfig:
    """The settings of both clients. `from_connection` reads them from an Airflow connection.

    :param base_url: scheme, host, port and path prefix, without a trailing slash and without ``/v1``.
    :param secret: the API key, or the session token if `bearer` is set. ``repr`` hides it.
    :param workspace_id: the ``X-Workspace-Id`` of requests without a workspace. None means the key's own workspace.
    :param internal: use the internal surface, whose paths start with ``/api`` instead of ``/v1``.
    :param timeout: seconds that the server may be silent.
    :param max_retries: retries after the first try.
    :param verify: whether to check TLS certificates, or the path of a CA bundle.
    :param rate_limit: requests that the key may send per window.
    :param rate_window: length of the window in seconds. BankSync's is a minute.
    :param rate_limit_store: address of a store that several processes share (`validate_rate_limit_store`). None means
        that each process has a rate limit of its own.
    :param rate_limit_store_password: password of a Redis server. ``repr`` hides it.
    :param rate_limited: whether requests wait for the rate limit.
    :param renew: after a 401, returns these settings with another key, or None if there is no other key.
    :param renew_async: the same for event loops.
    """

    secret: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    bearer: bool = False
    workspace_id: str | None = None
    internal: bool = False
    timeout: float = DEFAULT_TIMEOUT
    max_retries: int = DEFAULT_MAX_RETRIES
    verify: bool | str = True
    rate_limit: int = DEFAULT_RATE_LIMIT
    rate_window: float = 60.0
    rate_limit_store: str | None = field(default=None, repr=False)
    rate_limit_store_password: str | None = field(default=None, repr=False)
    rate_limited: bool = True
    renew: Callable[[ClientConfig], ClientConfig | None] | None = field(
        default=None, repr=False, compare=False
    )
    renew_async: Callable[[ClientConfig], Awaitable[ClientConfig | None]] | None = field(
        default=None, repr=False, compare=False
    )

    @classmethod
    def from_connection(
        cls,
        *,
        conn_id: str,
        host: str | None,
        port: int | None,
        schema: str | None,
        password: str | None,
        extra: str | None,
        workspace_id: str | None = None,
    ) -> ClientConfig:
        """Read the fields of an Airflow connection.

        :param workspace_id: overrides the connection's ``workspace_id``.
        :param extra: the text of the field Extra. Airflow itself reads broken JSON as empty. Then a lost
            ``workspace_id`` would send a client's requests to the parent.
        :raises BankSyncConfigError: a field is missing or wrong. The message names it.
        """
        try:
            fields = _parse_extra(extra)
            bearer = _is_bearer(fields)
            workspace_id = workspace_id or _read_text(fields, "workspace_id")
            base_url, internal = _base_url(host, port, schema)
            return cls(
                secret=_secret(password, bearer=bearer),
                base_url=base_url,
                bearer=bearer,
                workspace_id=_workspace(workspace_id, bearer=bearer),
                internal=internal,
                timeout=_read_number(fields, "timeout", DEFAULT_TIMEOUT),
                max_retries=int(_read_number(fields, "max_retries", DEFAULT_MAX_RETRIES)),
                verify=_verify(fields),
                rate_limit=int(_read_number(fields, "rate_limit_per_minute", DEFAULT_RATE_LIMIT)),
                rate_limit_store=validate_rate_limit_store(_read_text(fields, "rate_limit_store")),
                rate_limit_store_password=_read_text(fields, "rate_limit_store_password"),
            )
        except BankSyncConfigError as error:
            raise BankSyncConfigError(f"Connection {conn_id!r}: {error.message}", hint=error.hint) from None

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A ClientConfig holds a key and cannot be pickled. Read the connection where you use it."
        )

    def for_cancel(self, timeout: float | None = None, max_retries: int | None = None) -> ClientConfig:
        """Return settings to cancel a job with, which does not wait for the rate limit.

        :param timeout: None keeps the connection's, as for `max_retries`.
        """
        return replace(
            self,
            rate_limited=False,
            timeout=self.timeout if timeout is None else timeout,
            max_retries=self.max_retries if max_retries is None else max_retries,
        )

    @property
    def secrets(self) -> list[str]:
        """What no log may show."""
        return [secret for secret in (self.secret, self.rate_limit_store_password) if secret]

    @property
    def uses_tls(self) -> bool:
        """Whether the base URL is https."""
        return self.base_url.startswith("https://")

    def path(self, path: str) -> str:
        """Return the path of an endpoint on this surface."""
        return f"/api{path.removeprefix('/v1')}" if self.internal else path

    def headers(self, workspace_id: str | None) -> dict[str, str]:
        """Return the headers of a request. They contain the secret: never log them."""
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.secret}"
        else:
            headers["X-API-Key"] = self.secret
        workspace = self.workspace_id if workspace_id is None else validate_workspace_id(workspace_id)
        if workspace:
            headers["X-Workspace-Id"] = workspace
        return headers


def _parse_extra(text: str | None) -> dict[str, Any]:
    if text is None or not text.strip():
        return {}
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise BankSyncConfigError(
            "the field Extra is not a JSON object.",
            hint='Leave it empty, or enter an object such as {"timeout": 30}.',
        )
    if unknown := [redact(name) for name in fields if name not in CONN_FIELDS]:
        log.warning(
            "The field Extra of the connection has unknown names, which are ignored: %s. Known names: %s.",
            ", ".join(map(repr, unknown)),
            ", ".join(CONN_FIELDS),
        )
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _secret(password: str | None, *, bearer: bool) -> str:
    secret = (password or "").strip()
    if not secret:
        what = "session token" if bearer else "API key"
        raise BankSyncConfigError(
            f"the field API key (password) is empty. It must contain the {what}.",
            hint="Create a key in BankSync (menu of the workspace, Developers), and paste it into this field.",
        )
    if not bearer and not secret.startswith("bsk_"):
        raise BankSyncConfigError(
            "the field API key (password) does not contain a BankSync API key. A key starts with 'bsk_'.",
            hint="To use a session token, set auth to 'bearer' in the field Extra.",
        )
    if not is_header_value(secret):
        raise BankSyncConfigError(
            "the field API key (password) contains spaces or characters that no key has.",
            hint="Paste the key again.",
        )
    return secret


def _workspace(workspace_id: str | None, *, bearer: bool) -> str | None:
    if workspace_id:
        return validate_workspace_id(workspace_id)
    if bearer:
        raise BankSyncConfigError(
            "auth 'bearer' needs workspace_id. A session token belongs to a person, not to a workspace.",
            hint="Set workspace_id in the field Extra, or pass it to the hook or the task.",
        )
    return None


def _base_url(host: str | None, port: int | None, schema: str | None) -> tuple[str, bool]:
    """Return the base URL and whether it is the internal surface."""
    text = (host or "").strip() or DEFAULT_BASE_URL
    schema = (schema or "").strip().strip("/").lower()
    if schema not in ("", "http", "https", "v1"):
        raise BankSyncConfigError("the field Schema is neither http nor https.", hint="Leave it empty.")
    text = f"[{text}]" if _is_ipv6(text) else text
    if "://" not in text:
        text = f"{'http' if schema == 'http' else 'https'}://{text}"
    try:
        url = urlsplit(text)
        name, port = url.hostname, url.port or port
    except ValueError:
        name = None
    if name is None or url.username is not None or url.query or url.fragment or _INVALID_HOST.search(text):
        raise BankSyncConfigError(
            "the field Base URL (host) is not a valid host name or URL.",
            hint=f"Leave it empty for {DEFAULT_BASE_URL}, or enter a host such as 'api.banksync.io'.",
        )
    if url.scheme not in ("http", "https"):
        raise BankSyncConfigError(
            f"the field Base URL (host) starts with {url.scheme}://.", hint="Use https://."
        )
    if url.scheme == "http" and not _LOOPBACK.fullmatch(name):
        raise BankSyncConfigError(
            f"the field Base URL (host) uses plain http:// to {name}, which would send the key unencrypted.",
            hint="Use https://. Plain http:// is only for a sandbox on this machine (127.0.0.1, localhost).",
        )
    netloc = f"[{name}]" if ":" in name else name
    prefix = url.path.rstrip("/")
    internal = name.startswith("internal-api.") or prefix.endswith("/api")
    prefix = prefix[:-3] if prefix.lower().endswith("/v1") else prefix
    prefix = prefix.removesuffix("/api") if internal else prefix
    # A URL with the default port means the same server, and so the same rate limit.
    port = None if port == _PORTS[url.scheme] else port
    return f"{url.scheme}://{netloc}{f':{port}' if port else ''}{prefix}", internal


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _read_text(extra: Mapping[str, Any], name: str) -> str | None:
    value = extra.get(name, "")
    if not isinstance(value, str):
        raise BankSyncConfigError(f"{name} in the field Extra must be text, not {type(value).__name__}.")
    return value.strip() or None


def _is_bearer(extra: Mapping[str, Any]) -> bool:
    auth = _read_text(extra, "auth") or "api_key"
    if auth not in ("api_key", "bearer"):
        raise BankSyncConfigError(f"auth in the field Extra must be api_key or bearer, not {redact(auth)!r}.")
    return auth == "bearer"


def _read_number(extra: Mapping[str, Any], name: str, default: float) -> float:
    value, schema = extra.get(name, default), CONN_FIELDS[name]["schema"]
    least, most, whole = schema["minimum"], schema["maximum"], "integer" in schema["type"]
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if isinstance(value, bool) or not least <= number <= most or (whole and not number.is_integer()):
        kind = "a whole number" if whole else "a number"
        raise BankSyncConfigError(
            f"{name} in the field Extra must be {kind} from {least:g} to {most:g}, not {redact(value)!r}."
        )
    return number


def _verify(extra: Mapping[str, Any]) -> bool | str:
    text = str(extra.get("verify", True)).strip()
    if text.lower() in _FLAGS:
        return _FLAGS[text.lower()]
    try:
        exists = Path(text).exists()
    except (OSError, ValueError):  # no permission, or not a path
        exists = False
    if not exists:
        raise BankSyncConfigError(
            f"verify in the field Extra names a CA bundle that does not exist or cannot be read: {redact(text)!r}.",
            hint="Set it to true, false, or the path of a file or folder of certificates on the worker.",
        )
    return text
