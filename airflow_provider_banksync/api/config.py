"""What a client needs to know before it sends anything, checked once and early."""

from __future__ import annotations

import ipaddress
import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from airflow_provider_banksync import __version__
from airflow_provider_banksync.api.checks import check_workspace_id, is_header_value
from airflow_provider_banksync.api.redaction import scrub
from airflow_provider_banksync.api.stores import check_store
from airflow_provider_banksync.exceptions import BankSyncConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

DEFAULT_BASE_URL = "https://api.banksync.io"
#: Cloudflare turns default library user agents away (banksync-api: error 1010), so ours has a name of its own.
USER_AGENT = f"airflow-provider-banksync/{__version__}"
DEFAULT_TIMEOUT = 60.0
DEFAULT_MAX_RETRIES = 5
#: Requests a minute of a key on the standard plan; Pro has 500 (banksync-api).
DEFAULT_RATE_LIMIT = 100

_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")
#: Spaces and backslashes; a scheme without its two slashes.
_ODD = re.compile(r"[\s\\]|^https?://https?:", re.IGNORECASE)
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_PORTS = {"http": 80, "https": 443}
_EXTRA = (
    "workspace_id",
    "auth",
    "timeout",
    "max_retries",
    "rate_limit_per_minute",
    "rate_limit_store",
    "verify",
)


@dataclass(frozen=True)
class ClientConfig:
    """Everything that the clients need; made from an Airflow connection by `from_connection`.

    :param base_url: scheme, host, port and a prefix, without a trailing slash and without ``/v1``.
    :param secret: API key, or session token when `bearer` is set. Never shown by ``repr``.
    :param workspace_id: sent as ``X-Workspace-Id`` unless a request names another; None leaves the key's own.
    :param internal: the internal surface, whose paths begin with ``/api`` in the place of ``/v1``.
    :param timeout: seconds to wait for the server's next bytes.
    :param max_retries: further tries after the first.
    :param verify: check TLS certificates; or the path of a CA bundle.
    :param rate_limit: how many requests the key may send in a window.
    :param rate_window: seconds in which they count; the vendor's is a minute.
    :param rate_limit_store: where several processes keep one budget (`stores.check_store`); None: each has its own.
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

        :param workspace_id: addressed in the place of the connection's; None leaves that.
        :param extra: the text of the field Extra. It is read here, because Airflow takes broken JSON for an empty
            one, and a lost ``workspace_id`` would send a client's requests to the parent.

        :raises BankSyncConfigError: naming the field that is missing or wrong, before anything is sent.
        """
        try:
            fields = _extra(extra)
            bearer = _choice(fields, "auth", ("api_key", "bearer")) == "bearer"
            workspace_id = workspace_id or _text(fields, "workspace_id")
            base_url, internal = _base_url(host, port, schema)
            return cls(
                secret=_secret(password, bearer=bearer),
                base_url=base_url,
                bearer=bearer,
                workspace_id=_workspace(workspace_id, bearer=bearer),
                internal=internal,
                timeout=_number(fields, "timeout", DEFAULT_TIMEOUT, least=0.1, most=3600),
                max_retries=int(
                    _number(fields, "max_retries", DEFAULT_MAX_RETRIES, least=0, most=50, whole=True)
                ),
                verify=_verify(fields),
                rate_limit=int(
                    _number(
                        fields, "rate_limit_per_minute", DEFAULT_RATE_LIMIT, least=1, most=100_000, whole=True
                    )
                ),
                rate_limit_store=check_store(_text(fields, "rate_limit_store")),
            )
        except BankSyncConfigError as error:
            raise BankSyncConfigError(f"Connection {conn_id!r}: {error.message}", hint=error.hint) from None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ClientConfig holds a key: read the connection where it is used.")

    def path(self, path: str) -> str:
        """Path of an endpoint on this surface."""
        return f"/api{path.removeprefix('/v1')}" if self.internal else path

    def headers(self, workspace_id: str | None) -> dict[str, str]:
        """Headers of a request: who we are, who may do this, and in which workspace.

        The secret is in here: never log the result.
        """
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.secret}"
        else:
            headers["X-API-Key"] = self.secret
        workspace = self.workspace_id if workspace_id is None else check_workspace_id(workspace_id)
        if workspace:
            headers["X-Workspace-Id"] = workspace
        return headers


def _extra(text: str | None) -> dict[str, Any]:
    if text is None or not text.strip():
        return {}
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise BankSyncConfigError(
            "the field Extra is not a JSON object.",
            hint='Leave it empty, or write for example {"timeout": 30}.',
        )
    if strange := [scrub(name) for name in fields if name not in _EXTRA]:
        log.warning(
            "The field Extra of the connection holds %s, which BankSync's connections do not know: %s do.",
            ", ".join(map(repr, strange)),
            ", ".join(_EXTRA),
        )
    return fields


def _secret(password: str | None, *, bearer: bool) -> str:
    secret = (password or "").strip()
    if not secret:
        what = "session token" if bearer else "API key"
        raise BankSyncConfigError(
            f"the field Password is empty; it must hold the {what}.",
            hint="Create a key in BankSync under Settings, API keys, and paste it there.",
        )
    if not bearer and not secret.startswith("bsk_"):
        raise BankSyncConfigError(
            "the field Password does not hold a BankSync API key: one starts with 'bsk_'.",
            hint="For a session token, set auth to 'bearer' in the field Extra.",
        )
    if not is_header_value(secret):
        raise BankSyncConfigError(
            "the field Password holds spaces or characters that no key has.", hint="Paste it again."
        )
    return secret


def _workspace(workspace_id: str | None, *, bearer: bool) -> str | None:
    if workspace_id:
        return check_workspace_id(workspace_id)
    if bearer:
        raise BankSyncConfigError(
            "auth 'bearer' needs workspace_id in the field Extra: a session token, unlike an API key, belongs to a "
            "person and not to one workspace.",
            hint="Or give workspace_id to the hook or the task.",
        )
    return None


def _base_url(host: str | None, port: int | None, schema: str | None) -> tuple[str, bool]:
    """Return the base URL and whether it is the internal surface."""
    text = (host or "").strip() or DEFAULT_BASE_URL
    schema = (schema or "").strip().strip("/").lower()
    if schema not in ("", "http", "https", "v1"):
        raise BankSyncConfigError("the field Schema holds neither http nor https.", hint="Leave it empty.")
    text = f"[{text}]" if _is_ipv6(text) else text
    if "://" not in text:
        text = f"{'http' if schema == 'http' else 'https'}://{text}"
    try:
        url = urlsplit(text)
        name, port = url.hostname, url.port or port
    except ValueError:
        name = None
    if name is None or url.username is not None or url.query or url.fragment or _ODD.search(text):
        raise BankSyncConfigError(
            "the field Host is not a host name or URL that can be used.",
            hint=f"Leave it empty for {DEFAULT_BASE_URL}, or write for example 'api.banksync.io'.",
        )
    if url.scheme not in ("http", "https"):
        raise BankSyncConfigError(f"the field Host asks for {url.scheme}://; BankSync speaks https://.")
    if url.scheme == "http" and not _LOOPBACK.fullmatch(name):
        raise BankSyncConfigError(
            f"the field Host asks for plain http:// to {name}, which would show the key to the network.",
            hint="Use https://; plain http:// is for a sandbox on this machine (127.0.0.1, localhost).",
        )
    netloc = f"[{name}]" if ":" in name else name
    prefix = url.path.rstrip("/")
    internal = name.startswith("internal-api.") or prefix.endswith("/api")
    prefix = prefix[:-3] if prefix.lower().endswith("/v1") else prefix
    prefix = prefix.removesuffix("/api") if internal else prefix
    # The default port goes without saying: both spellings are one server, and share one budget.
    port = None if port == _PORTS[url.scheme] else port
    return f"{url.scheme}://{netloc}{f':{port}' if port else ''}{prefix}", internal


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _text(extra: Mapping[str, Any], name: str) -> str | None:
    value = extra.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BankSyncConfigError(f"{name} in the field Extra must be text, not {type(value).__name__}.")
    return value.strip() or None


def _choice(extra: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = _text(extra, name) or choices[0]
    if value not in choices:
        raise BankSyncConfigError(
            f"{name} in the field Extra must be {' or '.join(choices)}, not {scrub(value)!r}."
        )
    return value


def _number(
    extra: Mapping[str, Any], name: str, default: float, *, least: float, most: float, whole: bool = False
) -> float:
    value = extra.get(name)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if isinstance(value, bool) or not least <= number <= most or (whole and not number.is_integer()):
        kind = "a whole number" if whole else "a number"
        raise BankSyncConfigError(
            f"{name} in the field Extra must be {kind} from {least:g} to {most:g}, not {scrub(value)!r}."
        )
    return number


def _verify(extra: Mapping[str, Any]) -> bool | str:
    value = extra.get("verify")
    if value is None or value == "":
        return True
    if isinstance(value, bool):
        return value
    text = str(value).strip()
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    try:
        there = Path(text).exists()
    except (OSError, ValueError):  # a folder that one may not enter, a name that is none
        there = False
    if not there:
        raise BankSyncConfigError(
            f"verify in the field Extra names a CA bundle that is not there, or cannot be read: {scrub(text)!r}.",
            hint="Give true, false, or the path of a file or folder of certificates on the worker.",
        )
    return text
