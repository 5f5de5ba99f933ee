"""From an answer to its result or its error: the one place where status codes get a meaning.

Meanings are those of the vendor's tables; what is said to the user is ours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.exceptions import (
    BankSyncAuthError,
    BankSyncCertificateError,
    BankSyncConflictError,
    BankSyncConnectionError,
    BankSyncEdgeBlockedError,
    BankSyncError,
    BankSyncNotFoundError,
    BankSyncPermissionError,
    BankSyncRateLimitError,
    BankSyncReauthRequiredError,
    BankSyncResponseError,
    BankSyncScopeError,
    BankSyncServerError,
    BankSyncValidationError,
)

if TYPE_CHECKING:
    from airflow_provider_banksync.api.config import ClientConfig
    from airflow_provider_banksync.api.messages import Call, Request, Response, Row, T

#: A whole family's listing takes a few MB; what is beyond this is a mistake, or a bomb.
LARGEST_BODY = 256 * 2**20
#: A whole answer may take this many times as long as the server may be silent.
SLOWEST_ANSWER = 5
_LONGEST = 300
_TAG = re.compile(r"<[^>]*>?")
_KEY = re.compile(r"bsk_[A-Za-z0-9]+")
_ACCOUNT_NUMBER = re.compile(r"\d{5,}(?=\d{4}\b)")
_BANK_DATA = re.compile(r"/banks/[^/]+(/|$)")

_NOT_FOUND_HINT = (
    "It may have been deleted, or live in another workspace: check the id, and give workspace_id for what belongs "
    "to a portal."
)
_CERTIFICATE_HINT = (
    "Where a proxy of your own signs for others, name its CA bundle as verify in the field Extra."
)
_SCOPE_HINTS = {
    400: "scope='family' is for the parent workspace: use the parent's key, without a portal's workspace_id.",
    403: "scope='family' needs a key of an owner or admin of the parent workspace.",
}


def scrub(text: str, secret: str = "") -> str:
    """Make the server's words fit for a log: no key, no whole account number, no HTML, one short line."""
    text = " ".join(_TAG.sub(" ", text).split())
    if secret:
        text = text.replace(secret, "***")
    text = _ACCOUNT_NUMBER.sub("••••", _KEY.sub("***", text))
    return f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text


def server_date(response: Response) -> float | None:
    """Read the server's clock at this answer, in epoch seconds."""
    return codec.parse_http_date(response.headers.get("date"))


def decode(call: Call[T], response: Response, *, path: str, secret: str = "") -> T:
    """Return what the call's parser makes of the answer, or raise what the answer means.

    :param path: path as it was sent, for messages.
    :param secret: never to appear in a message.
    :raises BankSyncError: see `airflow_provider_banksync.exceptions`.
    """
    try:
        envelope = _envelope(response)
        if response.status // 100 != 2 or envelope is None or envelope.get("success") is not True:
            raise _error(call.request, response, envelope, secret)
        return call.parse(envelope)
    except BankSyncError as error:
        error.method, error.path, error.status = call.request.method, path, response.status
        error.ambiguous = error.ambiguous or (response.status // 100 == 2 and not call.request.repeatable)
        error.hide(secret)
        raise


def _envelope(response: Response) -> Row | None:
    try:
        value: Any = codec.loads(response.body)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("success"), bool) else None


def _error(request: Request, response: Response, envelope: Row | None, secret: str) -> BankSyncError:
    status = response.status
    if status // 100 == 2:
        return _bad_success(request, response, envelope, secret)
    if status < 200:
        return BankSyncResponseError(
            f"the server answered {status}, which is no answer to a request.", truncated=True
        )
    if status // 100 == 3:
        return BankSyncResponseError(
            f"the server answered {status}, a redirect, which is not followed: the key must not travel elsewhere.",
            hint="Check the field Host of the connection.",
        )
    if status == 403 and envelope is None:
        return BankSyncEdgeBlockedError(
            "403 without BankSync's envelope: blocked by Cloudflare before it reached the API.",
            hint="It judges the User-Agent and the network address: look for a proxy that changes them.",
        )
    if status >= 500 or status in (408, 425, 429):
        return _failure(request, response, envelope, secret)
    return _refusal(request, status, envelope, _words(envelope, secret))


def _bad_success(request: Request, response: Response, envelope: Row | None, secret: str) -> BankSyncError:
    """Judge a 2xx that is none: success false (seen), or not the envelope at all."""
    ambiguous = not request.repeatable
    if envelope is not None:
        words = _words(envelope, secret)
        return BankSyncServerError(f"{response.status}, but success is false: {words}", ambiguous=ambiguous)
    kind = scrub(response.headers.get("content-type", "no content type"))
    return BankSyncResponseError(
        f"{response.status}, but the body ({len(response.body)} bytes, {kind}) is not BankSync's JSON envelope.",
        hint="If it stays so, check the field Host of the connection and any proxy on the way.",
        truncated=True,
        ambiguous=ambiguous,
    )


def _failure(request: Request, response: Response, envelope: Row | None, secret: str) -> BankSyncError:
    """Judge 429 and 5xx: try again later, except where the bank wants its owner."""
    status, words = response.status, _words(envelope, secret)
    retry_after = codec.parse_retry_after(response.headers.get("retry-after"), server_date(response))
    if status == 429:
        return BankSyncRateLimitError(
            f"429, the rate limit of the key is reached: {words}",
            retry_after=retry_after,
            hint="All clients of the key share one budget of requests a minute.",
        )
    at_bank = _BANK_DATA.search(request.path) is not None
    if status == 503 and at_bank and envelope is not None and "retry-after" not in response.headers:
        return BankSyncReauthRequiredError(
            f"503, the bank needs its owner to sign in again: {words}",
            hint="No retry cures it: have the client reconnect the bank in BankSync.",
        )
    return BankSyncServerError(
        f"{status}, the service failed: {words}",
        retry_after=retry_after,
        hint="It is tried again by itself; if it stays so, see BankSync's status page.",
        ambiguous=not request.repeatable,
    )


def _refusal(request: Request, status: int, envelope: Row | None, words: str) -> BankSyncError:
    """Judge 4xx: somebody must change something first."""
    if status == 401:
        return BankSyncAuthError(
            f"401, the key is wrong, revoked or expired: {words}",
            hint="Put a valid key into the field Password of the connection.",
        )
    if ("scope", "family") in request.query and (status == 400 or (status == 403 and _about_role(words))):
        return BankSyncScopeError(
            f"{status}, the family listing was refused: {words}", hint=_SCOPE_HINTS[status]
        )
    if status == 403:
        return BankSyncPermissionError(
            f"403, the key may not do this: {words}",
            hint="Give the key the missing scope (a write needs the read scope too), or its owner a higher role.",
        )
    if status == 404:
        return BankSyncNotFoundError(f"404, not found: {words}", hint=_NOT_FOUND_HINT)
    if status == 409:
        return BankSyncConflictError(f"409, conflict: {words}")
    errors, warnings = _lists(envelope)
    listed = "".join(f"\n- {entry}" for entry in errors)
    return BankSyncValidationError(
        f"{status}, the request is not valid: {words}{listed}", errors=errors, warnings=warnings
    )


def _about_role(words: str) -> bool:
    return re.search(r"\b(role|owner|admin)", words, re.IGNORECASE) is not None


def _words(envelope: Row | None, secret: str) -> str:
    error = envelope.get("error") if envelope else None
    return scrub(error, secret) if isinstance(error, str) and error.strip() else "(the server gave no reason)"


def _lists(envelope: Row | None) -> tuple[list[str], list[str]]:
    def entries(name: str) -> list[str]:
        found = envelope.get(name) if envelope else None
        return [scrub(str(entry)) for entry in found] if isinstance(found, list) else []

    return entries("errors"), entries("warnings")


def check_body(size: int, seconds: float, timeout: float, request: Request, path: str) -> None:
    """Refuse a body that is too large, or that drips in without an end.

    :param size: bytes so far, unpacked.
    :param seconds: time since the request went out.
    :param timeout: how long the server may be silent; a whole answer may take so many times as long.
    """
    ambiguous = not request.repeatable
    if size > LARGEST_BODY:
        raise BankSyncResponseError(
            f"the answer is larger than {LARGEST_BODY // 2**20} MiB unpacked; it was not read on.",
            method=request.method,
            path=path,
            ambiguous=ambiguous,
        )
    if seconds > timeout * SLOWEST_ANSWER:
        raise BankSyncConnectionError(
            f"the answer was not complete after {seconds:.0f} s.",
            method=request.method,
            path=path,
            ambiguous=ambiguous,
        )


def no_answer(
    error: BaseException, request: Request, config: ClientConfig, *, sent: bool, certificate: bool
) -> BankSyncConnectionError:
    """Say why there was no answer, in one line of the library's own words.

    :param sent: the request may have reached the server.
    :param certificate: the server's certificate was refused.
    """
    when = "no complete answer" if sent else "could not connect"
    message = f"{when} ({type(error).__name__}: {scrub(str(error), config.secret)})."
    path = config.path(request.path)
    if certificate:
        return BankSyncCertificateError(message, method=request.method, path=path, hint=_CERTIFICATE_HINT)
    return BankSyncConnectionError(
        message,
        method=request.method,
        path=path,
        hint=f"Is {config.base_url} reachable from this worker (name, proxy, firewall; a sandbox: is it running)?",
        ambiguous=sent and not request.repeatable,
    )
