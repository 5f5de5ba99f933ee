"""From an answer to its result or its error: the one place where status codes get a meaning.

Meanings are those of the vendor's tables; what is said to the user is ours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_banksync.api import codec
from airflow_provider_banksync.api.redaction import bullets, scrub
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
#: So many of a 422's errors, and of its warnings, are in the message, and so many in the error's lists.
_MOST_LISTED = 10
_MOST_HELD = 1000
_BANK_DATA = re.compile(r"/banks/[^/]+(/|$)")

_CERTIFICATE_HINT = (
    "Where a proxy of your own signs for others, name its CA bundle as verify in the field Extra."
)
_SCOPE_HINTS = {
    400: "scope='family' is for the parent workspace: use the parent's key, without a portal's workspace_id.",
    403: "scope='family' needs a key of an owner or admin of the parent workspace.",
}
_CONFLICT_HINTS = {
    "triggerSync": "A job of this feed is queued or running: wait for it, or cancel it.",
    "cancelJob": "The job has ended already: look at it (get_job) for how.",
    "createEnrichment": "The workspace may have its one memory enrichment already: update that one.",
}
#: Of 4xx: what is said of the status, and what to do.
_REFUSALS = {
    404: (
        "not found",
        (
            "It may have been deleted, or live in another workspace: check the id, and give workspace_id for what "
            "belongs to a portal."
        ),
    ),
    405: ("this is not offered at this address", "Check the field Host of the connection."),
    413: ("the request is too large for the server", "Send fewer or shorter values."),
}
_NO_ENVELOPE_HINT = "If it stays so, check the field Host of the connection and any proxy on the way."
_UNDOCUMENTED_HINT = (
    "BankSync answers otherwise than it documents: look for a newer version of this provider, or report it."
)


def server_date(response: Response) -> float | None:
    """Read the server's clock at this answer, in epoch seconds."""
    return codec.parse_http_date(response.headers.get("date"))


def decode(call: Call[T], response: Response, *, path: str, secret: str = "") -> T:
    """Return what the call's parser makes of the answer, or raise what the answer means.

    :param path: path as it was sent, for messages.
    :param secret: never to appear in a message.
    :raises BankSyncError: see `airflow_provider_banksync.exceptions`.
    """
    if call.scan is not None and response.status == 200 and (found := call.scan(response.body)) is not None:
        return found
    try:
        envelope = _envelope(response)
        if response.status // 100 != 2 or envelope is None or envelope.get("success") is not True:
            raise _error(call.request, response, envelope, secret)
        return call.parse(envelope)
    except BankSyncError as error:
        error.method, error.path, error.status = call.request.method, path, response.status
        error.ambiguous = error.ambiguous or (response.status // 100 == 2 and not call.request.repeatable)
        error.hint = error.hint or _UNDOCUMENTED_HINT
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
            f"the server answered {status}, which is no answer to a request.",
            hint=_NO_ENVELOPE_HINT,
            truncated=True,
        )
    if status // 100 == 3:
        return BankSyncResponseError(
            f"the server answered {status}, a redirect, which is not followed: the key must not travel elsewhere.",
            hint="Check the field Host of the connection.",
        )
    if status == 407:
        return BankSyncConnectionError(
            "407, a proxy on the way wants a user and a password.",
            hint="Put them into the proxy's address: HTTPS_PROXY=http://user:password@host:port.",
        )
    if status == 403 and envelope is None:
        return BankSyncEdgeBlockedError(
            "403 without BankSync's envelope: blocked by Cloudflare before it reached the API.",
            hint="It judges the User-Agent and the network address: look for a proxy that changes them.",
        )
    if status >= 500 or status in (408, 425, 429):
        return _failure(request, response, envelope, secret)
    return _refusal(request, status, envelope, secret)


def _again(request: Request) -> str:
    if request.repeatable:
        return "It is tried again by itself; if it stays so, see BankSync's status page."
    return "It may have been done all the same, so it is not simply sent again; if it stays so, see BankSync's status."


def _bad_success(request: Request, response: Response, envelope: Row | None, secret: str) -> BankSyncError:
    """Judge a 2xx that is none: success false (seen), or not the envelope at all."""
    ambiguous = not request.repeatable
    if envelope is not None:
        words = _words(envelope, secret)
        return BankSyncServerError(
            f"{response.status}, but success is false: {words}", hint=_again(request), ambiguous=ambiguous
        )
    kind = scrub(response.headers.get("content-type", "no content type"), secret)
    return BankSyncResponseError(
        f"{response.status}, but the body ({len(response.body)} bytes, {kind}) is not BankSync's JSON envelope.",
        hint=_NO_ENVELOPE_HINT,
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
        hint=_again(request),
        ambiguous=not request.repeatable,
    )


def _refusal(request: Request, status: int, envelope: Row | None, secret: str) -> BankSyncError:
    """Judge 4xx: somebody must change something first."""
    words = _words(envelope, secret)
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
    if status == 409:
        hint = _CONFLICT_HINTS.get(request.operation, "Look at its state in BankSync, then try again.")
        return BankSyncConflictError(f"409, conflict: {words}", hint=hint)
    what, hint = _REFUSALS.get(status, ("the request is not valid", ""))
    if status == 404:
        return BankSyncNotFoundError(f"404, {what}: {words}", hint=hint)
    return _invalid(f"{status}, {what}: {words}", hint, envelope, secret)


def _invalid(message: str, hint: str, envelope: Row | None, secret: str) -> BankSyncValidationError:
    errors, error_lines = _entries(envelope, "errors", secret)
    warnings, warning_lines = _entries(envelope, "warnings", secret)
    if warnings:
        warning_lines = f"\nwarnings, which do not block:{warning_lines}"
    return BankSyncValidationError(
        f"{message}{error_lines}{warning_lines}",
        hint=hint or "Change what it names in the arguments of the call.",
        errors=errors,
        warnings=warnings,
    )


def _about_role(words: str) -> bool:
    return re.search(r"\b(role|owner|admin)", words, re.IGNORECASE) is not None


def _words(envelope: Row | None, secret: str) -> str:
    error = envelope.get("error") if envelope else None
    return scrub(error, secret) if isinstance(error, str) and error.strip() else "(the server gave no reason)"


def _entries(envelope: Row | None, name: str, secret: str) -> tuple[list[str], str]:
    """Return the entries of one of the vendor's lists, and the first of them as lines for a message."""
    found = envelope.get(name) if envelope else None
    if not isinstance(found, list):
        return [], ""
    entries = [scrub(entry, secret) for entry in found[:_MOST_HELD]]
    return entries, bullets(entries, _MOST_LISTED, len(found))


def check_body(size: int, request: Request, path: str) -> None:
    """Refuse a body that is too large.

    :param size: bytes so far, unpacked.
    """
    if size > LARGEST_BODY:
        raise BankSyncResponseError(
            f"the answer is larger than {LARGEST_BODY // 2**20} MiB unpacked; it was not read on.",
            method=request.method,
            path=path,
            hint="Ask for less at a time: fewer days, or one workspace in the place of the family.",
            ambiguous=not request.repeatable,
        )


def check_time(seconds: float, timeout: float, request: Request, path: str) -> None:
    """Refuse an answer, head or body, that drips in without an end.

    :param seconds: time since the request went out.
    :param timeout: how long the server may be silent; a whole answer may take so many times as long.
    """
    if seconds > timeout * SLOWEST_ANSWER:
        raise BankSyncConnectionError(
            f"the answer was not complete after {seconds:.0f} s.",
            method=request.method,
            path=path,
            hint="If the server is only slow, raise timeout in the field Extra of the connection.",
            ambiguous=not request.repeatable,
        )


def no_answer(
    error: BaseException,
    request: Request,
    config: ClientConfig,
    *,
    sent: bool,
    certificate: bool,
    quotes: bool,
) -> BankSyncConnectionError:
    """Say why there was no answer, in one line of the library's own words.

    :param sent: the request may have reached the server.
    :param certificate: the server's certificate was refused.
    :param quotes: the words hold what the server sent, which may be anything: they are left out.
    """
    when = "no complete answer" if sent else "could not connect"
    words = ", what came is not HTTP" if quotes else f": {scrub(error, config.secret)}"
    message = f"{when} ({type(error).__name__}{words})."
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
